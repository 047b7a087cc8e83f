"""Conversations with references: answers cite the documents they are shown, or refuse."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain as chain_of
from itertools import repeat
from typing import Any, NamedTuple

from kyara_kedro.content import content_id
from kyara_kedro.pipelines.asking import Fault, about, assistant, fault, synthetic, user
from kyara_kedro.pipelines.synthesize.desk import (
    Desk,
    Shelf,
    chain,
    drawn,
    licence_of,
    refusal,
    shown,
    titled,
)
from kyara_kedro.pipelines.synthesize.grounding import Grounds
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.pipelines.synthesize.knowledge import parents_of
from kyara_kedro.pipelines.synthesize.support import another_answer, unsupported
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.tasks import Support
from kyara_kedro.text.answers import gives_away
from kyara_kedro.text.citations import (
    CITATION,
    GLIMPSE,
    CitationReport,
    Claim,
    citation_report,
    claims,
    essence,
    normalised_citations,
    states,
    summary,
)
from kyara_kedro.text.statements import unformed

Checks = dict[str, Completion]


class Attempt(NamedTuple):
    """One question with the documents that its prompt shows."""

    id: str
    question: Row
    answerable: bool
    references: list[Row]
    documents: list[Row]


@dataclass
class Citer:
    """Asks root questions with reference documents in the prompt.

    Distractors are retrieved passages that were judged irrelevant. An answerable prompt shows the
    question's own passage among them; an unanswerable one shows distractors alone, none of which
    holds the words of the answer, and its answer is the refusal. Every cited sentence has to be
    supported by the documents that it cites.

    Attributes:
        desk: Teachers and parameters.
        passages: By passage id.
        grounds: What was found for each question.
        basket: Takes the conversations.
        reports: What the citations of the accepted answers are like.
    """

    desk: Desk
    passages: Shelf
    grounds: Grounds
    basket: Basket
    reports: list[CitationReport] = field(default_factory=list)

    def wanted(self, question: Row) -> bool:
        """Whether a question is drawn to be asked with references."""
        root = question["operation"] == "none"
        return root and drawn(self.desk.params.rag.part, "rag", question["id"])

    def answer(self, questions: Sequence[Row]) -> None:
        """Ask the drawn questions."""
        desk = self.desk
        attempts = {one.id: one for one in self._attempts(questions)}
        completions = desk.write(
            [
                desk.ask(
                    one.id,
                    "answer_question",
                    one.question["language"],
                    question=one.question["text"],
                    documents=one.documents,
                    style="detailed",
                    cite=True,
                )
                for one in attempts.values()
                if one.answerable and one.documents
            ],
            "cited answers",
        )
        reviewed = {
            name: self._reviewed(attempts[name], completion)
            for name, completion in completions.items()
        }
        checked: Checks = {}
        if desk.params.rag.checked:
            passed = {name: text for name, (text, why, _) in reviewed.items() if why is None}
            checked = self._checked(passed, attempts)
        for one in attempts.values():
            text, why, report = reviewed.get(
                one.id, (refusal(one.question["language"]), None, None)
            )
            if not one.documents:
                why = "no_references", "no passage to show"
            why = why or self._disputed(checked.get(one.id), text, one)
            if why:
                self.basket.drop(one.id, about("question", one.question["id"], why))
                continue
            completion = completions.get(one.id)
            if (
                self.basket.put(one.id, self._row(one, text, completion, checked.get(one.id)))
                and report
            ):
                self.reports.append(report)

    def quality(self) -> dict[str, Any]:
        """Figures over the citations of all accepted answers."""
        return summary(self.reports)

    def _attempts(self, questions: Sequence[Row]) -> Iterator[Attempt]:
        for question in filter(self.wanted, questions):
            share = self.desk.params.rag.unanswerable
            answerable = not drawn(share, "unanswerable", question["id"])
            references = self.grounds.distractors(question)
            names = [row["passage_id"] for row in references]
            names = [name for name in names if name not in question["passage_ids"]]
            if answerable:
                names = [*question["passage_ids"], *names]
            else:
                answer = question["answer"]
                names = [
                    name for name in names if not gives_away(titled(self.passages[name]), answer)
                ]
            name = content_id("rag", question["id"])
            chosen = names[: self.desk.params.references.shown]
            chosen.sort(key=lambda passage: content_id(name, passage))
            documents = [shown(self.passages[passage]) for passage in chosen]
            used = [row for row in references if row["passage_id"] in chosen]
            yield Attempt(name, question, answerable, used, documents)

    def _reviewed(
        self, one: Attempt, completion: Completion
    ) -> tuple[str, Fault | None, CitationReport | None]:
        language = one.question["language"]
        text, why = self.desk.cited(completion, language)
        if why:
            return text, why, None
        texts = _texts(one)
        text = normalised_citations(text, texts)
        report = citation_report(
            unformed(text, "，"),
            texts,
            one.question["text"],
            self.desk.params.rag.support,
            reworded=self._by_model,
        )
        why = (
            report.fault()
            or another_answer(CITATION.sub("", text), one.question)
            or self._uncited(text, one)
        )
        return text, why, report

    @property
    def _by_model(self) -> bool:
        """Whether a model decides about paraphrases, so that words only have to be near enough."""
        return self.desk.params.rag.checked and self.desk.checker.kind == "llm"

    def _uncited(self, text: str, one: Attempt) -> Fault | None:
        """Why a sentence without a citation is not in the documents, or None."""
        least = GLIMPSE if self._by_model else self.desk.params.rag.support
        found = (
            unsupported(essence(claim.text), one.question, one.documents, least)
            for claim in _stated(text)
            if not claim.cited
        )
        return next(filter(None, found), None)

    def _claims(self, answer: str, one: Attempt) -> list[dict[str, str]]:
        """What the checker is asked: each cited sentence with the documents that it cites.

        A model is asked about the sentences without a citation too, together and with all
        documents.
        """
        texts, stated = _texts(one), _stated(answer)
        asked = [
            {"sentence": claim.text, "text": "\n".join(texts[name] for name in claim.cited)}
            for claim in stated
            if claim.cited
        ]
        rest = "\n".join(claim.text for claim in stated if not claim.cited)
        if rest and self._by_model:
            asked.append({"sentence": rest, "text": "\n".join(texts.values())})
        return asked

    def _checked(self, answers: Mapping[str, str], attempts: Mapping[str, Attempt]) -> Checks:
        """Have the checker say whether the sentences of each answer are supported."""
        requests = [
            self.desk.ask(
                name,
                "check_support",
                attempts[name].question["language"],
                claims=self._claims(answer, attempts[name]),
            )
            for name, answer in answers.items()
        ]
        return self.desk.check(requests, "citations supported")

    def _disputed(self, completion: Completion | None, answer: str, one: Attempt) -> Fault | None:
        """Why the checker does not let an answer pass, or None."""
        if completion is None:
            return None
        if found := fault(completion):
            return found
        assert isinstance(completion.parsed, Support)  # noqa: S101 - narrows the type
        verdicts, asked = completion.parsed.verdicts, self._claims(answer, one)
        held = chain_of(verdicts, repeat(False))
        wrong = [claim["sentence"] for claim, holds in zip(asked, held, strict=False) if not holds]
        return ("unsupported_claim", f"the checker denies: {wrong[0][:60]}") if wrong else None

    def _row(
        self, one: Attempt, text: str, completion: Completion | None, checked: Completion | None
    ) -> Row:
        question = one.question
        prompt = self.desk.prompts.render_rag(
            one.documents, question["text"], question["language"], int(one.id[:8], 16)
        )
        judged = [call for row in one.references for call in row["calls"]]
        names = [document["passage_id"] for document in one.documents]
        row = synthetic(
            [user(prompt.messages[-1]["content"]), assistant(text)],
            "rag",
            question["language"],
            completion,
            parents_of(question, question["id"], self.passages),
            licence_of(self.passages[name] for name in names),
            names,
            chain(question["calls"], self.grounds.calls.get(question["id"], []), judged, checked),
        )
        return row | {"prompt_version": prompt.version}


def _texts(one: Attempt) -> dict[str, str]:
    """The documents shown, with their titles, by id."""
    return {document["passage_id"]: titled(document) for document in one.documents}


def _stated(answer: str) -> list[Claim]:
    """The sentences of an answer that state something, out of the form that they are put in."""
    return [claim for claim in claims(unformed(answer, "，")) if states(claim.text)]
