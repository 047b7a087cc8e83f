"""What a strategy of your own is written with; ``docs/synthesize.md`` has an example.

A strategy is a function that ``synthesize.own`` names. Of some seeds it makes conversations, which
it puts into a basket, or drops them with a reason; each seed is one or the other.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from kyara_kedro.pipelines.asking import assistant, synthetic, user
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf, chain, licence_of, shown, titled
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.pipelines.synthesize.knowledge import parents_of
from kyara_kedro.pipelines.synthesize.support import another_answer, unsupported

__all__ = [
    "Basket",
    "Desk",
    "Row",
    "Shelf",
    "Sources",
    "Strategy",
    "another_answer",
    "assistant",
    "chain",
    "licence_of",
    "parents_of",
    "shown",
    "synthetic",
    "titled",
    "unsupported",
    "user",
]


class Sources(NamedTuple):
    """All that conversations can be made from.

    Attributes:
        documents: Rows of ``records.DOCUMENT`` by id.
        passages: Rows of ``records.PASSAGE`` by passage id.
        questions: Root questions, rows of ``records.QUESTION``, by id.
        personas: Rows of ``records.PERSONA`` by id.
    """

    documents: Shelf
    passages: Shelf
    questions: Shelf
    personas: Shelf


Strategy = Callable[[Desk, Mapping[str, Row], Sources, Basket], None]
"""Takes the teachers at their desk, seeds by the names of their attempts, all sources, and the
basket in which each attempt ends: ``basket.put(attempt, row)`` or ``basket.drop(attempt, why)``."""
