"""Several teachers in one role: each row goes to one of them, by weight.

Who answers a row is drawn by weighted rendezvous hashing (Thaler and Ravishankar 1998,
Schindelhauer and Schomaker 2005): every member draws an exponential time by row and name, at the
rate of its weight, and the earliest has the row. Nobody has to remember anything, and a member that
joins or leaves moves the rows of its own share alone. The order of all times is the weighted
permutation by which further samples of a row go to further members.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - before ours, so that its exit comes after
import copy
import logging
import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import NamedTuple, Self

from pydantic import Field

from kyara_kedro.content import content_id
from kyara_kedro.options import Options
from kyara_kedro.teachers.accounts import Estimate
from kyara_kedro.teachers.base import (
    NOTHING_YET,
    ChatRequest,
    Completion,
    Teacher,
    TeacherError,
)
from kyara_kedro.teachers.feed import CalledOff, Feed, off_signal, stop_if
from kyara_kedro.teachers.ledger import Spent

LOGGER = logging.getLogger(__name__)

_AHEAD = 4096
"""Requests that wait for their members, and completions for the caller, at most; more requests
where a member wants many at once."""
_CHUNK = 128
"""Requests that are read at once."""
_LOOK = 0.1
"""Seconds between two looks at whether the work has been called off from outside."""


class TeamOptions(Options):
    """Settings of a team.

    Attributes:
        role: What it does in this project, for reports; its members' too unless they say another.
        overflow: Whether a request that a member's budget does not allow goes to the next one.
    """

    role: str = "teacher"
    overflow: bool = False


class MemberOptions(Options):
    """What a member is to its team.

    Attributes:
        weight: Its part of the rows, relative to the others'.
    """

    weight: float = Field(1.0, gt=0, allow_inf_nan=False)


def order(weights: Mapping[str, float], row: str) -> list[str]:
    """The members in the order in which they are responsible for a row.

    A weighted permutation: each place goes to one of those that are left, by their weights.

    Args:
        weights: By name.
        row: What is drawn for.
    """

    def time(name: str) -> float:
        draw = (int(content_id("team", name, row)[:13], 16) + 0.5) / 16**13
        return -math.log(draw) / weights[name]

    return sorted(weights, key=lambda name: (time(name), name))


class TeamTeacher(Teacher):
    """Several teachers in one role.

    All requests of a dialogue, whose row ids are the same up to their first colon, meet the same
    member. Samples of one row go through the members in the row's order, so that two of them meet
    two members. A completion says whom it is from.

    Args:
        members: The teachers, by the name that rows are drawn with.
        weights: Their parts of the rows, for the same names.
        options: Role, and what becomes of requests that a member's budget does not allow.

    Raises:
        TeacherError: there are no members, or two of them have the same name on records.
    """

    told_apart_by_name = True
    may_be_empty = False

    def __init__(
        self,
        members: Mapping[str, Teacher],
        weights: Mapping[str, float],
        options: TeamOptions | None = None,
    ) -> None:
        super().__init__()
        options = options or TeamOptions()
        if not members and not self.may_be_empty:
            raise TeacherError(f"team {options.role} has no members")
        self._members, self._weights, self._overflow = dict(members), weights, options.overflow
        leaves = [*self.members.values()]
        names = [one.name for one in leaves]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice and self.told_apart_by_name:
            raise TeacherError(
                f"team {options.role}: several members are called {twice[0]!r} on records; give "
                "them a 'name' each"
            )
        self.name = " + ".join(dict.fromkeys(names))
        self.role = options.role
        self.kind = "llm" if any(one.kind == "llm" for one in leaves) else "rules"
        self.licence_note = "; ".join(dict.fromkeys(one.licence_note for one in leaves))
        stops = any(one.when_spent == "stop" for one in leaves)
        self.when_spent = "stop" if stops else "go_on"

    @property
    def members(self) -> Mapping[str, Teacher]:
        """The teachers that answer in its name, those of its teams too."""
        return {
            "/".join(filter(None, (name, below))): one
            for name, member in self._members.items()
            for below, one in member.members.items()
        }

    @property
    def direct(self) -> Mapping[str, Teacher]:
        """The members as they were given, teams among them whole."""
        return self._members

    @property
    def weights(self) -> Mapping[str, float]:
        """The members' parts of the rows."""
        return self._weights

    def responsible(self, request: ChatRequest) -> list[str]:
        """Names of the members in the order in which they are asked, the first alone as a rule."""
        names = order(self._weights, request.row_id.partition(":")[0])
        first = request.sample % len(names)
        return names[first:] + names[:first]

    def recast(self, change: Callable[[Teacher], Teacher]) -> Self:
        """The same team of other members, see :meth:`Teacher.recast`."""
        view = copy.copy(self)
        view._members = {name: one.recast(change) for name, one in self._members.items()}
        return view

    def portion(self, share: float | None, used: Mapping[str, Spent] = NOTHING_YET) -> TeamTeacher:
        """The same team with a part of every member's budget, see :meth:`Teacher.portion`."""
        view = copy.copy(self)
        view._members = {name: one.portion(share, used) for name, one in self._members.items()}
        same = all(view._members[name] is one for name, one in self._members.items())
        return self if same else view

    @property
    def used(self) -> Mapping[str, Spent]:
        """What was used up of a portion, by member."""
        return {name: one for member in self._members.values() for name, one in member.used.items()}

    def ends_run(self, completion: Completion) -> bool:
        """Whether the member that a completion is from ends the run with it."""
        return any(
            one.name == completion.teacher and one.ends_run(completion)
            for one in self.members.values()
        )

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate | None:
        """What asking will take in sum, when nothing overflows; None where nothing has a price."""
        asked: dict[str, list[ChatRequest]] = {name: [] for name in self._members}
        for request in requests:
            asked[self.responsible(request)[0]].append(request)
        told = [member.estimate(asked[name]) for name, member in self._members.items()]
        known = [one for one in told if one is not None]
        return Estimate.of_all(known) if known else None

    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        off = off_signal(requests)
        source, more = iter(requests), True
        desk = _Desk(self._members, self._overflow)
        try:
            while more or not desk.done:
                if more and (room := desk.room):
                    some = list(islice(source, min(room, _CHUNK)))
                    more = bool(some)
                    desk.hand_out([_Work(one, self.responsible(one)) for one in some])
                yield from desk.collect(off, wait=not (more and desk.room))
            yield from desk.end(off)
        finally:
            desk.close()


class _Work(NamedTuple):
    """A request on its way.

    Attributes:
        request: What is asked.
        names: The members that are still to be asked, the one who is asked now first.
        before: What came of asking others.
    """

    request: ChatRequest
    names: list[str]
    before: Completion | None = None


class _Desk:
    """One ``map`` of a team: a thread for each member, and what lies between them and the caller.

    A member takes requests as long as there are any. When it has none left while the caller waits,
    its ``map`` ends, so that nothing is kept in a page that will not be full soon; with the next
    request it begins another one. So no member ever waits for another.
    """

    def __init__(self, members: Mapping[str, Teacher], overflow: bool) -> None:
        self._overflow = overflow
        self._ahead = max(_AHEAD, len(members) * max(one.wave for one in members.values()))
        self._lock = threading.Lock()
        self._for_members, self._for_caller = (threading.Condition(self._lock) for _ in "12")
        self._off = threading.Event()
        self._inbox: dict[str, deque[_Work]] = {name: deque() for name in members}
        self._asked: dict[tuple[str, str, str, int], deque[_Work]] = defaultdict(deque)
        self._outbox: deque[tuple[str, Completion] | Exception] = deque()
        self._open = 0
        self._caller_waits = self._all_there = False
        self._threads = [
            threading.Thread(
                target=self._answer, args=(name, one), name=f"team member {name}", daemon=True
            )
            for name, one in members.items()
        ]
        _OPEN.add(self)
        for thread in self._threads:
            thread.start()

    @property
    def room(self) -> int:
        """Requests that may be handed out now."""
        return self._ahead - sum(map(len, self._inbox.values()))

    @property
    def done(self) -> bool:
        """Whether all that was handed out has come back."""
        return not self._open

    def hand_out(self, works: Sequence[_Work]) -> None:
        """Give requests to the first members of theirs; no requests are the end of all."""
        with self._lock:
            self._all_there = not works
            self._open += len(works)
            for work in works:
                self._give(work)
            self._for_members.notify_all()

    def _give(self, work: _Work) -> None:
        request, name = work.request, work.names[0]
        self._inbox[name].append(work)
        self._asked[name, request.row_id, request.task, request.sample].append(work)

    def collect(self, off: threading.Event, *, wait: bool) -> list[Completion]:
        """Take what has come back.

        Args:
            off: Looked at while waiting.
            wait: Whether to wait until there is something, or room for requests.

        Raises:
            CalledOff: ``off`` is set.
            Exception: what a member has raised, after all that came before it.
        """
        found: list[Completion] = []
        with self._lock:
            if wait:
                self._caller_waits = True
                self._for_members.notify_all()
                while self._open and not self._outbox and (self._all_there or self.room <= 0):
                    self._for_caller.wait(_LOOK)
                    stop_if(off)
                self._caller_waits = False
            while self._outbox:
                arrival = self._outbox[0]
                if isinstance(arrival, Exception):
                    if found:
                        break
                    self._outbox.popleft()
                    raise arrival
                self._outbox.popleft()
                found += self._settled(*arrival)
            self._for_members.notify_all()
        return found

    def end(self, off: threading.Event) -> list[Completion]:
        """Wait for the members to end, after all is done.

        Raises:
            Exception: what one of them has raised meanwhile.
        """
        for thread in self._threads:
            thread.join()
        return self.collect(off, wait=False)

    def _settled(self, name: str, found: Completion) -> list[Completion]:
        """What the caller gets of a completion; nothing when another member is asked."""
        key = name, found.row_id, found.task, found.sample
        work = self._asked[key].popleft()
        if not self._asked[key]:
            del self._asked[key]
        if work.before is not None:
            found = _joined(work.before, found)
        if self._overflow and found.status == "deferred" and len(work.names) > 1:
            self._give(_Work(work.request, work.names[1:], found))
            return []
        self._open -= 1
        return [found]

    def _answer(self, name: str, member: Teacher) -> None:
        """Have a member answer; the whole life of its thread."""
        try:
            while self._has_work(name):
                with closing(member.map(Feed(self._requests(name), self._off))) as answers:
                    for found in answers:
                        self._hand_in(name, found)
        except CalledOff:
            pass
        except Exception as error:
            with self._lock:
                self._outbox.append(error)
                self._for_caller.notify()

    def _has_work(self, name: str) -> bool:
        """Wait for a request; whether there is one."""
        with self._lock:
            self._for_members.wait_for(
                lambda: self._inbox[name] or self._ended or self._off.is_set()
            )
            return bool(self._inbox[name]) and not self._off.is_set()

    @property
    def _ended(self) -> bool:
        return self._all_there and not self._open

    def _requests(self, name: str) -> Iterator[ChatRequest]:
        """A member's requests, as long as more may come without the caller's doing."""
        inbox = self._inbox[name]
        while True:
            with self._lock:
                self._for_members.wait_for(
                    lambda: inbox or self._all_there or self._caller_waits or self._off.is_set()
                )
                if self._off.is_set() or not inbox:
                    return
                some = [inbox.popleft() for _ in range(min(len(inbox), _CHUNK))]
                self._for_caller.notify()
            for work in some:
                yield work.request

    def _hand_in(self, name: str, found: Completion) -> None:
        with self._lock:
            self._for_members.wait_for(lambda: len(self._outbox) < _AHEAD or self._off.is_set())
            stop_if(self._off)
            self._outbox.append((name, found))
            self._for_caller.notify()

    def close(self) -> None:
        """Send nothing more, wait until what is in flight is kept, and end the threads."""
        _OPEN.discard(self)
        self._off.set()
        with self._lock:
            self._for_members.notify_all()
        for thread in self._threads:
            thread.join()
        for left in self._outbox:
            if isinstance(left, Exception):
                LOGGER.warning("another member of the team: %s", left)
        self._outbox.clear()


def _joined(first: Completion, second: Completion) -> Completion:
    """What came of asking another member after a deferral; what waits for a share says so."""
    said = first if second.status == "deferred" and first.fault == "share" else second
    before = (0, 0) if first.cached else (first.prompt_tokens, first.completion_tokens)
    return replace(
        said,
        cached=second.cached and not first.attempts,
        prompt_tokens=before[0] + second.prompt_tokens,
        completion_tokens=before[1] + second.completion_tokens,
        cost=first.cost + second.cost,
        latency=first.latency + second.latency,
        attempts=first.attempts + second.attempts,
        cached_tokens=(0 if first.cached else first.cached_tokens) + second.cached_tokens,
        worth=first.worth + second.worth,
        asked_again=first.asked_again or second.asked_again,
    )


_OPEN: set[_Desk] = set()


def _close_all() -> None:
    """Keep what is in flight of generators that were not read to their end."""
    for desk in list(_OPEN):
        desk.close()


threading._register_atexit(_close_all)  # type: ignore[attr-defined]  # before threads are joined
