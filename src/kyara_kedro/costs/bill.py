"""From what a rehearsal has asked to calls, tokens and money, each with a range."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import add
from statistics import fmean
from typing import Any, NamedTuple

from kyara_kedro.costs.rehearsal import Missing, Rehearsal, Scene
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.understudy import Habits, Part, Understudy

_KNOWN, _GUESSED = (0.75, 1.3), (0.5, 2.0)
"""Spread of sends that follow from made-up replies, with and without earlier replies to go by."""
_ASKED_AGAIN = 1.2
"""Sends of a task nobody knows yet, at most, for each that its requests need."""
_MEASURED, _ESTIMATED = (0.95, 1.05), (0.6, 1.3)
"""Spread of prompts that are like those a server has counted, and of others."""
_RATIO = (0.5, 2.0)
"""Bounds of what a server's tokenizer makes of a prompt, relative to our estimate."""


class Range(NamedTuple):
    """Least, expected and greatest."""

    low: float
    expected: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Range:
        """One value."""
        return cls(value, value, value)

    def with_(self, other: Range, how: Callable[[float, float], float]) -> Range:
        """Each bound put together with the other range's."""
        return Range(*(how(one, two) for one, two in zip(self, other, strict=True)))


NOTHING = Range.exactly(0.0)


def total(ranges: Iterable[Range]) -> Range:
    """The sum."""
    found = NOTHING
    for one in ranges:
        found = found.with_(one, add)
    return found


@dataclass(frozen=True)
class Line:
    """What one task of one teacher takes in one node.

    Attributes:
        node: Name of the node.
        entry: The teacher's catalog entry, and the member of a team or panel.
        teacher: Name on the records.
        kind: ``rules`` or ``llm``.
        task: What is asked.
        requests: How many requests are made.
        held: How many of them the ledger or an equal request answers.
        calls: Sends.
        prompt: Tokens of the prompts that are sent.
        cached: How many of them the server has in its prompt cache.
        completion: Tokens of the replies.
        cost: In the currency of the teacher's prices.
        replies: Earlier replies that this goes by; 0 where there are none.
    """

    node: str
    entry: str
    teacher: str
    kind: str
    task: str
    requests: int
    held: int
    calls: Range
    prompt: Range
    cached: Range
    completion: Range
    cost: Range
    replies: int


@dataclass(frozen=True)
class Cap:
    """A budget, and whether it will be reached.

    Attributes:
        entry: The teacher's catalog entry, and the member of a team or panel.
        what: ``cost``, ``tokens`` or ``requests``.
        cap: What may be used up.
        used: What is used up already.
        needed: What the run takes.
    """

    entry: str
    what: str
    cap: float
    used: float
    needed: Range

    @property
    def verdict(self) -> str:
        """``enough``, ``perhaps`` or ``not_enough``."""
        low, _, high = (self.used + one for one in self.needed)
        return "enough" if high <= self.cap else "perhaps" if low <= self.cap else "not_enough"


@dataclass(frozen=True)
class Bill:
    """What a run takes before anything is sent.

    Attributes:
        lines: Node by node, by teacher and task.
        caps: Of every teacher that has a budget.
        missing: Nodes that could not be counted, and why.
        played_in_part: Nodes of which a part was played, and how much larger the whole is.
    """

    lines: tuple[Line, ...]
    caps: tuple[Cap, ...]
    missing: tuple[Missing, ...]
    played_in_part: Mapping[str, float]

    @property
    def cost(self) -> Range:
        """Of everything, where all prices are in one currency."""
        return total(line.cost for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """As JSON writes it; ranges are ``{low, expected, high}``."""
        return {
            "lines": [_plain(line) for line in self.lines],
            "total": {
                name: _plain_value(total(getattr(line, name) for line in self.lines))
                for name in ("calls", "prompt", "cached", "completion", "cost")
            },
            "budgets": [_plain(cap) | {"verdict": cap.verdict} for cap in self.caps],
            "not_counted": [one._asdict() for one in self.missing],
            "played_in_part": dict(self.played_in_part),
        }


def _plain(row: Any) -> dict[str, Any]:
    return {name: _plain_value(getattr(row, name)) for name in asdict(row)}


def _plain_value(value: Any) -> Any:
    return value._asdict() if isinstance(value, Range) else value


def bill(rehearsal: Rehearsal) -> Bill:
    """What was rehearsed, as a bill."""
    lines = tuple(line for scene in rehearsal.scenes for line in scene_lines(scene))
    return Bill(
        lines=lines,
        caps=tuple(caps(rehearsal.scenes, lines)),
        missing=tuple(rehearsal.missing),
        played_in_part={one.node: one.factor for one in rehearsal.scenes if one.factor > 1},
    )


def scene_lines(scene: Scene) -> list[Line]:
    """The lines of one node."""
    found = []
    for entry, one in scene.cast.items():
        ratio = _ratio(one)
        for task, part in one.parts.items():
            found.append(_line(scene, entry, one, task, part, ratio))
    return found


def _line(
    scene: Scene, entry: str, one: Understudy, task: str, part: Part, ratio: float | None
) -> Line:
    habits = one.habits(task)
    requests, held, calls = _sends(scene.factor, one, task, part, habits)
    each = part.prompt / max(1, part.held + part.sends)
    if one.model is None:
        prompt = _times(calls, Range.exactly(each))
        completion = _times(calls, Range.exactly(part.played / max(1, part.made_up)))
        cached = cost = NOTHING
    else:
        known = ratio if ratio is not None else _by_habit(habits, each)
        spread = _ESTIMATED if known is None else _MEASURED
        mean = each * (known or 1.0)
        prompt = _times(calls, Range(mean * spread[0], mean, mean * spread[1]))
        completion = _times(calls, _reply(part, habits))
        cached = _times(prompt, Range.exactly(habits.from_cache if habits else 0.0))
        cost = Range(
            *(
                one.prices.cost(sent, received, stored)
                for sent, received, stored in zip(prompt, completion, cached, strict=True)
            )
        )
    return Line(
        node=scene.node,
        entry=entry,
        teacher=one.name,
        kind=one.kind,
        task=task,
        requests=requests,
        held=held,
        calls=calls,
        prompt=prompt,
        cached=cached,
        completion=completion,
        cost=cost,
        replies=habits.replies if habits else 0,
    )


def _sends(
    factor: float, one: Understudy, task: str, part: Part, habits: Habits | None
) -> tuple[int, int, Range]:
    """Requests, those that are held, and sends, of the whole.

    Where a part was played, the ledger is taken to hold as many of the replies as it has to prompts
    of the same versions.
    """
    requests = round(part.requests * factor)
    if one.model is None:
        return requests, 0, Range.exactly(requests)
    again = max(0, part.sends + part.held - part.requests)
    held, sure, guessed = part.held, float(part.sure), float(part.guessed)
    if factor > 1:
        there = sum(one.model.ledger.count(one.name, task, one_of) for one_of in part.versions)
        everything = requests + again * factor
        held = round(min(everything, there))
        known = part.sure / part.sends if part.sends else 0.0
        sure, guessed = (everything - held) * known, (everything - held) * (1 - known)
    low, high = _GUESSED if habits is None else _KNOWN
    most = _ASKED_AGAIN if habits is None else 1.0
    calls = Range(sure + low * guessed, sure + guessed, (sure + high * guessed) * most)
    return requests, min(held, requests), calls


def _reply(part: Part, habits: Habits | None) -> Range:
    """Tokens of a reply: by those of earlier ones, else between what rules say and the limit."""
    if habits is not None:
        lengths = habits.lengths
        half = (len(lengths) + 1) // 2
        return Range(fmean(lengths[:half]), fmean(lengths), fmean(lengths[-half:]))
    if not part.made_up:
        return NOTHING
    shortest = max(1.0, part.played / part.made_up)
    limit = max(shortest, part.limit / part.made_up)
    return Range(shortest * _ESTIMATED[0], (shortest * limit) ** 0.5, limit)


def _ratio(one: Understudy) -> float | None:
    """What the server counts for each estimated token of a prompt; None where it is not known."""
    estimated = sum(part.estimated for part in one.parts.values())
    measured = sum(part.measured for part in one.parts.values())
    return measured / estimated if estimated else None


def _by_habit(habits: Habits | None, each: float) -> float | None:
    """Likewise by the mean prompt of the task."""
    if habits is None or not each:
        return None
    return min(max(habits.prompt / each, _RATIO[0]), _RATIO[1])


def _times(one: Range, two: Range) -> Range:
    return one.with_(two, lambda left, right: left * right)


def caps(scenes: Sequence[Scene], lines: Sequence[Line]) -> list[Cap]:
    """The budgets of the teachers, each catalog entry's own, and what the run takes of them."""
    casts = {entry: one for scene in scenes for entry, one in scene.cast.items()}
    found = []
    for entry, one in casts.items():
        options = one.model.caller.options if one.model else None
        if one.model is None or not isinstance(options, EndpointOptions):
            continue
        mine = [line for line in lines if line.entry == entry]
        shared = options.budget.per == "ledger"
        used = one.model.ledger.committed(one.name) if shared else None
        needed = {
            "cost": total(line.cost for line in mine),
            "tokens": total(one for line in mine for one in (line.prompt, line.completion)),
            "requests": total(line.calls for line in mine),
        }
        for what, amount in needed.items():
            cap = getattr(options.budget, what)
            if cap is not None:
                found.append(Cap(entry, what, cap, getattr(used, what, 0), amount))
    return found
