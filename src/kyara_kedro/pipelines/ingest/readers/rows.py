"""What readers give: a row's values or its fault, and the place of either."""

from dataclasses import dataclass
from typing import Any, NamedTuple

Values = dict[str, Any]


_RAISED = str.maketrans("0123456789+-−()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾ⁿⁱ")


def raised(said: str) -> str:
    """What stands in a <sup>: 10⁶ must not become 106; other characters stay as they are."""
    return said.translate(_RAISED) if any(map(str.isdigit, said)) else said


class Fault(NamedTuple):
    """Why a row cannot be read.

    Attributes:
        reason: Snake-case word for the drop.
        detail: What is wrong, in words, with the fix where there is one.
    """

    reason: str
    detail: str


Item = tuple[int | None, Any]
"""Number of a row in its file, None for a file that is one row; and its values or a `Fault`."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it was read.

    Attributes:
        origin: File and line or row (``conversations/a.jsonl#12``), or the file alone.
        values: The row's columns; empty when it could not be read.
        fault: Why it could not be read.
        licence: Licence of the row's file, for rows that name none.
        data_set: The data set that the file belongs to.
    """

    origin: str
    values: Values
    fault: Fault | None = None
    licence: str | None = None
    data_set: str | None = None
