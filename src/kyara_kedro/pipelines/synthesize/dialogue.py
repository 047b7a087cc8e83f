"""Conversations of several rounds about a passage: a question, then follow-up questions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.pipelines.asking import Call, Fault, assistant, synthetic, user
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf, chain, shown
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.pipelines.synthesize.support import another_answer, unsupported
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.tasks import Question


@dataclass
class Talk:
    """A dialogue that is going on.

    Attributes:
        question: The root question that it begins with.
        passage: What it is about.
        next: What is asked next; empty when it has ended.
        turns: What was said.
        calls: The calls so far, without the latest answer's.
        last: The latest answer.
        follow_up: What asked the next question.
        fault: Why it ended before its time.
    """

    question: Row
    passage: Row
    next: str
    turns: list[Message] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    last: Completion | None = None
    follow_up: Completion | None = None
    fault: Fault | None = None

    @property
    def rounds(self) -> int:
        """Rounds so far."""
        return len(self.turns) // 2


def openings(questions: pl.DataFrame, kind: str) -> dict[str, Row]:
    """The root questions that conversations begin with, one for each passage, by attempt."""
    firsts = (
        questions.filter(pl.col("operation") == "none")
        .with_columns(passage_id=pl.col("passage_ids").list.first())
        .sort("passage_id", "id")
        .unique("passage_id", keep="first", maintain_order=True)
    )
    return {content_id(kind, row["id"]): row for row in firsts.iter_rows(named=True)}


def hold_dialogues(
    desk: Desk, openings: Mapping[str, Row], passages: Shelf, basket: Basket
) -> None:
    """Talk about passages, beginning with a root question of each.

    A dialogue that cannot be carried on ends early; with fewer than two rounds it is dropped for
    what ended it, or as "too_few_rounds" when its teacher knows nothing more to ask.
    """
    talks = {
        name: Talk(
            question,
            passages[question["passage_ids"][0]],
            question["text"],
            calls=question["calls"],
        )
        for name, question in openings.items()
    }
    for number in range(desk.params.dialogue.rounds):
        if number:
            _ask_on(desk, talks, number)
        _answer(desk, talks, number)
    for name, talk in talks.items():
        if talk.rounds < 2 or talk.last is None:
            assert talk.fault  # noqa: S101 - narrows the type
            reason, detail = talk.fault
            told = f"passage {talk.passage['passage_id']}, {talk.rounds} of 2 rounds"
            basket.drop(name, (reason, f"{told}: {detail}"))
            continue
        row = synthetic(
            talk.turns,
            "dialogue",
            talk.question["language"],
            talk.last,
            [talk.question["id"], talk.passage["id"]],
            talk.passage["licence"],
            [talk.passage["passage_id"]],
            talk.calls,
        )
        basket.put(name, row)


def _answer(desk: Desk, talks: dict[str, Talk], number: int) -> None:
    requests = [
        desk.ask(
            f"{name}:{number}",
            "answer_follow_up" if number else "answer_question",
            talk.question["language"],
            question=talk.next,
            documents=[shown(talk.passage)],
            **({"history": talk.turns} if number else {"style": "detailed", "cite": False}),
        )
        for name, talk in talks.items()
        if talk.next
    ]
    told = f"dialogue answers, round {number + 1}"
    for row_id, completion in desk.write(requests, told).items():
        talk = talks[row_id.partition(":")[0]]
        text, why = desk.answered(completion, talk.question["language"])
        asked = talk.question | {"text": talk.next}
        why = why or unsupported(text, asked, [talk.passage], desk.params.dialogue.support)
        if not why and not talk.turns:
            why = another_answer(text, talk.question)
        if not why and text in {turn["content"] for turn in talk.turns}:
            why = "repeats_itself", f"said before: {text[:60]}"
        if why:
            talk.next, talk.fault = "", why
            continue
        talk.turns += [user(talk.next), assistant(text)]
        talk.calls = chain(talk.calls, talk.last, talk.follow_up)
        talk.last = completion


def _ask_on(desk: Desk, talks: dict[str, Talk], number: int) -> None:
    requests = [
        desk.ask(
            f"{name}:{number}",
            "follow_up",
            talk.question["language"],
            history=talk.turns,
            title=talk.passage["title"],
            text=talk.passage["text"],
        )
        for name, talk in talks.items()
        if talk.next
    ]
    for row_id, completion in desk.write(requests, f"follow-up questions, round {number}").items():
        talk = talks[row_id.partition(":")[0]]
        language = talk.question["language"]
        said = completion.parsed.question if isinstance(completion.parsed, Question) else ""
        text, why = desk.asked(said, language, completion)
        if completion.status == "rejected":
            why = "too_few_rounds", f"nothing is left to ask: {completion.error}"
        elif not why and text in {turn["content"] for turn in talk.turns}:
            why = "repeats_itself", f"asked before: {text[:60]}"
        if why:
            talk.next, talk.fault = "", why
        else:
            talk.next, talk.follow_up = text, completion
