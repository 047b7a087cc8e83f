"""Knowledge injection as a whole: from passages to answers, wave by wave."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import polars as pl

from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf
from kyara_kedro.pipelines.synthesize.evolution import Evolver
from kyara_kedro.pipelines.synthesize.grounding import Grounds, ground
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row, Stop, drawn_order, gather
from kyara_kedro.pipelines.synthesize.knowledge import Answerer
from kyara_kedro.pipelines.synthesize.questions import Asker, Judgements
from kyara_kedro.pipelines.synthesize.rag import Citer


@dataclass
class Injection:
    """Questions, their evolved forms, what was found for them, and the answers.

    Every wave goes the whole way for some passages, so that asking stops when enough answers are
    there and not when enough questions are.

    Attributes:
        desk: Teachers and parameters.
        passages: By passage id.
        store: The knowledge base.
        earlier: References of an earlier run.
    """

    desk: Desk
    passages: Shelf
    store: KnowledgeStore
    earlier: pl.DataFrame
    asked: Basket = field(init=False)
    questions: Basket = field(init=False)
    evolutions: Basket = field(init=False)
    knowledge: Basket = field(init=False)
    rag: Basket = field(init=False)
    grounds: Grounds = field(init=False, default_factory=Grounds)

    def __post_init__(self) -> None:
        params = self.desk.params
        self.asked = Basket("passages", _begun(params), open_ended=True)
        self.questions, self.evolutions = Basket("questions"), Basket("evolutions")
        self.knowledge = Basket("knowledge", params.knowledge.target)
        self.rag = Basket("rag", params.rag.target)
        roots: dict[str, str] = {}
        self._judgements = Judgements(self.desk)
        self._asker = Asker(self.desk, self._judgements, self.asked, self.questions)
        self._evolver = Evolver(self.desk, self._judgements, self.evolutions, roots)
        self._answerer = Answerer(self.desk, self.passages, self.grounds, roots, self.knowledge)
        self.citer = Citer(self.desk, self.passages, self.grounds, self.rag)

    def run(self, names: Sequence[str]) -> Stop:
        """Ask about passages, in the order of their ids' hashes, until every target is reached.

        Where some have a target, those without take what comes with it.
        """
        wanted = []
        for name in names:
            language = self.passages[name]["language"]
            if language in self.desk.params.languages:
                wanted.append(name)
            else:
                languages = list(self.desk.params.languages)
                detail = f"language {language} is not among {languages}"
                self.asked.drop(self.passages[name]["id"], ("language_not_wanted", detail))
        every = [self.asked, self.knowledge, self.rag]
        baskets = [one for one in every if one.target] or [
            one for one in every if one.target is None
        ]
        why, left = gather("knowledge", drawn_order(wanted, "passage"), baskets, self._wave)
        for name in left:
            self.asked.drop(self.passages[name]["id"], not_asked(why))
        return why

    def _wave(self, names: Sequence[str]) -> bool:
        passages = [self.passages[name] for name in names]
        by_name = dict(zip(names, passages, strict=True))
        roots = self._asker.write(passages)
        evolved: list[Row] = []
        if self.knowledge.missing:
            evolved = self._evolver.evolve(roots, by_name)
        cited = list(filter(self.citer.wanted, roots)) if self.rag.missing else []
        answered = [*roots, *evolved] if self.knowledge.missing else []
        grounded = list({row["id"]: row for row in [*answered, *cited]}.values())
        ground(
            self.desk,
            grounded,
            self.passages,
            self.store,
            self._judgements,
            self.earlier,
            self.grounds,
        )
        self._answerer.answer(answered)
        self.citer.answer(cited)
        self._judgements.forget()
        return not self.desk.spent


def _begun(params: SynthesizeParams) -> int | None:
    """Passages to ask for dialogues and conversations as told; None for all."""
    targets = (params.dialogue.target, params.told.target)
    if None in targets and params.knowledge.target == params.rag.target == 0:
        return None
    return ceil(params.questions.spare * max(target or 0 for target in targets))


def not_asked(why: Stop) -> tuple[str, str]:
    """The reason why a seed was left over."""
    if why == "budget":
        return "budget_exhausted", "its share or the budget was exhausted before it was asked"
    return "not_needed", "the targets were reached before it was asked"
