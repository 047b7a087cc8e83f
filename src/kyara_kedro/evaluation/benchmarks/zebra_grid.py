"""ZebraLogic, zero-shot: 1,000 puzzles of who lives in which house.

Puzzles: Lin et al., arXiv:2502.01100; protocol and scorer: ZeroEval's ``zebra-grid``. A puzzle of
N houses with M attributes has (N!)^M possible grids, by which its size is small (below 10^3),
medium (below 10^6), large (below 10^10) or xl. The authors keep the solutions out of public sight
so that no model is trained on them; keep them out of training data too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from math import factorial
from typing import Any

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Averaging,
    Question,
    Row,
    Rows,
    field_of,
    one_turn,
    part_of,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.zeroeval import ZeroEval, plain_id
from kyara_kedro.text.braces import last_object

Grid = dict[str, dict[str, str]]
"""House to attribute to value."""

HIDDEN = "___"
PROMPT = """
# Example Puzzle \n
There are 3 houses, numbered 1 to 3 from left to right, as seen from across the street. Each house \
is occupied by a different person. Each house has a unique attribute for each of the following \
characteristics:
 - Each person has a unique name: `Peter`, `Eric`, `Arnold`.
 - Each person has a unique favorite drink: `tea`, `water`, `milk`

## Clues for the Example Puzzle

1. Peter is in the second house.
2. Arnold is directly left of the one who only drinks water.
3. The one who only drinks water is directly left of the person who likes milk.

## Answer to the Example Puzzle

{
    "reasoning": "Given Clue 1, we know Peter is in House 2. According to Clue 2, Arnold is \
directly left of the one who only drinks water. The person in House 3 cannot be on the left of \
anyone, so Arnold must be in House 1. Thus, Peter drinks water, and Eric lives in House 3. Then, \
according to Clue 3, Eric drinks milk. Therefore, Arnold drinks tea.",
    "solution": {
        "House 1": {
            "Name": "Arnold",
            "Drink": "tea"
        },
        "House 2": {
            "Name": "Peter",
            "Drink": "water"
        },
        "House 3": {
            "Name": "Eric",
            "Drink": "milk"
        }
    }
}

# Puzzle to Solve \n
{puzzle}


# Instruction

Now please solve the above puzzle. Present your reasoning and solution in the following json format:

{json_template}

"""
SIZES = {
    f"{houses}*{attributes}": factorial(houses) ** attributes
    for houses in range(2, 7)
    for attributes in range(2, 7)
}
"""Houses and attributes to the number of possible grids."""
_ID = re.compile(r"lgp-test-(\d)x(\d)-\d+")


def _size(grids: int) -> str:
    limits = {"small": 10**3, "medium": 10**6, "large": 10**10}
    return next((name for name, limit in limits.items() if grids < limit), "xl")


class ZebraGrid(ZeroEval):
    """Logic puzzles; besides ``accuracy``, of whole puzzles, there is ``cell_accuracy``.

    Strata are the sizes such as 5*6, groups what ZeroEval sums up: small to xl, easy and hard.
    """

    kind = "zebra-grid"
    title = "ZebraLogic"
    further_parts = ("solutions",)
    version = scorer_version("zeroeval-zebra-grid-1", PROMPT)
    metrics = ("accuracy", "cell_accuracy", "reason_length")
    averaging = Averaging(
        groups={size: _size(grids) for size, grids in SIZES.items()},
        also={size: "easy" if grids < 500 else "hard" for size, grids in SIZES.items()},
    )

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        super().__init__(name, questions)
        self._grids: dict[str, Grid] = {
            item_id: _solution(name, question) for item_id, question in self.questions.items()
        }

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ZebraLogicBench.

        Args:
            parts: ``questions`` with ``id``, ``puzzle`` and ``solution`` (``header`` and ``rows``);
                rows of ``solutions``, where given, have the solutions by ``id`` instead.

        Raises:
            UserError: the part or a field is missing, or a solution is hidden.
        """
        known = {row.get("id"): row for row in parts.get("solutions", ())}
        return [
            _question(row, known.get(row.get("id"), row), number)
            for number, row in enumerate(part_of(parts, cls.kind), start=1)
        ]

    @classmethod
    def stratum_of(cls, item_id: str) -> str:
        """Houses and attributes."""
        found = _ID.fullmatch(item_id)
        return f"{found[1]}*{found[2]}" if found else "all"

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn, worded as ZeroEval does."""
        grid = self._grids[question.item_id]
        blank = {house: dict.fromkeys(cells, HIDDEN) for house, cells in grid.items()}
        form = json.dumps({"reasoning": HIDDEN, "solution": blank}, indent=4)
        prompt = PROMPT.replace("{puzzle}", question.question)
        return one_turn(prompt.replace("{json_template}", form))

    def reply(self, output: str, model: str) -> Mapping[str, Any] | None:
        """The last balanced ``{...}`` that is JSON with a solution."""
        found = last_object(output)
        return found if found is not None and found.get("solution") is not None else None

    def marks(self, question: Question, reply: Mapping[str, Any]) -> dict[str, float]:
        """Shares of the puzzle and of its cells that are solved."""
        grid = self._grids[question.item_id]
        right = sum(
            cell_in(reply["solution"], house, attribute) == value.lower().strip()
            for house, cells in grid.items()
            for attribute, value in cells.items()
        )
        share = right / self.weight(question, "cell_accuracy")
        return {"accuracy": float(share == 1), "cell_accuracy": share}

    def weight(self, question: Question, name: str) -> float:
        """The cells of the puzzle for their share, else 1."""
        if name != "cell_accuracy":
            return 1.0
        return float(sum(map(len, self._grids[question.item_id].values())))


def cell_in(solution: Any, house: str, attribute: str) -> str | None:
    """The value that a reply gives for a cell, or the first of several; None for no text."""
    cells = solution.get(house) if isinstance(solution, dict) else None
    cell = cells.get(attribute) if isinstance(cells, dict) else None
    if isinstance(cell, list) and cell:
        cell = cell[0]
    return cell.lower().strip() if isinstance(cell, str) and cell else None


def _question(row: Row, solved: Row, number: int) -> Question:
    """A puzzle, with the solution of the same or another row."""
    where = f"questions, row {number}"
    solution = field_of(solved, "questions", number, "solution")
    try:
        header, rows = solution["header"], solution["rows"]
        grid = {
            f"House {house}": dict(zip(header[1:], map(str, cells[1:]), strict=True))
            for house, cells in enumerate(rows, start=1)
        }
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: 'solution' has no 'header' and 'rows' of one length") from None
    if any(HIDDEN in cells.values() for cells in grid.values()):
        raise UserError(f"{where}: the solution is hidden; give the part 'solutions' that has it")
    return Question(
        item_id=plain_id(field_of(row, "questions", number, "id")),
        question=str(field_of(row, "questions", number, "puzzle")),
        answer=json.dumps(grid, ensure_ascii=False),
        stratum=f"{len(rows)}*{len(header) - 1}",
        language="en",
    )


def _solution(benchmark: str, question: Question) -> Grid:
    try:
        grid = json.loads(question.answer)
        return {house: {a: str(v) for a, v in cells.items()} for house, cells in grid.items()}
    except (ValueError, AttributeError):
        raise UserError(
            f"benchmark '{benchmark}', item '{question.item_id}': the answer is no JSON object of "
            "houses with their attributes"
        ) from None
