"""The verdicts of AlpacaEval's and Arena-Hard's judges, read by the rules of these benchmarks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

Label = Literal["A>>B", "A>B", "A=B", "B>A", "B>>A"]


class Meaning(NamedTuple):
    """What one of Arena-Hard's labels means.

    Attributes:
        second: What the reply shown second gets: 1 for a win, 0.5 for a tie, 0 for a loss.
        battles: How many battles it counts as.
    """

    second: float
    battles: int


LABELS: Mapping[str, Meaning] = {
    "A>>B": Meaning(0.0, 3),
    "A>B": Meaning(0.0, 1),
    "A=B": Meaning(0.5, 1),
    "B>A": Meaning(1.0, 1),
    "B>>A": Meaning(1.0, 3),
}
"""Arena-Hard v0.1's verdicts by their label; a strong one counts as three battles."""

_STAMP = re.compile(r"\[\[([AB<>=]+)\]\]")
_AROUND = " \t\r\n\"'`*.()[]"


def parse_label(text: str) -> Label | Literal["no_verdict", "several_verdicts"]:
    """Read the verdict of a judgement by Arena-Hard's rule (``gen_judgment.py``, v0.1).

    The verdict is the label in double brackets, wherever it stands and however often. Different
    ones are none, and so is one beyond the five: neither is asked for again, as opposed to a
    judgement without any.
    """
    found = set(_STAMP.findall(text))
    if not found:
        return "no_verdict"
    label = found.pop()
    return cast(Label, label) if not found and label in LABELS else "several_verdicts"


def parse_second(text: str) -> float | None:
    """What a bare ``m`` or ``M`` gives the reply shown second: 0 or 1; None for another text."""
    return {"m": 0.0, "M": 1.0}.get(text.strip(_AROUND))


def letter_of(second: float) -> str:
    """The letter that the judge found likelier, or ``m=M``.

    Args:
        second: What the reply shown second gets, from 0 to 1.
    """
    return "m=M" if second == 0.5 else "M" if second > 0.5 else "m"


def likely_second(logprobs: Mapping[str, float]) -> float | None:
    """How probable it is that the judge says ``M``, of the two letters (AlpacaEval 2's rule).

    A letter that is not among the tokens has no probability.

    Args:
        logprobs: The most probable first tokens, and their log-probabilities.

    Returns:
        The share of ``M``, or None where neither letter is there.
    """
    found = {letter: p for letter in "mM" if math.isfinite(p := logprobs.get(letter, math.nan))}
    if not found:
        return None
    best = max(found.values())
    first, second = (math.exp(found[one] - best) if one in found else 0.0 for one in "mM")
    return second / (first + second)
