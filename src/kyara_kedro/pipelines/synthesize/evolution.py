"""Evol-Instruct (arXiv:2304.12244): questions made harder, and those that are not eliminated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kyara_kedro.content import content_id
from kyara_kedro.params import EvolutionParams
from kyara_kedro.pipelines.asking import Fault, about, fault
from kyara_kedro.pipelines.synthesize.desk import Desk, chain
from kyara_kedro.pipelines.synthesize.elimination import equals_parent, leaks_prompt
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.pipelines.synthesize.questions import Judgements, unanswerable
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.tasks import Comparison, Question
from kyara_kedro.text.fold import match_key


@dataclass
class Lineage:
    """One line of descent: a root question and what it has become.

    Attributes:
        root: The root question.
        number: Which of the root's forms it is.
        present: The latest that was not eliminated.
    """

    root: Row
    number: int
    present: Row


@dataclass
class Evolver:
    """Evolves questions, and remembers what has been asked.

    Attributes:
        desk: Teachers and parameters.
        judgements: Of passages; the checks of answerability are added.
        basket: Takes the evolved questions.
        roots: The root question's id of every evolved one.
    """

    desk: Desk
    judgements: Judgements
    basket: Basket
    roots: dict[str, str]

    def __post_init__(self) -> None:
        self._seen: set[str] = set()

    def evolve(self, roots: Sequence[Row], passages: Mapping[str, Row]) -> list[Row]:
        """Evolve root questions in rounds; what is eliminated is tried again from its parent.

        Args:
            roots: Root questions.
            passages: Their passages by passage id.

        Returns:
            The evolved questions, rows of ``records.QUESTION``.
        """
        params = self.desk.params.evolution
        self._seen |= {match_key(root["text"]) for root in roots}
        lines = [
            Lineage(root, number, root)
            for root in roots
            for number in range(params.forms if params.operations else 0)
        ]
        found: list[Row] = []
        for number in range(1, params.rounds + 1):
            found += self._round(number, lines, passages)
        return found

    def _round(
        self, number: int, lines: Sequence[Lineage], passages: Mapping[str, Row]
    ) -> list[Row]:
        told, desk = f"evolutions, round {number}", self.desk
        planned = {_attempt(line, number): line for line in lines}
        completions = desk.write(
            [
                desk.ask(
                    attempt,
                    "evolve_question",
                    line.present["language"],
                    question=line.present["text"],
                    operation=drawn_operation(attempt, desk.params.evolution),
                    title=passages[line.present["passage_ids"][0]]["title"],
                    text=passages[line.present["passage_ids"][0]]["text"],
                )
                for attempt, line in planned.items()
            ],
            told,
        )
        candidates: dict[str, Row] = {}
        for attempt, completion in completions.items():
            found = self._candidate(attempt, planned[attempt], number, completion)
            if isinstance(found, tuple):
                self.basket.drop(attempt, about("question", planned[attempt].present["id"], found))
            else:
                candidates[attempt] = found
        compared = self._compared(candidates, planned, told)
        self.judgements.ask(
            [(row, passages[row["passage_ids"][0]]) for row in candidates.values()],
            f"{told}: answerable",
        )
        kept = []
        for attempt, row in candidates.items():
            line, passage = planned[attempt], passages[row["passage_ids"][0]]
            why = _equal(compared[attempt]) or unanswerable(self.judgements, row, passage)
            if why:
                self.basket.drop(attempt, about("question", line.present["id"], why))
                continue
            judged = self.judgements.completion(row, passage)
            row["calls"] = chain(row["calls"], compared[attempt], judged)
            if self.basket.put(attempt, row):
                line.present = row
                self.roots[row["id"]] = line.root["id"]
                kept.append(row)
        return kept

    def _candidate(
        self, attempt: str, line: Lineage, number: int, completion: Completion
    ) -> Row | Fault:
        parent = line.present
        said = completion.parsed.question if isinstance(completion.parsed, Question) else ""
        text, why = self.desk.asked(said, parent["language"], completion)
        why = why or leaks_prompt(parent["text"], text) or equals_parent(parent["text"], text)
        if why:
            return why
        if match_key(text) in self._seen:
            return "equal_evolution", f"says what another question says: {text}"
        self._seen.add(match_key(text))
        return {
            "id": content_id("question", text, parent["passage_ids"]),
            "text": text,
            "passage_ids": parent["passage_ids"],
            "kind": parent["kind"],
            "operation": drawn_operation(attempt, self.desk.params.evolution),
            "parent": parent["id"],
            "round": number,
            "language": parent["language"],
            "answer": None,
            "evidence": None,
            "calls": chain(parent["calls"], completion),
        }

    def _compared(
        self, candidates: Mapping[str, Row], planned: Mapping[str, Lineage], told: str
    ) -> dict[str, Completion]:
        requests = [
            self.desk.ask(
                attempt,
                "compare_questions",
                row["language"],
                parent=planned[attempt].present["text"],
                question=row["text"],
            )
            for attempt, row in candidates.items()
        ]
        return self.desk.check(requests, f"{told}: harder")


def drawn_operation(attempt: str, params: EvolutionParams) -> str:
    """The operation of an attempt, drawn by its id."""
    return params.operations[int(attempt, 16) % len(params.operations)]


def _attempt(line: Lineage, number: int) -> str:
    return content_id("evolution", line.root["id"], line.number, number)


def _equal(completion: Completion) -> Fault | None:
    if found := fault(completion):
        return found
    assert isinstance(completion.parsed, Comparison)  # noqa: S101 - narrows the type
    if completion.parsed.equal:
        return "equal_evolution", f"no harder than its parent: {completion.parsed.reason[:80]}"
    return None
