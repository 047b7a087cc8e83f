"""Old versions, models, runs and leftovers of a project, and what of it is still needed."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import polars as pl
from kedro.io import AbstractDataset, CatalogProtocol
from kedro.pipeline import Pipeline

from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.datasets.models import ModelRegistryDataset, RefDataset
from kyara_kedro.errors import UserError
from kyara_kedro.files import alive
from kyara_kedro.lineage.garbage import Kind, Thing, Verdict, remove_folder, sort_out
from kyara_kedro.lineage.history import pins
from kyara_kedro.lineage.manifest import RunManifest, runs
from kyara_kedro.runners.log import PROMPTS
from kyara_kedro.training.model_ref import REF_FILE

Catalog = CatalogProtocol[str, Any]
_STAMP = "%Y-%m-%dT%H.%M.%S.%fZ"
_LEFT = re.compile(r"^\.(?P<name>.+)\.(?P<pid>\d+)\.(?:\w+\.)?(?P<part>part|\w+former)$")
_WORK = ".work"
_DAY = 86_400
_HOUR = 3_600
DOWN = "the model registry does not answer"


@dataclass(frozen=True)
class Policy:
    """What is kept whether or not something needs it.

    Attributes:
        keep: Newest versions of each data set, and newest runs.
        older_than: Days; what is younger is kept.
    """

    keep: int = 3
    older_than: float = 0


@dataclass
class Clearing:
    """Looks for what may go.

    Attributes:
        catalog: The project's data sets.
        pipeline: All nodes, which tell what a data set is made from.
        runs_folder: Where the manifests are.
        spool: Where MLflow's events wait.
        policy: What is kept in any case.
        aliases: Folders of registered models by alias; None if the registry does not answer.
    """

    catalog: Catalog
    pipeline: Pipeline
    runs_folder: Path
    spool: Path
    policy: Policy
    aliases: Mapping[str, Path] | None

    def verdict(self) -> Verdict:
        """Sort out everything that there is."""
        things = [*self._versions(), *self._models(), *self._runs(), *self._leftovers()]
        return sort_out(things, self._roots(things))

    def check_idle(self) -> None:
        """Refuse to delete anything beside a run.

        Raises:
            UserError: a run is going on.
        """
        if going := [run.run_id for run in self._manifests.values() if run.is_running]:
            raise UserError(f"run {going[0]} is going on: wait for its end")

    @cached_property
    def _manifests(self) -> dict[str, RunManifest]:
        return {run.run_id: run for run in runs(self.runs_folder)}

    @cached_property
    def _versioned(self) -> dict[str, AtomicDataset[Any, Any]]:
        found = ((name, self.catalog.get(name)) for name in self.catalog)
        return {
            name: dataset
            for name, dataset in found
            if isinstance(dataset, AtomicDataset) and dataset._version is not None
        }

    @cached_property
    def _store(self) -> Path:
        return Path(self.catalog.load("model_store"))

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """Folders of models and of tokens, by their keys."""
        folders = (path for path in self._store.glob("*/*") if path.is_dir())
        versions = {Path(dataset._filepath) for dataset in self._versioned.values()}
        return {
            f"models/{path.relative_to(self._store).as_posix()}": path
            for path in sorted(folders)
            if path.parent not in versions and not _LEFT.match(path.name)
        }

    def _versions(self) -> Iterator[Thing]:
        for name, dataset in self._versioned.items():
            made_from = self._ancestors(name)
            for version in _stored_versions(dataset):
                needs = [f"run {version.name}", *self._used(version.name, made_from)]
                if isinstance(dataset, RefDataset):
                    needs += self._referred(dataset, version.file)
                yield Thing(
                    key=f"{name}@{version.name}",
                    kind="version",
                    place=version.file,
                    size=version.size,
                    made=_when(version.name),
                    delete=version.delete,
                    needs=tuple(needs),
                )

    def _ancestors(self, name: str) -> list[str]:
        """Versioned data sets that one is made from, however far away."""
        if name not in self.pipeline.all_outputs():
            return []
        made_from = self.pipeline.to_outputs(name).datasets() - {name}
        return sorted(made_from & self._versioned.keys())

    def _used(self, run_id: str, names: Iterable[str]) -> list[str]:
        """The versions of data sets that a run has read or made."""
        known = _versions_of(self._manifests[run_id]) if run_id in self._manifests else {}
        return [f"{name}@{known.get(name, run_id)}" for name in names]

    def _referred(self, dataset: RefDataset[Any], file: str) -> list[str]:
        """Key of the folder that a reference names."""
        path = dataset._store.copy(file) if dataset._store else Path(file)
        try:
            return self._keys(json.loads(path.read_text("utf-8"))["path"])
        except (OSError, ValueError, KeyError):
            return []

    def _keys(self, folder: str) -> list[str]:
        """Key of a model's folder, also if it was moved with the project since."""
        key = f"models/{'/'.join(Path(folder).parts[-2:])}"
        return [key] if key in self._folders else []

    def _models(self) -> Iterator[Thing]:
        makers: dict[str, str] = {}
        for thing in sorted(self._versions(), key=lambda thing: -thing.made):
            makers |= {key: thing.key for key in thing.needs if key in self._folders}
        for key, folder in self._folders.items():
            ref = _ref(folder)
            needs = [makers[key]] if key in makers else []
            needs += self._of_fingerprint(ref.get("start"))
            if folder.parent.name == "export":
                needs += self._of_fingerprint(folder.name)
            made = folder.stat().st_mtime
            delete = partial(remove_folder, folder)
            yield Thing(key, "model", str(folder), _size(folder), made, delete, tuple(needs))

    def _of_fingerprint(self, fingerprint: str | None) -> list[str]:
        """Keys of the folders of a model, but for its exports."""
        return [
            key
            for key, folder in self._folders.items()
            if fingerprint and fingerprint.startswith(folder.name) and "/export/" not in key
        ]

    def _runs(self) -> Iterator[Thing]:
        texts = {path.stem: path for path in (self.runs_folder / PROMPTS).glob("*.*")}
        for run_id, run in self._manifests.items():
            needs = tuple(f"prompt {sha}" for sha in run.prompts.values() if sha in texts)
            yield _file(f"run {run_id}", "run", self.runs_folder / f"{run_id}.json", needs)
        for sha, path in texts.items():
            yield _file(f"prompt {sha}", "prompt", path)

    def _leftovers(self) -> Iterator[Thing]:
        """What killed writers have left, and what was sent to MLflow."""
        for folder in sorted(self._places()):
            for path in folder.rglob(".*"):
                found = _LEFT.match(path.name)
                if found is None or alive(int(found["pid"])):
                    continue
                if found["part"] != "part" and not path.with_name(found["name"]).exists():
                    continue  # it is all that there is of what was being replaced
                yield _leftover(path)
        for folder in self.spool.glob("*/"):
            if not (folder / "events.jsonl").exists() and _age(folder) > _HOUR:
                yield _leftover(folder)

    def _places(self) -> set[Path]:
        """The folders that data sets of this project lie in, none below another."""
        found = {self._store, self.runs_folder}
        for name in self.catalog:
            dataset = self.catalog.get(name)
            if isinstance(dataset, AtomicDataset) and not dataset._store:
                found.add(Path(dataset._filepath).parent)
        there = {folder for folder in found if folder.is_dir()}
        return {one for one in there if not there.intersection(one.parents)}

    def _roots(self, things: Iterable[Thing]) -> dict[str, str]:
        """Keys of what is needed for itself, each with the strongest reason."""
        every = list(things)
        roots: dict[str, str] = {}
        if self.aliases is None:
            roots |= {thing.key: DOWN for thing in every if self._could_be_a_model(thing)}
        roots |= self._young(every)
        roots |= dict(self._newest(every))
        roots |= dict(self._present())
        for run_id in pins(self.runs_folder) & self._manifests.keys():
            versions = _versions_of(self._manifests[run_id]).items()
            pinned = [f"run {run_id}", *(f"{name}@{version}" for name, version in versions)]
            roots |= dict.fromkeys(pinned, f"run {run_id} is pinned")
        for alias, folder in (self.aliases or {}).items():
            export = f"models/export/{folder.name}"
            roots |= dict.fromkeys([*self._keys(str(folder)), export], f"it is the {alias}")
        return roots

    def _young(self, things: Iterable[Thing]) -> dict[str, str]:
        days = self.policy.older_than
        limit = time.time() - days * _DAY
        why = f"younger than {days:g} days"
        return {thing.key: why for thing in things if days and thing.made > limit}

    def _newest(self, things: Iterable[Thing]) -> Iterator[tuple[str, str]]:
        groups: dict[str, list[Thing]] = {}
        for thing in things:
            if thing.kind in ("version", "run"):
                groups.setdefault(thing.key.partition("@")[0].split()[0], []).append(thing)
        for group in groups.values():
            group.sort(key=lambda thing: thing.key, reverse=True)
            for thing in group[: self.policy.keep]:
                yield thing.key, f"one of the {self.policy.keep} newest"

    def _present(self) -> Iterator[tuple[str, str]]:
        """What the project refers to as it is, besides versions."""
        for name in self.catalog:
            dataset = self.catalog.get(name)
            if isinstance(dataset, RefDataset) and name not in self._versioned and dataset.exists():
                for key in self._referred(dataset, str(dataset._filepath)):
                    yield key, f"{name} refers to it"
        for fingerprint, why in (*self._card(), *self._players()):
            for key in (*self._of_fingerprint(fingerprint), f"models/export/{fingerprint[:16]}"):
                yield key, why
        for key in self._folders:
            if key.startswith(f"models/{_WORK}/") and not self.policy.older_than:
                yield key, "training that can be gone on with; --older-than clears it"

    def _card(self) -> Iterator[tuple[str, str]]:
        if "model_facts" in self.catalog and self.catalog.exists("model_facts"):
            yield self.catalog.load("model_facts")["fingerprint"], "the model card is about it"

    def _players(self) -> Iterator[tuple[str, str]]:
        name = "self_play_generations"
        if name in self.catalog and self.catalog.exists(name):
            table: pl.DataFrame = self.catalog.load(name)
            for fingerprint in sorted(table["model"].unique().drop_nulls()):
                yield fingerprint, "it has played against itself"

    def _could_be_a_model(self, thing: Thing) -> bool:
        name = thing.key.partition("@")[0]
        return thing.kind == "model" or isinstance(self._versioned.get(name), RefDataset)


def aliases(registry: AbstractDataset[Any, Any]) -> dict[str, Path] | None:
    """Folders of registered models by alias; None if the registry does not answer.

    Args:
        registry: The catalog's entry.
    """
    if not isinstance(registry, ModelRegistryDataset):
        raise UserError("'model_registry' of the catalog is no ModelRegistryDataset")
    told = registry._describe()
    if told["tracking_uri"] is None and not (Path(told["folder"]) / "mlflow.db").exists():
        return {}
    try:
        versions = registry.load().versions()
    except Exception:  # MLflow has many ways to say that it is not there
        return None
    return {
        alias: Path(version.tags.get("path", ""))
        for version in versions
        for alias in version.aliases
    }


class _Version(NamedTuple):
    """A version that is stored.

    Attributes:
        name: The version.
        file: Its file, or the path of its object.
        size: In bytes.
        delete: Deletes it.
    """

    name: str
    file: str
    size: int
    delete: Callable[[], None]


def _stored_versions(dataset: AtomicDataset[Any, Any]) -> Iterator[_Version]:
    whole = dataset._filepath
    if dataset._store is None:
        for file in sorted(Path(whole).glob(f"[!.]*/{whole.name}")):
            folder = file.parent
            yield _Version(folder.name, str(file), _size(folder), partial(remove_folder, folder))
        return
    store = dataset._store
    sizes = store.sizes(f"{whole}/*/*")
    for path in sorted(sizes):
        place = PurePosixPath(path)
        if place.name == whole.name:
            parts = [other for other in sizes if PurePosixPath(other).parent == place.parent]
            parts.sort(key=lambda other: other != path)
            size = sum(sizes[part] for part in parts)
            yield _Version(place.parent.name, path, size, partial(store.remove, parts))


def _versions_of(run: RunManifest) -> dict[str, str]:
    """The versions of data sets that a run has read or made, or passed over."""
    read = {name: state.version for name, state in run.inputs.items()}
    made = (node.outputs.items() for node in run.nodes.values())
    every = read | {name: state.version for name, state in chain.from_iterable(made)}
    return {name: version for name, version in every.items() if version}


def _ref(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / REF_FILE).read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _file(key: str, kind: Kind, path: Path, needs: tuple[str, ...] = ()) -> Thing:
    status = path.stat()
    return Thing(key, kind, str(path), status.st_size, status.st_mtime, path.unlink, needs)


def _leftover(path: Path) -> Thing:
    delete = partial(shutil.rmtree, path) if path.is_dir() else path.unlink
    return Thing(str(path), "leftover", str(path), _size(path), path.stat().st_mtime, delete)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _when(version: str) -> float:
    """When a version was made, as its name tells; a name of another form counts as new."""
    try:
        return datetime.strptime(version, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return time.time()
