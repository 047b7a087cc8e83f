"""A recorded run again: its settings, inputs, prompts and replies, into a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from kedro.config import AbstractConfigLoader, MissingConfigException
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import CatalogConfigResolver, DataCatalog, DatasetError
from kedro.io.core import VersionNotFoundError, parse_dataset_definition
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from kyara_kedro.datasets.earlier import EarlierDataset, EarlierJSONDataset
from kyara_kedro.datasets.encoder import EncoderDataset
from kyara_kedro.datasets.knowledge import KnowledgeBaseDataset
from kyara_kedro.datasets.ledger import LedgerDataset
from kyara_kedro.datasets.models import FolderDataset, ModelRegistryDataset
from kyara_kedro.datasets.prompts import PromptLibraryDataset
from kyara_kedro.datasets.publication import PublicationDataset
from kyara_kedro.datasets.teachers import TeacherDataset
from kyara_kedro.errors import UserError
from kyara_kedro.hooks.runs import FOLDER
from kyara_kedro.hooks.sharding import make_pipelines
from kyara_kedro.lineage.manifest import RunManifest, run_named
from kyara_kedro.lineage.reproduce import (
    HIDDEN,
    Compared,
    compare,
    other_circumstances,
    restore_prompts,
    restored_settings,
)
from kyara_kedro.runners import SequentialRunner
from kyara_kedro.runners.identity import NOTHING, Contents, earlier_state, identity
from kyara_kedro.runners.log import PROMPTS
from kyara_kedro.runners.memory import Shelf
from kyara_kedro.teachers.base import TeacherError
from kyara_kedro.tracking.target import provenance, versions

Entry = dict[str, Any]
Tell = Callable[[str], None]

_ANSWERING = ("openai", "batch", "transformers-local")
"""Teachers whose replies are in a ledger."""
_KEYS = "credentials"
_NO_PATTERN: Any = {"{default}": {}}
_STORES = (EarlierJSONDataset, FolderDataset, LedgerDataset, ModelRegistryDataset)
"""What nodes write into while they run: never that of the project."""
_UNLIKE: Mapping[type, str] = {
    KnowledgeBaseDataset: "an index is not written alike twice; what is found in it is compared",
    PublicationDataset: "its files are told by when they were written; their table is compared",
}
_REGISTERED = "it tells of versions in the model registry"
_ACCOUNTS = "it tells what teachers have cost in all runs"
_FILTERS = {
    "tags": "tags",
    "node_names": "node_names",
    "from_nodes": "from_nodes",
    "to_nodes": "to_nodes",
    "from_inputs": "from_inputs",
    "to_outputs": "to_outputs",
    "namespaces": "node_namespaces",
}
"""What a manifest calls the parts of a selection, and what a pipeline's filter calls them."""


def find_run(project: Path, wanted: str) -> RunManifest:
    """A run by its id or the beginning of it, as ``last``, or by the file of its manifest.

    Raises:
        UserError: there is none, or it is still running.
    """
    file = Path(wanted)
    found = RunManifest.read(file) if file.is_file() else run_named(project / FOLDER, wanted)
    if found.is_running:
        raise UserError(f"run {found.run_id} is still running")
    return found


@contextmanager
def working_folder(into: Path | None) -> Iterator[Path]:
    """Give an empty folder, which is removed in the end unless it has been asked for.

    Raises:
        UserError: the folder that was asked for is not empty.
    """
    if into is None:
        with TemporaryDirectory(prefix="kyara-reproduce.") as folder:
            yield Path(folder).resolve()
        return
    if into.exists() and any(into.iterdir()):
        raise UserError(f"{into}: is not empty; name a new folder")
    into.mkdir(parents=True, exist_ok=True)
    yield into.resolve()


@dataclass(frozen=True)
class Repetition:
    """How a run is repeated.

    Attributes:
        project: The project's folder.
        manifest: The run.
        folder: An empty folder for configuration and, unless it is in place, all results.
        in_place: Whether results replace those of the project.
        pay: Whether teachers may be asked what the ledger does not hold.
    """

    project: Path
    manifest: RunManifest
    folder: Path
    in_place: bool = False
    pay: bool = False

    def run(self, tell: Tell) -> list[Compared]:
        """Restore what the run was made of, tell what is not as it was, and run it.

        Args:
            tell: Takes a line for each thing that is not as it was, before anything runs.

        Raises:
            UserError: something that the run needs is gone, or a reply is not in the ledger.
        """
        loader = self._loader()
        catalog = _absolute(self.project, deepcopy(loader["catalog"]))
        settings = self._settings(loader["parameters"])
        make_pipelines(settings["shards"])
        pipeline = self._pipeline()
        known = _complete(catalog, pipeline)
        recorded = DataCatalog.from_config(
            {name: deepcopy(entry) for name, entry in known.items()},
            credentials=_optional(loader, "credentials"),
            load_versions=self._versions(known),
        )
        for line in self._differences(recorded, loader):
            tell(line)
        incomparable = _incomparable(pipeline, recorded)
        if not self.in_place:
            pipeline = self._without_lookups(pipeline, recorded, tell)
        conf = self._configure(loader, known, settings, pipeline)
        session = KedroSession.create(
            self.project if self.in_place else self.folder,
            save_on_close=False,
            env=self.manifest.env,
            conf_source=str(conf),
        )
        try:
            session.run(
                pipeline_names=self.manifest.selection.get("pipeline_names"),
                node_names=[node.name for node in pipeline.nodes],
                load_versions=self._versions(known),
                runner=SequentialRunner(),
            )
        except TeacherError as error:
            raise UserError(f"{error}{'' if self.pay else '; --pay asks for it'}") from error
        runs = (self.project if self.in_place else self.folder) / FOLDER
        again = RunManifest.read(runs / f"{session.session_id}.json")
        compared = compare(self.manifest.nodes, again.nodes, incomparable)
        return [one for one in compared if one.dataset in known]

    def _loader(self) -> AbstractConfigLoader:
        """The project's configuration, with what the command line gave then."""
        given = _without_secrets(self.manifest.runtime_params)
        session = KedroSession.create(
            self.project, save_on_close=False, env=self.manifest.env, runtime_params=given
        )
        return session.load_context().config_loader

    def _settings(self, configured: dict[str, Any]) -> dict[str, Any]:
        recorded = self.manifest.parameters
        found = {
            name: restored_settings(value, configured.get(name), name)
            for name, value in recorded.items()
        }
        return configured | {"shards": {}} | found

    def _pipeline(self) -> Pipeline:
        """What was asked for; of a run that came to no end, the nodes that did."""
        selection = self.manifest.selection
        names = selection.get("pipeline_names") or ["__default__"]
        whole = sum((pipelines[name] for name in names), Pipeline([]))
        chosen = {
            _FILTERS[name]: wish for name, wish in selection.items() if wish and name in _FILTERS
        }
        done = [name for name, node in self.manifest.nodes.items() if node.state != "failed"]
        if not done:
            raise UserError(f"run {self.manifest.run_id} has finished no node")
        if unknown := sorted({*done} - {node.name for node in whole.nodes}):
            raise UserError(
                f"run {self.manifest.run_id}: this version has no node '{unknown[0]}'; check out "
                f"commit {str(self.manifest.git.commit)[:12]}"
            )
        asked = whole.filter(**chosen) if chosen else whole
        return asked if self.manifest.status == "finished" else whole.filter(node_names=done)

    def _without_lookups(self, pipeline: Pipeline, catalog: DataCatalog, tell: Tell) -> Pipeline:
        """Leave out what looks up the champion, where what was found is still stored."""
        contents = self._contents()
        found = set()
        for node in pipeline.nodes:
            then = self.manifest.nodes.get(node.name)
            if not (then and then.outputs and _only_looks_up(node, catalog)):
                continue
            outputs = then.outputs
            if all(
                _present(catalog, name, contents) == told.hash for name, told in outputs.items()
            ):
                found.add(node.name)
            else:
                tell(f"{node.outputs[0]}: what the registry said is not stored any more")
        return pipeline.filter(node_names=[n.name for n in pipeline.nodes if n.name not in found])

    def _contents(self) -> Contents:
        return Contents(Shelf(self.project / FOLDER / "cache" / "contents.json"))

    def _versions(self, known: Mapping[str, Entry]) -> dict[str, str]:
        return {
            name: state.version
            for name, state in self.manifest.inputs.items()
            if state.version and name in known
        }

    def _differences(self, catalog: DataCatalog, loader: AbstractConfigLoader) -> Iterator[str]:
        now = provenance(self.project)
        yield from other_circumstances(
            self.manifest,
            now.get("mlflow.source.git.commit"),
            now.get("requirements.lock"),
            now["python"],
            versions(),
        )
        contents = self._contents()
        for name, state in self.manifest.inputs.items():
            if state.hash is None:
                continue
            told = _present(catalog, name, contents)
            if told != state.hash:
                yield _other_input(name, state.path, state.version, told)
        contents.save()
        library = catalog.load("prompt_library") if "prompt_library" in catalog else None
        if library:
            yield from restore_prompts(
                self.manifest,
                library,
                self.project / FOLDER / PROMPTS,
                self.project,
                self._restored_prompts,
            )

    @property
    def _restored_prompts(self) -> Path:
        return self.folder / "prompts"

    def _configure(
        self,
        loader: AbstractConfigLoader,
        known: Mapping[str, Entry],
        settings: dict[str, Any],
        pipeline: Pipeline,
    ) -> Path:
        """Write the configuration of the repetition."""
        conf = self.folder / "conf"
        base = conf / "base"
        environment = self.manifest.env or "local"
        for name in dict.fromkeys(("base", environment)):
            (conf / name).mkdir(parents=True)
            for file in (self.project / "conf" / name).rglob("credentials*"):
                (conf / name / file.name).symlink_to(file.resolve())
        inputs = pipeline.inputs()
        entries = {name: self._entry(name, entry, inputs) for name, entry in known.items()}
        mlflow = loader["mlflow"]
        if not self.in_place:
            mlflow = {**mlflow, "enabled": False}
        for name, content in (("catalog", entries), ("parameters", settings), ("mlflow", mlflow)):
            text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
            (base / f"{name}.yml").write_text(text, encoding="utf-8")
        return conf

    def _entry(self, name: str, entry: Entry, inputs: set[str]) -> Entry:
        cls = _class(entry)
        entry = deepcopy(entry)
        if issubclass(cls, TeacherDataset) and not self.pay:
            return _replayed(entry)
        if not self.pay and name in inputs and _asks_an_endpoint(cls, entry):
            raise UserError(
                f"{name}: an endpoint would be asked for vectors, and the ledger keeps none: "
                "--pay allows it"
            )
        if issubclass(cls, PromptLibraryDataset) and self._restored_prompts.is_dir():
            entry["overrides"] = [*entry.get("overrides", ()), str(self._restored_prompts)]
        if self.in_place or "filepath" not in entry:
            return entry
        absent = issubclass(cls, EarlierDataset) and self._was_absent(name)
        if name in inputs and not issubclass(cls, _STORES) and not absent:
            return entry
        entry["filepath"] = str(self._moved(str(entry["filepath"])))
        if issubclass(cls, KnowledgeBaseDataset) and entry.get("kind") == "server":
            entry |= {"kind": "edge", "url": None}
        if issubclass(cls, ModelRegistryDataset):
            entry["tracking_uri"] = None
        return entry

    def _was_absent(self, name: str) -> bool:
        state = self.manifest.inputs.get(name)
        return state is not None and state.hash == NOTHING

    def _moved(self, path: str) -> Path:
        """Where something goes instead; what lay side by side still does."""
        place = Path(path.replace("://", "/"))
        if place.is_relative_to(self.project):
            return self.folder / place.relative_to(self.project)
        return self.folder / "elsewhere" / str(place).lstrip("/")


def _incomparable(pipeline: Pipeline, catalog: DataCatalog) -> dict[str, str]:
    """Outputs that no two runs make alike, with the reason."""
    found = {
        name: why
        for name in pipeline.all_outputs()
        for kind, why in _UNLIKE.items()
        if isinstance(catalog.get(name), kind)
    }
    registering = {
        name
        for node in pipeline.nodes
        if _reads(node, ModelRegistryDataset, catalog) and not _only_looks_up(node, catalog)
        for name in node.outputs
    }
    for node in pipeline.nodes:
        if _reads(node, EarlierJSONDataset, catalog):
            found |= dict.fromkeys(node.outputs, _ACCOUNTS)
        if _reads(node, ModelRegistryDataset, catalog) or registering.intersection(node.inputs):
            found |= dict.fromkeys(node.outputs, _REGISTERED)
    return found


def _only_looks_up(node: Node, catalog: DataCatalog) -> bool:
    """Whether a node hands on what the model registry says."""
    return len(node.inputs) == 1 and _reads(node, ModelRegistryDataset, catalog)


def _reads(node: Node, kind: type, catalog: DataCatalog) -> bool:
    names = (name for name in node.inputs if not name.startswith("params:"))
    return any(isinstance(catalog.get(name), kind) for name in names)


def _present(catalog: DataCatalog, name: str, contents: Contents) -> str | None:
    dataset = catalog.get(name)
    if dataset is None:
        raise UserError(f"'{name}' was read by the run and is not in the catalog any more")
    try:
        return earlier_state(dataset, contents) or identity(dataset, contents)
    except VersionNotFoundError:
        return None
    except (OSError, DatasetError):
        return None


def _other_input(name: str, path: str | None, version: str | None, now: str | None) -> str:
    where = f" ({path})" if path else ""
    if now is None and version:
        raise UserError(f"{name}{where}: version {version}, which the run read, is gone")
    if now is None:
        raise UserError(f"{name}{where}: is gone")
    return f"input {name}{where}: not what the run read"


def _complete(catalog: dict[str, Entry], pipeline: Pipeline) -> dict[str, Entry]:
    """The entries of a catalog, and those that patterns give to the data sets of a pipeline."""
    patterns = {name: entry for name, entry in catalog.items() if "{" in name}
    keyless = {
        name: {key: value for key, value in entry.items() if key != _KEYS}
        for name, entry in patterns.items()
    }
    resolver = CatalogConfigResolver(keyless, default_runtime_patterns=_NO_PATTERN)
    found = {name: entry for name, entry in catalog.items() if name not in patterns}
    for name in sorted(pipeline.datasets() - found.keys()):
        pattern = resolver.match_dataset_pattern(name)
        if pattern in patterns:
            keys = {_KEYS: patterns[pattern][_KEYS]} if _KEYS in patterns[pattern] else {}
            found[name] = {**resolver.resolve_pattern(name), **keys}
    return found


def _absolute(project: Path, entry: Any) -> Any:
    """Paths as Kedro takes them: from the project's folder on."""
    if not isinstance(entry, dict):
        return entry
    return {
        key: str(project / value)
        if key in ("filepath", "path", "filename") and isinstance(value, str) and _is_local(value)
        else _absolute(project, value)
        for key, value in entry.items()
    }


def _is_local(path: str) -> bool:
    return not re.match(r"\w+://", path)


def _class(entry: Entry) -> type:
    cls, _ = parse_dataset_definition({"type": entry["type"]})
    return cls


def _replayed(entry: Entry) -> Entry:
    """A teacher that answers from the ledger alone, if it has one."""
    if entry["kind"] in _ANSWERING:
        entry["kind"] = "replay"
    members = entry.get("members") or {}
    if members:
        entry["members"] = {name: _replayed(member) for name, member in members.items()}
    return entry


def _asks_an_endpoint(cls: type, entry: Entry) -> bool:
    options = entry.get("options") or {}
    if issubclass(cls, EncoderDataset):
        return bool(options.get("base_url"))
    return issubclass(cls, KnowledgeBaseDataset) and bool(
        (options.get("dense") or {}).get("base_url")
    )


def _without_secrets(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_secrets(value) if isinstance(value, Mapping) else value
        for name, value in given.items()
        if not (isinstance(value, str) and value.startswith(HIDDEN))
    }


def _optional(loader: AbstractConfigLoader, key: str) -> dict[str, Any]:
    try:
        return dict(loader[key])
    except MissingConfigException:
        return {}
