"""What a strategy works with: its teachers, their prompts, and what their replies leaked."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.asking import Call, Fault, answers, call_of, fault
from kyara_kedro.pipelines.synthesize.elimination import leans_on_document, says_nothing
from kyara_kedro.pipelines.synthesize.harvest import Row
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.library import REFUSAL, template_language
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, ask
from kyara_kedro.text.leaks import LeakReport, guarded
from kyara_kedro.text.prose import foreign_language
from kyara_kedro.text.refusals import refusal_kind
from kyara_kedro.text.sources import names_sources

_MARKUP = re.compile(r"【id_|</?(?:document|reference|question)\b", re.IGNORECASE)
"""What only the prompts with documents hold."""
_TEMPLATE = re.compile(
    r"<\|[\w-]{2,}\|>|</?(?:start|end)_of_turn>|<(?:bos|eos|pad)>|\[/?INST\]|</?s>"
)


@dataclass
class Desk:
    """One strategy's teachers within its share of their budgets.

    Attributes:
        writer: Who writes.
        checker: Who looks through what is written.
        prompts: The prompts of both.
        params: What is wanted.
        leaks: Simplified script and mainland words in replies, by teacher.
        spent: Whether a request was deferred, since the budget is exhausted.
    """

    writer: Teacher
    checker: Teacher
    prompts: PromptLibrary
    params: SynthesizeParams
    leaks: LeakReport = field(default_factory=LeakReport)
    spent: bool = False

    def ask(self, row_id: str, task: str, language: str, **inputs: Any) -> ChatRequest:
        """Make a request, see `kyara_kedro.teachers.base.ask`."""
        return ask(self.prompts, row_id, task, language, **inputs)

    def write(self, requests: Iterable[ChatRequest], told: str) -> dict[str, Completion]:
        """Let the writer answer, by row id."""
        return self._noted(answers(self.writer, list(requests), told))

    def check(self, requests: Iterable[ChatRequest], told: str) -> dict[str, Completion]:
        """Let the checker answer, by row id."""
        return self._noted(answers(self.checker, list(requests), told))

    def _noted(self, completions: dict[str, Completion]) -> dict[str, Completion]:
        self.spent |= any(one.status == "deferred" for one in completions.values())
        return completions

    def reviewed(
        self, text: str, language: str, completion: Completion
    ) -> tuple[str, Fault | None]:
        """What a reply says in its language, and what is wrong with it.

        Args:
            text: The reply, or a field of it.
            language: The language it was asked for in.
            completion: Whose reply it is.

        Returns:
            The text, in Taiwan's Chinese where that is the policy, and a reason to drop it or None.
        """
        text = text.strip()
        if found := fault(completion):
            return text, found
        if token := _TEMPLATE.search(text):
            return text, ("template_token", f"{token[0]} is no text: {text[:40]}")
        if foreign := foreign_language(text, language):
            return text, ("wrong_language", f"{foreign}, not {language}: {text[:40]}")
        if template_language(language) != "zh-TW":
            return text, None
        by_model = completion.teacher_kind == "llm"
        seen = guarded(text, self.params.simplified, written_by_model=by_model)
        self.leaks.add(completion.teacher, seen, text)
        return seen.text, seen.fault

    def asked(self, text: str, language: str, completion: Completion) -> tuple[str, Fault | None]:
        """As `reviewed`, for what a user asks, which has to be understood without a document."""
        text, found = self.reviewed(text, language, completion)
        if found is None and (leaning := leans_on_document(text, language)):
            return text, ("not_self_contained", f"{leaning!r} points at a document: {text[:60]}")
        return text, found

    def cited(self, completion: Completion, language: str) -> tuple[str, Fault | None]:
        """As `reviewed`, for an answer from documents, which must be no refusal."""
        text, found = self.reviewed(completion.text, language, completion)
        if found is None and refusal_kind(text, language, refusal(language)):
            return text, ("no_answer", f"the documents do not answer it: {text[:60]}")
        return text, found

    def answered(self, completion: Completion, language: str) -> tuple[str, Fault | None]:
        """As `cited`, for an answer that has to say something and not name its sources."""
        text, found = self.cited(completion, language)
        if found:
            return text, found
        if empty := says_nothing(text):
            return text, empty
        marked = _MARKUP.search(text)
        if spoken := marked[0] if marked else names_sources(text):
            return text, ("names_its_sources", f"the reader sees no documents: {spoken}")
        return text, None


class Shelf:
    """Rows of a table by the value of a column, without a second copy of them in memory."""

    def __init__(self, table: pl.DataFrame, column: str, what: str) -> None:
        self._table = table
        self._what = what
        self._places = {name: place for place, name in enumerate(table[column])}

    @property
    def names(self) -> list[str]:
        """The values of the column, in the order of the table."""
        return list(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Row:
        if name not in self._places:
            raise UserError(
                f"the knowledge base holds {name}, which is not among the {self._what}: it is of "
                "another ingest; run `kedro run --pipelines=ingest` again"
            )
        return self._table.row(self._places[name], named=True)


def refusal(language: str) -> str:
    """What an answer says when no document bears on the question."""
    return REFUSAL[template_language(language)]


def shown(passage: Row) -> Row:
    """A passage as a document of a prompt."""
    return {name: passage[name] for name in ("passage_id", "title", "text")}


def titled(passage: Row) -> str:
    """A passage as evidence: its title and its text."""
    return f"{passage['title']}\n{passage['text']}"


def licence_of(passages: Iterable[Row]) -> str:
    """The licences that a text made from passages is under, as an SPDX expression."""
    return " AND ".join(sorted({passage["licence"] for passage in passages}))


def drawn(share: float, *parts: str) -> bool:
    """Whether a record falls into a share of all records; depends on its id alone."""
    return int(content_id(*parts)[:8], 16) < share * 16**8


def chain(*steps: Iterable[Call] | Completion | None) -> list[Call]:
    """Calls in their order, each once."""
    calls = [
        call
        for step in steps
        if step is not None
        for call in ([call_of(step)] if isinstance(step, Completion) else step)
    ]
    return list({call["key"]: call for call in calls}.values())
