"""A teacher behind a batch service (OpenAI's Batch API): replies within a day, usually for less.

The requests are those of ``openai_chat``, under the same keys, so both ways share their replies.
What is paid for is looked after by notes in the ledger: a batch is noted before the server hears of
it and named before it is waited for. Whoever comes after a killed run finds the note, and waits for
the batch instead of paying for another one.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic import SecretStr

from kyara_kedro.content import batched
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.teachers.base import NOTHING_YET, Status, TeacherError
from kyara_kedro.teachers.batch_service import (
    ENDED,
    TRIED_AGAIN,
    URL,
    Batch,
    BatchService,
    Refused,
    spool,
)
from kyara_kedro.teachers.budget import Budget, BudgetOptions, of_share, portioned
from kyara_kedro.teachers.calls import Call
from kyara_kedro.teachers.endpoint import KEPT, NOTHING_USED, in_line
from kyara_kedro.teachers.feed import pause
from kyara_kedro.teachers.ledger import NOTHING, Ledger, Reservation, Spent, StoredReply, Waste
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.replies import Failure, Got, read_body, used_by, wasted
from kyara_kedro.teachers.tasks import ReplyError
from kyara_kedro.teachers.waves import WaveTeacher

LOGGER = logging.getLogger(__name__)

MOST_REQUESTS = 50_000
"""Requests that the service takes in one batch."""
MOST_BYTES = 200 * 10**6
"""Bytes that it takes in one file."""
_QUEUE_FULL = "token_limit_exceeded"
"""What a batch fails with when all batches of an account have too many tokens together."""
_LOOKS = 2
"""Looks at the server in vain, a poll apart, before a batch is taken not to be there."""
_GROUP = 256
"""Results of one commit."""
_WORTHWHILE = 0.1
"""What the budget allows is asked at once when it is such a part of the largest round so far."""


class BatchTeacher(WaveTeacher):
    """A language model that is asked in batches.

    A run may be stopped or killed at any time: batches go on at the server, and the next run with
    the same ledger collects them. Prices are those of ``options.prices``, so enter what the
    provider takes for batches.

    Args:
        options: Model, endpoint, limits, prices and budget, as for single requests; of the limits,
            ``attempts`` is the number of batches that a request may be part of, and ``patience``
            the seconds that the server may be out of reach.
        ledger: Where replies are kept and looked up.
        api_key: The credential; a server without authentication takes any.
        library: Templates; only the one that asks again is used here.
    """

    wave = MOST_REQUESTS

    def __init__(
        self,
        options: EndpointOptions,
        ledger: Ledger,
        api_key: SecretStr | None = None,
        library: PromptLibrary | None = None,
    ) -> None:
        super().__init__(options, ledger, library)
        self.options = options
        self.when_spent = options.budget.when_spent
        self.key = api_key or SecretStr("none")
        self._purse: _Purse | _PortionPurse = _Purse(options.budget, ledger, self.name)

    @property
    def budget(self) -> Budget:
        """What this run has used up and reserved."""
        return self._purse.budget

    def portion(self, share: float | None, used: Mapping[str, Spent] = NOTHING_YET) -> BatchTeacher:
        """The same teacher with a part of its budget, see :meth:`Teacher.portion`."""
        super().portion(share, used)
        if share is None or not self.budget.options.capped:
            return self
        view = copy.copy(self)
        view._purse = _PortionPurse(self._purse, share, used.get(self.name, NOTHING))
        return view

    @property
    def used(self) -> Mapping[str, Spent]:
        """What was used up through this teacher or this portion of it."""
        return {self.name: self.budget.spent}

    def _fetch(
        self, calls: Sequence[Call], off: threading.Event
    ) -> Iterator[tuple[str, Got | Failure]]:
        folder = self.ledger.path.parent
        place = f"{self.role} {self.options.model} at {self.options.base_url}"
        if any(call.request.raw for call in calls):
            raise TeacherError(
                f"{place}: batches hold chats alone; have raw texts continued with 'kind: openai'"
            )
        service = BatchService(self.options, self.key, place, folder, off)
        desk = _Desk(self, self._purse, service, calls, off)
        try:
            yield from desk.answers()
        except OSError as error:
            raise TeacherError(
                f"{folder}: {error.strerror or error}; files of batches are read and written here: "
                "make room on the disk and run again, batches go on at the server"
            ) from error
        finally:
            desk.close()
            service.close()


class _Purse:
    """The budget, and what is reserved in it for each request of each batch; safe among threads.

    What others leave of a budget that all runs share is asked of the ledger before every batch.
    """

    def __init__(self, options: BudgetOptions, ledger: Ledger, teacher: str) -> None:
        self.budget = Budget(options)
        self._shared = options.per == "ledger"
        self._ledger, self._teacher = ledger, teacher
        self._pledged: dict[tuple[str, str], Reservation] = {}
        self._lock = threading.Lock()

    def take_up(self, token: str, worst: Mapping[str, Reservation]) -> None:
        """Reserve for requests that were submitted before, in a batch whose costs are to come."""
        with self._lock:
            for key, most in worst.items():
                if (token, key) not in self._pledged:
                    self.budget.take(most)
                    self._pledged[token, key] = most

    def afford(self, calls: Iterable[Call]) -> tuple[list[Call], dict[str, _Fault]]:
        """Reserve for all calls that there is room for.

        Args:
            calls: The most urgent ones first.

        Returns:
            Those calls, and which cap is in the way of each of the others, by key.
        """
        fitting: list[Call] = []
        lacking: dict[str, _Fault] = {}
        with self._lock:
            room = self._room(self._ledger.committed(self._teacher)) if self._shared else None
            for call in calls:
                if why := (room or self.budget).lacks(call.worst):
                    lacking[call.key] = _Fault("budget", why)
                    continue
                self.budget.take(call.worst)
                if room:
                    room.take(call.worst)
                fitting.append(call)
        return fitting, lacking

    def give_back(self, calls: Iterable[Call]) -> None:
        """Give back what is reserved for calls that are not submitted."""
        with self._lock:
            for call in calls:
                self.budget.settle(call.worst, NOTHING_USED, sent=False)

    def pledge(self, token: str, worst: Mapping[str, Reservation]) -> bool:
        """Note for which batch it was reserved, in the ledger too.

        Returns:
            Whether it was noted; it is not when other runs have taken the room meanwhile.
        """

        def fits(committed: Spent) -> bool:
            room = self._room(committed)
            for most in worst.values():
                if room.lacks(most):
                    return False
                room.take(most)
            return True

        if not self._ledger.open_job(token, self._teacher, worst, fits if self._shared else None):
            return False
        with self._lock:
            self._pledged |= {(token, key): most for key, most in worst.items()}
        return True

    def _room(self, committed: Spent) -> Budget:
        return Budget(self.budget.options, committed)

    def settle(self, token: str, key: str, used: Reservation, *, sent: bool = True) -> None:
        """Replace a reservation by what was used."""
        with self._lock:
            self.budget.settle(self._pledged.pop((token, key)), used, sent=sent)


class _PortionPurse:
    """A share of a purse: what it lets pass has passed the whole too.

    Args:
        whole: The purse, or a portion of it.
        share: Part of every cap, from 0 to 1.
        used: What was used of the portion before.
    """

    def __init__(self, whole: _Purse | _PortionPurse, share: float, used: Spent) -> None:
        self.budget: Budget = Budget(portioned(whole.budget.options, share), used)
        self._whole, self._share = whole, share
        self._pledged: dict[tuple[str, str], Reservation] = {}
        self._lock = threading.Lock()

    def take_up(self, token: str, worst: Mapping[str, Reservation]) -> None:
        """Reserve for requests that were submitted before, in a batch whose costs are to come."""
        self._whole.take_up(token, worst)
        with self._lock:
            for key, most in worst.items():
                if (token, key) not in self._pledged:
                    self.budget.take(most)
                    self._pledged[token, key] = most

    def afford(self, calls: Iterable[Call]) -> tuple[list[Call], dict[str, _Fault]]:
        """Reserve for all calls that there is room for, in the portion and in the whole."""
        within: list[Call] = []
        lacking: dict[str, _Fault] = {}
        with self._lock:
            for call in calls:
                if why := self.budget.lacks(call.worst):
                    lacking[call.key] = _Fault("share", of_share(why, self._share))
                    continue
                self.budget.take(call.worst)
                within.append(call)
        fitting, beyond = self._whole.afford(within)
        self._settle(call for call in within if call.key in beyond)
        return fitting, lacking | beyond

    def give_back(self, calls: Collection[Call]) -> None:
        """Give back what is reserved for calls that are not submitted."""
        self._settle(calls)
        self._whole.give_back(calls)

    def _settle(self, unsent: Iterable[Call]) -> None:
        with self._lock:
            for call in unsent:
                self.budget.settle(call.worst, NOTHING_USED, sent=False)

    def pledge(self, token: str, worst: Mapping[str, Reservation]) -> bool:
        """Note for which batch it was reserved; see :meth:`_Purse.pledge`."""
        if not self._whole.pledge(token, worst):
            return False
        with self._lock:
            self._pledged |= {(token, key): most for key, most in worst.items()}
        return True

    def settle(self, token: str, key: str, used: Reservation, *, sent: bool = True) -> None:
        """Replace a reservation by what was used."""
        with self._lock:
            self.budget.settle(self._pledged.pop((token, key)), used, sent=sent)
        self._whole.settle(token, key, used, sent=sent)


class _Fault(NamedTuple):
    """Why there is no usable reply in a batch's results.

    Attributes:
        name: Class of the failure.
        why: The failure in a line.
        used: What was or may have been paid for.
        body: An unusable body.
        final: Whether asking again is of no use.
        sent: Whether the model was, or may have been, asked.
    """

    name: str
    why: str
    used: Reservation = NOTHING_USED
    body: bytes = b""
    final: bool = False
    sent: bool = True


@dataclass
class _Job:
    """A batch that is waited for.

    Attributes:
        token: Our own name for it.
        calls: Those of its requests that are ours, by key.
        batch_id: The server's name; None while nobody knows whether it was created.
        ours: Whether this run has submitted it.
        status: What the server has told last.
        missed: Looks in vain, one after the other.
    """

    token: str
    calls: dict[str, Call]
    batch_id: str | None
    ours: bool
    status: str = ""
    missed: int = 0


class _Desk:
    """The requests of one wave: those that wait, and those in batches."""

    def __init__(
        self,
        teacher: BatchTeacher,
        purse: _Purse | _PortionPurse,
        service: BatchService,
        calls: Iterable[Call],
        off: threading.Event,
    ) -> None:
        self._teacher, self._purse, self._service, self._off = teacher, purse, service, off
        self._options, self._ledger = teacher.options, teacher.ledger
        self._waiting = {call.key: call for call in calls}
        self._claimed: set[str] = set()
        self._jobs: dict[str, _Job] = {}
        self._rounds: Counter[str] = Counter()
        self._sends: Counter[str] = Counter()
        self._wasted: defaultdict[str, float] = defaultdict(float)
        self._most = MOST_REQUESTS
        self._one_by_one = False
        self._largest = 0

    def answers(self) -> Iterator[tuple[str, Got | Failure]]:
        """Claim, submit, look and collect until every request is dealt with."""
        while True:
            yield from self._claim()
            yield from self._submit()
            if not (self._waiting or self._jobs):
                return
            ended = self._look()
            for job, batch in ended:
                yield from self._collect(job, batch)
            if not ended:
                pause(self._off, self._options.poll)

    def close(self) -> None:
        """Give back all claims; what is in batches stays noted in the ledger."""
        self._ledger.release(self._claimed)

    def _claim(self) -> Iterator[tuple[str, Got]]:
        """Claim what is not ours yet, and take up the batches that some of it is in."""
        wanted = self._waiting.keys() - self._claimed
        if not wanted:
            return
        claimed = self._ledger.claim((key for key in self._waiting if key in wanted), take_up=True)
        self._claimed |= claimed.granted
        if claimed.granted:
            self._take_up(claimed.granted)
        for key in claimed.held:
            del self._waiting[key]
        yield from ((key, Got(reply, attempts=0)) for key, reply in claimed.held.items())

    def _take_up(self, granted: Collection[str]) -> None:
        for job in self._ledger.jobs(self._teacher.name):
            if not job.worst:  # its run was killed after the last result, before it was forgotten
                self._ledger.close_job(job.token)
            ours = [key for key in job.worst if key in granted and key in self._waiting]
            if not ours:
                continue
            self._purse.take_up(job.token, {key: job.worst[key] for key in ours})
            known = self._jobs.setdefault(job.token, _Job(job.token, {}, job.batch_id, ours=False))
            known.calls.update((key, self._waiting.pop(key)) for key in ours)
            LOGGER.info(
                "batch %s of %s: taken up, %d requests are waited for",
                job.batch_id or f"with the token {job.token}",
                self._teacher.name,
                len(ours),
            )

    def _submit(self) -> Iterator[tuple[str, Failure]]:
        """Submit all that is claimed and that the budget allows."""
        ready = [call for key, call in self._waiting.items() if key in self._claimed]
        if not ready or (self._one_by_one and self._jobs):
            return
        ready.sort(key=lambda call: call.request.priority)
        fitting, lacking = self._purse.afford(ready)
        if lacking and len(fitting) < _WORTHWHILE * self._largest:
            self._purse.give_back(fitting)
            why = f"what is left of the budget allows {len(fitting)} requests only"
            few = next(iter(lacking.values()))._replace(why=why)
            lacking |= {call.key: few for call in fitting}
            fitting = []
        self._largest = max(self._largest, len(fitting))
        sent = 0
        try:
            for file, calls in _spooled(fitting, self._most, self._service.folder):
                with file:
                    token = uuid.uuid4().hex
                    if not self._purse.pledge(token, {call.key: call.worst for call in calls}):
                        break
                    sent += len(calls)
                    self._send(token, file, {call.key: call for call in calls})
                if self._one_by_one:
                    break
        finally:
            self._purse.give_back(fitting[sent:])
        if self._jobs:
            return  # what comes back may make room in the budget
        yield from self._give_up(
            {key: self._failure("deferred", key, fault) for key, fault in lacking.items()}
        )

    def _send(self, token: str, file: IO[bytes], calls: dict[str, Call]) -> None:
        try:
            batch = self._service.submit(token, file)
        except Refused as refused:
            if refused.undone:
                self._ledger.close_job(token, calls)
                for key in calls:
                    self._purse.settle(token, key, NOTHING_USED, sent=False)
            raise
        self._ledger.name_job(token, batch.id)
        self._jobs[token] = _Job(token, calls, batch.id, ours=True, status=batch.status)
        for key in calls:
            del self._waiting[key]
        LOGGER.info(
            "batch %s of %s: submitted, %d requests", batch.id, self._teacher.name, len(calls)
        )

    def _look(self) -> list[tuple[_Job, Batch]]:
        """Look at all batches; those that have ended."""
        nameless = [job.token for job in self._jobs.values() if job.batch_id is None]
        found = self._service.find(nameless) if nameless else {}
        ended = []
        for job in list(self._jobs.values()):
            if job.batch_id is None:
                batch = found.get(job.token)
                if batch is not None:
                    self._ledger.name_job(job.token, batch.id)
                    job.batch_id = batch.id
            else:
                batch = self._service.look(job.batch_id)
            if batch is None:
                self._miss(job)
                continue
            job.missed = 0
            if batch.status != job.status:
                job.status = batch.status
                LOGGER.info(
                    "batch %s of %s: %s, %d of %d requests done",
                    batch.id,
                    self._teacher.name,
                    batch.status,
                    batch.done,
                    batch.total or len(job.calls),
                )
            if batch.status in ENDED:
                ended.append((job, batch))
        return ended

    def _miss(self, job: _Job) -> None:
        """Wait for a batch that cannot be found; in the end take it not to be there."""
        job.missed += 1
        if job.missed < _LOOKS:
            return
        if job.batch_id is not None:
            raise TeacherError(
                f"{self._service.place}: does not know batch {job.batch_id}, which holds "
                f"{len(job.calls)} of the requests; use the address and the credentials that it "
                "was submitted with, or give the teacher another name to pay for them anew"
            )
        LOGGER.info(
            "batch with the token %s of %s: never created, its requests are submitted anew",
            job.token,
            self._teacher.name,
        )
        self._ledger.close_job(job.token, job.calls)
        self._put_back(job, job.calls)

    def _put_back(self, job: _Job, calls: Mapping[str, Call]) -> None:
        for key in calls:
            self._purse.settle(job.token, key, NOTHING_USED, sent=False)
        self._waiting |= calls
        del self._jobs[job.token]

    def _collect(self, job: _Job, batch: Batch) -> Iterator[tuple[str, Got | Failure]]:
        """Read the results of a batch, and decide about the requests that have none."""
        left = dict(job.calls)
        faults: dict[str, _Fault] = {}
        unreadable = strangers = 0
        for lines in batched(self._service.results(batch), _GROUP):
            replies: list[StoredReply] = []
            waste: list[Waste] = []
            for line in lines:
                told = _read(line)
                if told is None:
                    unreadable += bool(line.strip())
                    continue
                key = told["custom_id"]
                strangers += job.ours and key not in job.calls
                call = left.get(key)
                if call is None:
                    continue
                heard = self._heard(call, told, batch.seconds)
                if isinstance(heard, StoredReply):
                    replies.append(heard)
                    del left[key]
                elif key not in faults:
                    faults[key] = heard
                    waste += self._waste(call, heard)
            held = self._ledger.put(replies, waste, job=job.token)
            for reply in replies:
                self._claimed.discard(reply.request_id)
                paid = Reservation(reply.prompt_tokens + reply.completion_tokens, reply.cost)
                self._purse.settle(job.token, reply.request_id, paid)
            yield from ((reply.request_id, self._got(reply)) for reply in held)
        if strangers or unreadable:
            LOGGER.warning(
                "batch %s of %s: %d results of unknown requests and %d unreadable ones ignored",
                batch.id,
                self._teacher.name,
                strangers,
                unreadable,
            )
        LOGGER.info(
            "batch %s of %s: collected, %d of %d requests have a reply",
            batch.id,
            self._teacher.name,
            len(job.calls) - len(left),
            len(job.calls),
        )
        unsent = batch.status != "completed" and not unreadable
        silent = {
            key: _Fault(
                "no_answer",
                f"batch {batch.id} {batch.status} without a result for it",
                used=NOTHING_USED if unsent else call.worst,
                sent=not unsent,
            )
            for key, call in left.items()
            if key not in faults
        }
        waste = [one for key, fault in silent.items() for one in self._waste(left[key], fault)]
        if waste:
            self._ledger.put(waste=waste, job=job.token)
        faults |= silent
        free = sum(faults[key].sent and faults[key].used == NOTHING_USED for key in left)
        self._ledger.close_job(job.token, job.calls, free=free)
        if batch.uploaded is not None:
            self._service.discard(batch.uploaded)
        yield from self._decide(job, batch, left, faults)

    def _got(self, reply: StoredReply) -> Got:
        key = reply.request_id
        return Got(reply, self._sends[key] + 1, self._wasted[key])

    def _failure(self, status: Status, key: str, fault: _Fault) -> Failure:
        return Failure(status, fault.name, fault.why, self._sends[key], self._wasted[key])

    def _decide(
        self, job: _Job, batch: Batch, left: Mapping[str, Call], faults: Mapping[str, _Fault]
    ) -> Iterator[tuple[str, Failure]]:
        """Put what has no reply back, or give it up."""
        del self._jobs[job.token]
        lost: dict[str, Failure] = {}
        for key, call in left.items():
            fault = faults[key]
            self._purse.settle(job.token, key, fault.used, sent=fault.sent)
            self._sends[key] += fault.sent
            self._wasted[key] += fault.used.cost
            self._rounds[key] += batch.status != "failed"
            if fault.final:
                lost[key] = self._failure("rejected", key, fault)
            elif self._rounds[key] >= self._options.limits.attempts:
                lost[key] = self._failure("failed", key, fault)
            self._waiting[key] = call
        yield from self._give_up(lost)
        if batch.status == "failed":
            self._make_way(batch, len(left))
        elif batch.status == "cancelled" and job.ours:
            raise TeacherError(
                f"{self._service.place}: somebody cancelled batch {batch.id}; "
                f"{len(job.calls) - len(left)} of its {len(job.calls)} replies are kept: run again "
                "to ask for the rest"
            )

    def _make_way(self, batch: Batch, requests: int) -> None:
        """After a full queue, submit one batch at a time, and a smaller one when it was alone.

        Raises:
            TeacherError: the batch failed for another reason, or there is no less.
        """
        full = any(code == _QUEUE_FULL for code, _ in batch.errors)
        if not full or (requests <= 1 and not self._jobs):
            told = "; ".join(in_line(f"{code}: {message}") for code, message in batch.errors[:3])
            raise TeacherError(
                f"{self._service.place}: batch {batch.id} failed ({told or 'no reason given'}); "
                "change what the server objects to and run again"
            )
        self._one_by_one = True
        if not self._jobs:
            self._most = max(1, requests // 2)
        LOGGER.info(
            "%s: the queue for batches is full; going on one by one, %d requests at most",
            self._service.place,
            self._most,
        )

    def _give_up(self, lost: Mapping[str, Failure]) -> Iterator[tuple[str, Failure]]:
        if not lost:
            return
        self._ledger.release(lost)
        self._claimed -= lost.keys()
        for key in lost:
            del self._waiting[key]
        yield from lost.items()

    def _heard(self, call: Call, told: Mapping[str, Any], seconds: float) -> StoredReply | _Fault:
        """Read one result."""
        response, error = told.get("response"), told.get("error")
        if not isinstance(response, dict):
            if not isinstance(error, dict):
                return _Fault("no_answer", "the result is empty", used=call.worst)
            why = in_line(f"{error.get('code')}: {error.get('message')}")
            return _Fault("unprocessed", why, sent=False)
        status, body = response.get("status_code"), response.get("body")
        if status == 200:
            content = json.dumps(body, ensure_ascii=False).encode(errors="replace")
            try:
                return read_body(content, call, self._options, seconds)
            except ReplyError as unusable:
                used = used_by(content, call, self._options)
                return _Fault(unusable.fault, str(unusable), used, content[:KEPT])
        if not isinstance(status, int):
            return _Fault("no_answer", "the result has no status", used=call.worst)
        said = body.get("error") if isinstance(body, dict) else None
        message = said.get("message") if isinstance(said, dict) else said
        final = 400 <= status < 500 and status not in TRIED_AGAIN
        return _Fault(f"http_{status}", in_line(f"HTTP {status}: {message or ''}"), final=final)

    def _waste(self, call: Call, fault: _Fault) -> list[Waste]:
        if fault.used == NOTHING_USED:
            return []
        return [wasted(call, self._teacher.name, fault.name, fault.used, fault.body)]


def _spooled(
    calls: Iterable[Call], most: int, folder: Path
) -> Iterator[tuple[IO[bytes], list[Call]]]:
    """Write calls to files, as many to each as a batch may hold."""
    file: IO[bytes] | None = None
    written: list[Call] = []
    for call in calls:
        request = {"custom_id": call.key, "method": "POST", "url": URL, "body": call.body}
        line = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        if file and (len(written) >= most or file.tell() + len(line) > MOST_BYTES):
            yield file, written
            file, written = None, []
        file = file or spool(folder)
        file.write(line)
        written.append(call)
    if file:
        yield file, written


def _read(line: bytes) -> dict[str, Any] | None:
    """One line of results; None when it cannot be told what it is the result of."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) and isinstance(told.get("custom_id"), str) else None
