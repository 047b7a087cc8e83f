"""The book of one run: which nodes are due and why, what they read, and what became of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, cast

from kedro.io import AbstractDataset, CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from kyara_kedro.content import content_id
from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.datasets.encoder import EncoderDataset
from kyara_kedro.datasets.knowledge import KnowledgeBaseDataset
from kyara_kedro.datasets.prompts import PromptLibraryDataset
from kyara_kedro.datasets.table import TableDataset
from kyara_kedro.datasets.teachers import TeacherDataset
from kyara_kedro.files import written_whole
from kyara_kedro.lineage.manifest import (
    InputState,
    NodeReport,
    OutputState,
    RunManifest,
    Status,
)
from kyara_kedro.lineage.reproduce import HIDDEN, keep_prompts
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.runners.code import CodeIndex
from kyara_kedro.runners.identity import NOTHING, Contents, earlier_state, identity, stamp
from kyara_kedro.runners.memory import Memory, NodeRecord, Output, Shelf
from kyara_kedro.runners.reads import Reads, plain, prompt, setting

logger = logging.getLogger("kyara_kedro")
Catalog = CatalogProtocol[str, Any]
PROMPTS = "prompts"
"""Folder beside the manifests, of the texts of a project's own prompts."""
NAME = "run_log"
"""Name of the data set that carries the book from the hooks to the runner."""
_ASKED = (EncoderDataset, KnowledgeBaseDataset, TeacherDataset)
_UP_TO_DATE = "up to date"
_AS_BEFORE = "what it reads came out as before"
_SHOWN = 5
"""Nodes of a group that are named."""
_LONG = 60
"""Characters of a setting's value that a reason repeats."""


@dataclass(frozen=True)
class Plan:
    """Which nodes of a pipeline have to run.

    Attributes:
        stale: Reasons of the nodes that have to run whatever the others do, by name.
        following: Names of nodes that run if what they read changes.
        settled: Names of those that are up to date.
    """

    stale: Mapping[str, str]
    following: tuple[str, ...]
    settled: tuple[str, ...]

    def told(self) -> list[str]:
        """The plan in lines for the log."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.stale.items():
            reasons.setdefault(why, []).append(name)
        lines = [f"{_listed(names)} run: {why}" for why, names in reasons.items()]
        if self.following:
            lines.append(f"{_listed(self.following)} run if what they read changes")
        if self.settled:
            nodes = len(self.settled) + len(self.following) + len(self.stale)
            lines.append(
                f"{len(self.settled)} of {nodes} nodes are up to date and passed over: "
                f"{_listed(self.settled)} (--fresh runs them too)"
            )
        return lines


@dataclass
class _Begun:
    """What is known of a node before it runs."""

    why: str
    code: dict[str, str]
    inputs: dict[str, str]
    reads: Reads = field(default_factory=Reads)


class RunLog:
    """Knows what is due, and keeps what the runner and the hooks tell of a run.

    Args:
        folder: Where manifests and the records of nodes are kept.
        manifest: What is known of the run at its beginning.
        pipeline: The part of the pipelines that was asked for.
        catalog: Its data sets.
        provenance: Tags of the checkout and the machine.

    Attributes:
        manifest: What is known of the run by now.
        provenance: As above.
        file: Where it is written.
        plan: What has to run.
        is_open: Whether the run has begun.
    """

    def __init__(
        self,
        folder: Path,
        manifest: RunManifest,
        pipeline: Pipeline,
        catalog: Catalog,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        self.manifest, self.provenance = manifest, dict(provenance or {})
        self.file = folder / f"{manifest.run_id}.json"
        self._memory = Memory(folder / "nodes")
        self._code = CodeIndex(folder / "cache")
        self._contents = Contents(Shelf(folder / "cache" / "contents.json"))
        self._pipeline, self._catalog = pipeline, catalog
        self._begun: dict[str, _Begun] = {}
        self._identities: dict[str, str | None] = {}
        self._lock = RLock()
        self._roots = {
            name.removeprefix("params:"): catalog.load(name)
            for name in sorted(pipeline.datasets())
            if name.startswith("params:")
        }
        self._library = next(
            (catalog.load(n) for n in pipeline.datasets() if self._is(n, PromptLibraryDataset)),
            PromptLibrary(),
        )
        self.plan = Plan({node.name: "asked for" for node in pipeline.nodes}, (), ())
        self.is_open = False
        self.manifest.parameters = {name: plain(value) for name, value in self._roots.items()}
        self.manifest.prompts = {name: self._library.sha(name) for name in self._library.templates}
        self.manifest.prompts |= keep_prompts(self._library, folder / PROMPTS)
        for name in sorted(pipeline.inputs()):
            if not name.startswith("params:"):
                self.manifest.inputs[name] = self._input_state(name)

    def make_plan(self) -> None:
        """Find out what is due, instead of running everything."""
        stale: dict[str, str] = {}
        following: set[str] = set()
        touched: set[str] = set()
        for node in self._pipeline.nodes:
            follows = not touched.isdisjoint(node.inputs)
            if why := self._due_itself(node) if follows else self.due(node):
                stale[node.name] = why
            elif follows:
                following.add(node.name)
            else:
                continue
            touched.update(node.outputs)
        due = stale.keys() | following
        for node in reversed(self._pipeline.nodes):
            told = self._fleeting(node) or (set() if self._inputs(node) else {*node.outputs})
            readers = [other for other in self._pipeline.nodes if told.intersection(other.inputs)]
            reader = next((other.name for other in readers if other.name in due), None)
            if reader and node.name not in stale:
                stale[node.name] = f"{reader} needs {', '.join(sorted(told))} as of now"
                due = stale.keys() | following
        names = [node.name for node in self._pipeline.nodes]
        self.plan = Plan(
            {name: stale[name] for name in names if name in stale},
            tuple(name for name in names if name in following and name not in stale),
            tuple(name for name in names if name not in due),
        )
        self._save_caches()

    @cached_property
    def pipeline(self) -> Pipeline:
        """What the plan leaves to run, once it is made."""
        names = [n.name for n in self._pipeline.nodes if n.name not in self.plan.settled]
        return self._pipeline.filter(node_names=names) if names else Pipeline([])

    def due(self, node: Node) -> str | None:
        """The first reason to run a node again; None if it is up to date."""
        return self._due_itself(node) or self._input_changed(node)

    def _due_itself(self, node: Node) -> str | None:
        """The first reason that does not lie in what it reads."""
        record = self._memory.recall(node.name)
        if record is None:
            return "it has not run to its end yet"
        return (
            self._code_changed(node, record)
            or self._setting_changed(record)
            or self._prompt_changed(record)
            or self._output_changed(node, record)
        )

    def _digests(self, node: Node) -> dict[str, str]:
        """The code of a node, and of whom it asks."""
        asked = {type(self._dataset(name)) for name in node.inputs if self._is(name, _ASKED)}
        found = dict(self._code.digests(node.func))
        for cls in sorted(asked, key=lambda cls: cls.__name__):
            found |= {f"{cls.__name__}: {k}": v for k, v in self._code.digests(cls).items()}
        return found

    def begin(self, node: Node) -> bool:
        """Whether a node of the plan runs after all; if so, from now on it counts as not done."""
        with self._lock:
            why = self.plan.stale.get(node.name)
            if why is None and not self._fleeting(node):
                why = self.due(node)
                if why is None:
                    self._pass_over(node, _AS_BEFORE)
                    return False
            begun = _Begun(why or "", self._digests(node), self._inputs(node))
            self._begun[node.name] = begun
            self._memory.forget(node.name)
            return True

    def watch(self, node: Node, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """A node's inputs, such that it is noted what is read of settings and prompts."""
        begun = self._begun.get(node.name)
        if begun is None:
            return {}
        return {
            name: watched
            for name, value in inputs.items()
            if (watched := begun.reads.watch(name, value)) is not value
        }

    def take_reads(self, node: str, reads: Reads) -> None:
        """Note what a node has read in another process."""
        if begun := self._begun.get(node):
            begun.reads = reads

    def done(self, node: Node, seconds: float) -> None:
        """Note that a node has run and its outputs are stored."""
        with self._lock:
            begun = self._begun.pop(node.name)
            record = NodeRecord(
                run_id=self.manifest.run_id,
                code=begun.code,
                parameters=begun.reads.parameters or self._settings(node),
                prompts=begun.reads.prompts,
                inputs=begun.inputs,
                outputs={},
            )
            fingerprint = record.fingerprint
            for name in node.outputs:
                record.outputs[name] = self._stored(name, fingerprint)
            try:
                self._memory.keep(node.name, record)
            except OSError as error:
                logger.warning("%s runs again next time, its record is lost: %s", node.name, error)
            self._report(node, "ran", begun.why, seconds, record)

    def failed(self, node: Node, seconds: float) -> None:
        """Note that a node came to no end."""
        with self._lock:
            begun = self._begun.pop(node.name, None)
            if begun is None:
                return
            report = NodeReport(state="failed", why=begun.why, seconds=round(seconds, 3))
            self.manifest.nodes[node.name] = report
            self._write()

    def open(self) -> None:
        """Tell of the run and of what it passes over."""
        self.is_open = True
        for line in self.plan.told():
            logger.info("%s", line)
        for node in self._pipeline.nodes:
            if node.name in self.plan.settled:
                self._pass_over(node, _UP_TO_DATE)
        self._write()

    def close(self, status: Status, error: str | None = None) -> None:
        """Tell of the run's end."""
        spared = [n for n, told in self.manifest.nodes.items() if told.why == _AS_BEFORE]
        if spared:
            logger.info("%s were passed over: %s", _listed(spared), _AS_BEFORE)
        self.manifest.status, self.manifest.error = status, error
        self.manifest.ended_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._write()
        self._save_caches()

    def _pass_over(self, node: Node, why: str) -> None:
        record = self._memory.recall(node.name)
        if record is not None:
            self._report(node, "skipped", why, 0.0, record)

    def _report(self, node: Node, state: Any, why: str, seconds: float, record: NodeRecord) -> None:
        self.manifest.nodes[node.name] = NodeReport(
            state=state,
            why=why,
            seconds=round(seconds, 3),
            fingerprint=record.fingerprint,
            outputs={
                name: OutputState(**output.model_dump(exclude={"stamp"}))
                for name, output in record.outputs.items()
            },
        )
        if state == "ran":
            self._write()

    def _write(self) -> None:
        """Write the manifest; a disk that takes nothing fails no work."""
        try:
            with written_whole(self.file) as part:
                part.write_text(self.manifest.model_dump_json(indent=1), encoding="utf-8")
        except OSError as error:
            logger.warning("%s cannot be written: %s", self.file, error)

    def _save_caches(self) -> None:
        self._code.save()
        self._contents.save()

    def _code_changed(self, node: Node, record: NodeRecord) -> str | None:
        now = self._digests(node)
        changed = sorted(
            name for name in now.keys() | record.code if now.get(name) != record.code.get(name)
        )
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"the code of {changed[0]}{more} changed" if changed else None

    def _setting_changed(self, record: NodeRecord) -> str | None:
        for path, before in record.parameters.items():
            now = setting(self._roots, path)
            if now != before:
                return _difference(path, before, now)
        return None

    def _prompt_changed(self, record: NodeRecord) -> str | None:
        for name, before in record.prompts.items():
            if prompt(self._library, name) != before:
                return f"the prompt {name} changed" if name != "*" else "prompts came or went"
        return None

    def _input_changed(self, node: Node) -> str | None:
        record = self._memory.recall(node.name)
        before = record.inputs if record else {}
        now = self._inputs(node)
        changed = (name for name in node.inputs if now.get(name) != before.get(name))
        return next((f"{name} changed" for name in changed), None)

    def _output_changed(self, node: Node, record: NodeRecord) -> str | None:
        for name in node.outputs:
            before = record.outputs.get(name)
            if before is None:
                return f"it makes {name} now"
            if self._stamp(name) != before.stamp:
                return f"{name} is not what it stored"
        return None

    def _inputs(self, node: Node) -> dict[str, str]:
        found = {}
        for name in sorted({*node.inputs}):
            told = None if name.startswith("params:") else self._identity(name)
            if told is not None:
                found[name] = told
        return found

    def _identity(self, name: str) -> str | None:
        """What an input holds; of one that is not kept, what its maker's outputs follow from."""
        if name not in self._identities:
            self._identities[name] = self._look(name) if self._kept(name) else self._told(name)
        return self._identities[name]

    def _look(self, name: str) -> str | None:
        try:
            return identity(self._dataset(name), self._contents)
        except (OSError, DatasetError):
            return NOTHING

    def _told(self, name: str) -> str:
        maker = next((node for node in self._pipeline.nodes if name in node.outputs), None)
        record = self._memory.recall(maker.name) if maker else None
        output = record.outputs.get(name) if record else None
        return output.hash if output and output.hash else NOTHING

    def _stamp(self, name: str) -> str | None:
        if not self._kept(name):
            return None
        try:
            return stamp(self._dataset(name))
        except (OSError, DatasetError):
            return NOTHING

    def _stored(self, name: str, fingerprint: str) -> Output:
        """What a node has just stored under a name."""
        dataset = self._dataset(name)
        path = _path(dataset)
        told = self._look(name) if self._kept(name) else None
        self._identities[name] = told or content_id(fingerprint, name)
        return Output(
            version=_version(dataset),
            hash=self._identities[name],
            rows=dataset.shape()[0] if isinstance(dataset, TableDataset) else None,
            bytes=path.stat().st_size if isinstance(path, Path) else None,
            stamp=self._stamp(name),
        )

    def _input_state(self, name: str) -> InputState:
        dataset = self._dataset(name)
        place = dataset._describe().get("filepath")
        return InputState(
            version=_version(dataset),
            hash=earlier_state(dataset, self._contents) or self._identity(name),
            path=None if place is None else str(place),
        )

    def _settings(self, node: Node) -> dict[str, Any]:
        """All settings that a node takes, for one that was not watched."""
        names = [n.removeprefix("params:") for n in node.inputs if n.startswith("params:")]
        return {name: plain(self._roots[name]) for name in names}

    def _fleeting(self, node: Node) -> set[str]:
        """A node's outputs that are not kept when the run ends."""
        return {name for name in node.outputs if not self._kept(name)}

    def _kept(self, name: str) -> bool:
        return name in self._catalog and not self._dataset(name)._EPHEMERAL

    def _is(self, name: str, kind: type | tuple[type, ...]) -> bool:
        return not name.startswith("params:") and isinstance(self._catalog.get(name), kind)

    def _dataset(self, name: str) -> AbstractDataset[Any, Any]:
        found = self._catalog.get(name)
        if found is None:
            raise DatasetError(f"{name} is not in the catalog")
        return cast(AbstractDataset[Any, Any], found)


def log_of(catalog: Catalog) -> RunLog | None:
    """The book of the run that a catalog belongs to, if there is one."""
    return cast(RunLog, catalog.load(NAME)) if NAME in catalog else None


def due_part(pipeline: Pipeline, catalog: Catalog) -> Pipeline:
    """What of a pipeline is about to run, as the book says; without one, all of it."""
    log = log_of(catalog)
    return pipeline if log is None else log.pipeline


def _path(dataset: AbstractDataset[Any, Any]) -> Path | str | None:
    try:
        return dataset.stored() if isinstance(dataset, AtomicDataset) else None
    except (OSError, DatasetError):
        return None


def _version(dataset: AbstractDataset[Any, Any]) -> str | None:
    if not isinstance(dataset, AtomicDataset) or dataset._version is None:
        return None
    try:
        return dataset._get_load_path().parent.name
    except DatasetError:
        return None


def _difference(path: str, before: Any, now: Any) -> str:
    """Which setting changed; what it was and is, if both are short."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *now]:
            if before.get(key) != now.get(key):
                return _difference(f"{path}.{key}", before.get(key), now.get(key))
    told = f"{before} -> {now}"
    if len(told) > _LONG or HIDDEN in told:
        return f"{path} changed"
    return f"{path}: {told}"


def _listed(names: Iterable[str]) -> str:
    """Some names, and how many more there are."""
    every = list(names)
    some = every[:_SHOWN]
    more = f" and {len(every) - len(some)} more" if len(every) > len(some) else ""
    return ", ".join(some) + more
