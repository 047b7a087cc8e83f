"""A rehearsal: the nodes that ask teachers run in memory, with understudies in the teachers' place.

So the estimate follows the pipelines as they are: their waves, gates, prompts and targets. Nothing
is sent or written. What is long is played in part: a strategy up to some conversations, a table up
to some rows, and each node tells how much larger the whole is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

import polars as pl
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline

from kyara_kedro.datasets.knowledge import KnowledgeBaseDataset
from kyara_kedro.datasets.models import RefDataset
from kyara_kedro.datasets.table import Frames, TableDataset
from kyara_kedro.datasets.teachers import TeacherDataset
from kyara_kedro.params import CurateParams, DedupParams, PreferenceParams, SynthesizeParams
from kyara_kedro.pipeline_registry import maker_of
from kyara_kedro.pipelines.evaluate.answering import served_outputs
from kyara_kedro.quality.scorers import JudgeOptions
from kyara_kedro.teachers.base import Teacher
from kyara_kedro.teachers.panel import Panel
from kyara_kedro.teachers.understudy import Stage, Understudy

_LONG = frozenset(
    {
        *("open_conversations", "base_conversations", "reviewed_conversations"),
        *("prompts", "labelled_pairs", "labelled_ratings"),
    }
)
"""Tables of which each row is asked about, so that some of them tell of all."""
_WITHOUT_MODEL = frozenset({"dedup.find_semantic_pairs"})
"""Nodes that load no model once what needs one is left out."""
_OUR_OWN = frozenset({"preference.play_against_itself"})
"""Nodes that ask only the model in training, which has no price."""
_SYNTHESIZE = "synthesize."
_TOGETHER = ("knowledge", "rag", "dialogue", "told")
"""Strategies that begin with the same questions."""
_ALONE = ("document", "math", "magpie")
_WITHOUT_SOURCE = ("questions", "evolutions", "knowledge", "rag", "magpie")
"""Flows whose attempts follow from those of another one, or from nothing."""


class Scene(NamedTuple):
    """What one node has asked.

    Attributes:
        node: Name of the node.
        cast: Who stood in, by catalog entry and, of several, its member.
        factor: How many times as large the whole is.
    """

    node: str
    cast: Mapping[str, Understudy]
    factor: float


class Missing(NamedTuple):
    """A node that could not be rehearsed.

    Attributes:
        node: Name of the node.
        why: What is missing, and the command that makes it.
    """

    node: str
    why: str


@dataclass
class Rehearsal:
    """Plays the asking nodes of a pipeline.

    Attributes:
        catalog: Of the run; only read.
        pipeline: What the run is made of.
        most: Conversations of a strategy, and rows of a long table, that are played.
        scenes: What was asked, node by node.
        missing: Nodes that could not be played.
    """

    catalog: DataCatalog
    pipeline: Pipeline
    most: int
    scenes: list[Scene] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    _made: dict[str, Any] = field(default_factory=dict)
    _factors: dict[str, float] = field(default_factory=dict)
    _guessed: set[str] = field(default_factory=set)
    _stage: Stage = field(default_factory=Stage)

    def run(self) -> None:
        """Play every node that asks, with what lies between them."""
        live, alone = plan(self.pipeline, self.catalog)
        with _quietly():
            for node in (*live, *alone):
                try:
                    outputs, factor = self._play(node)
                    if node in live:
                        self._hand_on(node, outputs, factor)
                except DatasetError as error:
                    self.missing.append(Missing(node.name, " ".join(str(error).split())))
                except _NotThere as error:
                    self.missing.append(Missing(node.name, str(error)))

    def _play(self, node: Node) -> tuple[tuple[Any, ...], float]:
        cast: dict[str, Understudy] = {}
        self._stage.improvised = not self._guessed.isdisjoint(node.inputs)
        inputs = {name: self._input(name, cast) for name in node.inputs}
        function, inputs = self._adapted(node, inputs)
        said = function(*inputs.values())
        outputs = said if len(node.outputs) > 1 and isinstance(said, tuple) else (said,)
        factor = self._factor(node, outputs, _tables(inputs))
        if any(one.parts for one in cast.values()):
            self.scenes.append(Scene(node.name, cast, factor))
        return outputs, factor

    def _hand_on(self, node: Node, outputs: tuple[Any, ...], factor: float) -> None:
        for name, value in zip(node.outputs, outputs, strict=True):
            self._made[name] = self._stored(name, value)
            self._factors[name] = factor
        if self._stage.improvised:
            self._guessed.update(node.outputs)

    def _input(self, name: str, cast: dict[str, Understudy]) -> Any:
        """What a node gets: what was made here, else what is on disk; understudies for teachers."""
        if name in self._made:
            return self._made[name]
        dataset = None if name.startswith("params:") else self.catalog.get(name)
        if isinstance(dataset, RefDataset):
            return None
        if isinstance(dataset, TeacherDataset):
            return self._cast(name, dataset.load(), cast)
        if isinstance(dataset, KnowledgeBaseDataset) and dataset.exists():
            return dataset.load().by_terms()
        if dataset is not None and not dataset.exists() and (maker := maker_of(name)):
            raise _NotThere(f"'{name}' is not there yet: run `{maker}` first")
        found = self.catalog.load(name)
        return self._some(name, found) if name in _LONG else found

    def _cast(self, entry: str, teacher: Teacher, cast: dict[str, Understudy]) -> Teacher:
        names = iter(teacher.members)

        def stand_in(one: Teacher) -> Teacher:
            member = next(names)
            found = Understudy.of(one, self._stage)
            cast[f"{entry}/{member}" if member else entry] = found
            return found

        return teacher.recast(stand_in)

    def _some(self, name: str, table: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame | pl.LazyFrame:
        """Rows of a long table, from all over it."""
        rows = table.lazy().select(pl.len()).collect().item()
        step = max(1, rows // self.most)
        self._factors[name] = float(step)
        some = table if step == 1 else table.gather_every(step)
        self._made[name] = some
        return some

    def _stored(self, name: str, value: Any) -> Any:
        """What a node hands on, in the form in which the catalog would give it."""
        dataset = self.catalog.get(name)
        if isinstance(value, Frames):
            value = pl.concat(list(value))
        if isinstance(dataset, TableDataset) and isinstance(value, pl.DataFrame | pl.LazyFrame):
            return value.lazy() if dataset.lazy else value.lazy().collect()
        return value

    def _factor(self, node: Node, outputs: Iterable[Any], played: Collection[str]) -> float:
        """How many times as large as what was played the whole is."""
        if node.name.startswith(_SYNTHESIZE):
            tally = next((one for one in outputs if isinstance(one, dict) and "flows" in one), None)
            if tally is not None:
                params = self.catalog.load("params:synthesize")
                seeds = self._factors.get("questions", 1.0) if "questions" in node.inputs else 1.0
                return strategy_factor(tally["flows"], params, seeds)
        known = [name for name in played if name in self._factors]
        heights = {name: _height(self._made.get(name)) or 1 for name in known}
        whole = sum(heights[name] * self._factors[name] for name in known)
        return whole / sum(heights.values()) if known else 1.0

    def _adapted(
        self, node: Node, inputs: dict[str, Any]
    ) -> tuple[Callable[..., Any], dict[str, Any]]:
        """A node's function and inputs, without what loads a model or asks an encoder."""
        changed = dict(inputs)
        for name, value in inputs.items():
            if isinstance(value, SynthesizeParams):
                changed[name] = capped(value, self.most)
            elif isinstance(value, CurateParams):
                changed[name] = _judges_alone(value)
            elif isinstance(value, DedupParams):
                changed[name] = value.model_copy(update={"semantic": None})
            elif isinstance(value, PreferenceParams) and "contestants" in inputs:
                changed[name] = value.model_copy(update={"tuned": ()})
                changed["contestants"] = self._with_tuned(inputs["contestants"], value.tuned)
        if "other_models" in inputs:
            wanted = ("evaluation_questions", "other_models", "params:evaluate")
            return served_outputs, {name: changed[name] for name in wanted}
        return node.func, changed

    def _with_tuned(self, panel: Panel, names: Iterable[str]) -> Panel:
        """The contestants, and one in the place of each model of this project, which is free."""
        more = {
            name: Understudy(name, "llm", "contestant", "", None, self._stage) for name in names
        }
        members = {**panel.direct, **more}
        return Panel(members, dict.fromkeys(members, 1.0), None, panel.grounded)


class _NotThere(Exception):
    """A table that a node needs is not on disk."""


def plan(pipeline: Pipeline, catalog: DataCatalog) -> tuple[list[Node], list[Node]]:
    """The nodes to play, in order.

    Returns:
        Those that ask, with what carries made-up tables to them; and those that ask behind a model
        in training, which are played on what is on disk.
    """
    ordered = [node for node in pipeline.nodes if node.name not in _OUR_OWN]
    asking = {node.name for node in ordered if _asks(node, catalog)}
    heavy: set[str] = set()
    fresh: set[str] = set()
    live: list[Node] = []
    for node in ordered:
        read = [name for name in node.inputs if not _is_reference(name, catalog)]
        loads = "gpu" in node.tags and node.name not in _WITHOUT_MODEL
        behind = loads or any(name in heavy for name in read)
        if behind:
            heavy.update(node.outputs)
        elif node.name in asking or any(name in fresh for name in read):
            fresh.update(node.outputs)
            live.append(node)
    wanted: set[str] = set()
    needed = [node for node in reversed(live) if _leads(node, asking, wanted)]
    alone = [node for node in ordered if node.name in asking and node not in live]
    return needed[::-1], alone


def _leads(node: Node, asking: Collection[str], wanted: set[str]) -> bool:
    """Whether a node asks or makes what one that asks reads; notes what it reads itself."""
    if node.name in asking or wanted.intersection(node.outputs):
        wanted.update(node.inputs)
        return True
    return False


def _asks(node: Node, catalog: DataCatalog) -> bool:
    return any(
        isinstance(catalog.get(name), TeacherDataset)
        for name in node.inputs
        if not name.startswith("params:")
    )


def _is_reference(name: str, catalog: DataCatalog) -> bool:
    return not name.startswith("params:") and isinstance(catalog.get(name), RefDataset)


def _tables(inputs: Mapping[str, Any]) -> list[str]:
    return [name for name, value in inputs.items() if _is_table(value)]


def _height(table: Any) -> int:
    return int(table.lazy().select(pl.len()).collect().item()) if _is_table(table) else 0


def _is_table(value: Any) -> bool:
    return isinstance(value, pl.DataFrame | pl.LazyFrame)


def capped(params: SynthesizeParams, most: int) -> SynthesizeParams:
    """The parameters with targets that a rehearsal can reach, in the same proportions.

    Where all of a source is wanted, some is. Knowledge and its kind with references share their
    questions: one without a target takes what comes with the other, as it does in a run. Dialogues
    and system prompts begin with the questions that are there.
    """
    targets: dict[str, int | None] = {
        name: getattr(params, name).target for name in (*_TOGETHER, *_ALONE)
    }
    largest = max(targets[name] or 0 for name in _TOGETHER)
    scale = min(1.0, most / max(1, largest))
    bound = {name: one and max(1, round(one * scale)) for name, one in targets.items()}
    bound |= {
        name: most if targets[name] is None else min(targets[name] or 0, most) for name in _ALONE
    }
    if not largest:
        free = [name for name in _TOGETHER if targets[name] is None]
        led = [name for name in free if name in _TOGETHER[:2]]
        bound |= dict.fromkeys(led[:1] or free, most)
    update: dict[str, Any] = {
        name: getattr(params, name).model_copy(update={"target": target})
        for name, target in bound.items()
    }
    update["own"] = {
        name: one.model_copy(
            update={"target": most if one.target is None else min(one.target, most)}
        )
        for name, one in params.own.items()
    }
    return params.model_copy(update=update)


def strategy_factor(
    flows: Mapping[str, Mapping[str, Any]], params: SynthesizeParams, seeds: float
) -> float:
    """How many times as large as what was played a strategy is.

    It ends with the last of its targets or with its source, whichever is nearer.

    Args:
        flows: Counts of its records, see ``synthesize``.
        params: What is wanted.
        seeds: How many times as many records it begins with as were there.
    """
    spoken = max(params.dialogue.target or 0, params.told.target or 0)
    wanted = {name: getattr(params, name).target for name in (*_TOGETHER, *_ALONE)}
    wanted |= {name: one.target for name, one in params.own.items()}
    wanted["passages"] = params.questions.spare * spoken
    source, target = inf, 0.0
    for name, flow in flows.items():
        left = flow["dropped"].get("not_needed", 0)
        asked = flow["in"] - left - flow["dropped"].get("language_not_wanted", 0)
        if name not in _WITHOUT_SOURCE:
            source = min(source, seeds * (asked + left) / max(1, asked))
        if wanted.get(name) and flow["out"]:
            target = max(target, wanted[name] / flow["out"])
    found = min(source, target) if target else source
    return max(1.0, found) if found < inf else 1.0


def _judges_alone(params: CurateParams) -> CurateParams:
    """The parameters with no scorer that loads a model."""
    judges = {
        name: one for name, one in params.quality.scorers.items() if isinstance(one, JudgeOptions)
    }
    return params.model_copy(
        update={"quality": params.quality.model_copy(update={"scorers": judges})}
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the nodes log and warn of a rehearsal from being taken for a run's."""
    log = logging.getLogger("kyara_kedro")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
