"""Knowledge injection: questions answered in detail from documents that the reader does not see."""

from collections.abc import Sequence
from dataclasses import dataclass

from kyara_kedro.content import content_id
from kyara_kedro.pipelines.asking import Call, Fault, about, assistant, synthetic, user
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf, chain, licence_of, shown
from kyara_kedro.pipelines.synthesize.elimination import shows_trouble
from kyara_kedro.pipelines.synthesize.grounding import Grounds
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.pipelines.synthesize.support import another_answer, unsupported


@dataclass
class Answerer:
    """Answers questions from their own passage and the relevant supplements, without references.

    Detailed answers become the source ``knowledge``, bare ones (a root question's brief answer, and
    evolved questions that get the same) ``knowledge_brief``, other forms ``knowledge_evolved``.

    Attributes:
        desk: Teachers and parameters.
        passages: By passage id.
        grounds: What was found for each question.
        roots: The root question's id of every evolved one.
        basket: Takes the conversations.
    """

    desk: Desk
    passages: Shelf
    grounds: Grounds
    roots: dict[str, str]
    basket: Basket

    def answer(self, questions: Sequence[Row]) -> None:
        """Answer questions in the styles of the operations that made them."""
        desk, params = self.desk, self.desk.params.knowledge
        attempts = {
            content_id("knowledge", style, question["id"]): (question, style)
            for question in questions
            for style in params.styles[question["operation"]]
        }
        documents = {question["id"]: self.documents(question) for question in questions}
        completions = desk.write(
            [
                desk.ask(
                    attempt,
                    "answer_question",
                    question["language"],
                    question=question["text"],
                    documents=[shown(passage) for passage in documents[question["id"]]],
                    style=style,
                    cite=False,
                )
                for attempt, (question, style) in attempts.items()
            ],
            "knowledge answers",
        )
        bare = {
            (question["id"], completions[attempt].text)
            for attempt, (question, style) in attempts.items()
            if style == "brief" and question["parent"] is None
        }
        for attempt, completion in completions.items():
            question, style = attempts[attempt]
            supports = documents[question["id"]]
            text, why = desk.answered(completion, question["language"])
            if (
                why := why
                or _eliminated(question, text)
                or another_answer(text, question)
                or unsupported(text, question, supports, params.support)
            ):
                self.basket.drop(attempt, about("question", question["id"], why))
                continue
            root = self.roots.get(question["id"]) or question["id"]
            source = "knowledge"
            if style == "brief":
                source += "_brief" if (root, completion.text) in bare else "_evolved"
            row = synthetic(
                [user(question["text"]), assistant(text)],
                source,
                question["language"],
                completion,
                parents_of(question, root, self.passages),
                licence_of(supports),
                [passage["passage_id"] for passage in supports],
                self.calls(question),
            )
            self.basket.put(attempt, row)

    def documents(self, question: Row) -> list[Row]:
        """The question's own passages, then the relevant supplements."""
        found = [row["passage_id"] for row in self.grounds.relevant(question)]
        return [self.passages[name] for name in dict.fromkeys([*question["passage_ids"], *found])]

    def calls(self, question: Row) -> list[Call]:
        """The calls that led to the documents of an answer."""
        judged = [call for row in self.grounds.relevant(question) for call in row["calls"]]
        return chain(question["calls"], self.grounds.calls.get(question["id"], []), judged)


def parents_of(question: Row, root: str, passages: Shelf) -> list[str]:
    """The root question first, then the question and its passages' ids."""
    own = [passages[name]["id"] for name in question["passage_ids"]]
    return list(dict.fromkeys([root, question["id"], *own]))


def _eliminated(question: Row, text: str) -> Fault | None:
    """Evol-Instruct's rule about a response to an evolved question that shows trouble."""
    if question["parent"] is None:
        return None
    return shows_trouble(text, question["language"])
