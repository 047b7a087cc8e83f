"""MT-Bench: two turns a question, each answer rated by a judge who sees the conversation.

The protocol is that of lm-sys/FastChat's ``llm_judge``; MT-Bench-TW is MediaTek's translation of it
(mtkresearch/TCEval, ``mt_bench_tw``), with references of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Decoding,
    Question,
    Request,
    Row,
    Rows,
    cluster,
    field_of,
    one_turn,
    part_of,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.rated import Rated

TEMPERATURES: dict[str, float] = {
    **dict.fromkeys(("writing", "roleplay"), 0.7),
    **dict.fromkeys(("stem", "humanities"), 0.1),
    **dict.fromkeys(("extraction", "math", "coding", "reasoning", "arena-hard-200"), 0.0),
}
"""Of each category; any other is asked at :data:`USUAL_TEMPERATURE`."""
USUAL_TEMPERATURE = 0.7
MAX_TOKENS = 1024
WITH_REFERENCE = frozenset({"math", "reasoning", "coding", "arena-hard-200"})
"""Categories whose answers are compared with a reference."""
_TURNS = {1: "first_turn", 2: "second_turn"}


class MtBench(Rated):
    """80 English questions of two turns, rated from 1 to 10.

    The metrics are ``score``, the mean over all ratings, and the means of either turn. A question's
    ``details`` are ``turns``, ``references`` (one a turn, or none) and ``temperature``; its items
    are ``81#1`` and ``81#2``.
    """

    kind = "mt_bench"
    title = "MT-Bench"
    version = scorer_version("mt-bench-1", TEMPERATURES, MAX_TOKENS)
    metrics = ("score", *_TURNS.values())
    judged_by = "judge_mt_bench"
    further_parts = ("references",)
    language: ClassVar[str] = "en"

    @classmethod
    def referenced(cls, category: str, references: Mapping[str, list[str]], name: str) -> list[str]:
        """The references that a question's answers are compared with, one a turn; or none.

        Raises:
            UserError: its category needs some, and there are none.
        """
        if category not in WITH_REFERENCE:
            return []
        if name not in references:
            raise UserError(
                f"{cls.kind}: question {name} ({category}) needs a reference; give the published "
                "reference answers as the part 'references'"
            )
        return references[name]

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``questions`` (question_id, category, turns) and ``references`` (their answers)."""
        references = {
            str(field_of(row, "references", i, "question_id")): answers_of(row, "references", i)
            for i, row in enumerate(parts.get("references", ()), start=1)
        }
        return [
            cls._question(row, i, references)
            for i, row in enumerate(part_of(parts, cls.kind), start=1)
        ]

    @classmethod
    def _question(cls, row: Row, number: int, references: Mapping[str, list[str]]) -> Question:
        name = str(field_of(row, "questions", number, "question_id"))
        category = str(field_of(row, "questions", number, "category"))
        turns = field_of(row, "questions", number, "turns")
        if not (isinstance(turns, list) and turns and all(isinstance(one, str) for one in turns)):
            raise UserError(f"questions, row {number}: 'turns' is no list of texts")
        return Question(
            item_id=name,
            question=turns[0],
            stratum=category,
            language=cls.language,
            details={
                "turns": turns,
                "references": cls.referenced(category, references, name),
                "temperature": row.get(
                    "required_temperature", TEMPERATURES.get(category, USUAL_TEMPERATURE)
                ),
            },
        )

    def decoding(self, question: Question) -> Decoding:
        """At the category's temperature, 1024 tokens at most."""
        return Decoding(question.details["temperature"], MAX_TOKENS)

    def requests(self) -> Iterator[Request]:
        """One request a turn, each after the answer to the one before."""
        for question in self.questions.values():
            references = question.details["references"]
            for turn, text in enumerate(question.details["turns"], start=1):
                yield Request(
                    self.name,
                    f"{question.item_id}#{turn}",
                    one_turn(text),
                    tuple(references[turn - 1 : turn]),
                    question.stratum,
                    self.decoding(question),
                    f"{question.item_id}#{turn - 1}" if turn > 1 else None,
                )

    def expected(self) -> dict[str, int]:
        """Both turns of each question."""
        turns = [len(question.details["turns"]) for question in self.questions.values()]
        each = {name: sum(number >= turn for number in turns) for turn, name in _TURNS.items()}
        return {"score": sum(turns), **each}

    def shown(self, item_id: str, outputs: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The conversation up to the turn, and the references of its questions."""
        name, turn = cluster(item_id), _turn(item_id)
        details = self.questions[name].details
        asked = details["turns"][:turn]
        answers = [outputs.get(f"{name}#{i}") for i in range(1, turn + 1)]
        if None in answers or len(asked) != turn or not asked:
            return None
        turns = [{"question": q, "answer": a} for q, a in zip(asked, answers, strict=True)]
        return {"turns": turns, "references": details["references"][:turn]}

    def bears_on(self, item_id: str, name: str) -> bool:
        """A rating counts for all and for its turn."""
        return name == "score" or _TURNS.get(_turn(item_id)) == name

    def values(self, item_id: str, rating: float | None) -> dict[str, float]:
        """The rating, for all and for its turn."""
        if rating is None:
            return {}
        return {name: rating for name in self.metrics if self.bears_on(item_id, name)}


class MtBenchTw(MtBench):
    """MT-Bench in Traditional Chinese; every question that has a reference is judged with it."""

    kind = "mt_bench_tw"
    title = "MT-Bench-TW"
    version = scorer_version("mt-bench-tw-1", TEMPERATURES, MAX_TOKENS)
    language = "zh-Hant-TW"

    @classmethod
    def referenced(cls, category: str, references: Mapping[str, list[str]], name: str) -> list[str]:
        """The question's references, where there are any; its category does not matter."""
        if not references:
            raise UserError(f"{cls.kind}: give the published reference answers as 'references'")
        return references.get(name, [])


def answers_of(row: Row, part: str, number: int) -> list[str]:
    """The answers, one a turn, of a row in FastChat's form; of several choices the first counts.

    Raises:
        UserError: they are not there.
    """
    try:
        return [str(turn) for turn in field_of(row, part, number, "choices")[0]["turns"]]
    except (LookupError, TypeError):
        raise UserError(f"{part}, row {number}: 'choices' has no answers under 'turns'") from None


def _turn(item_id: str) -> int:
    """The turn that an item is about, from 1 on; 0 for something else."""
    said = item_id.split("#")[1:2]
    return int(said[0]) if said and said[0].isdecimal() else 0
