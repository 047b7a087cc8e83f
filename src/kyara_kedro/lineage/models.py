"""The chain of models: a registered version, the stages that made it, what each has learned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.lineage.audit import sources
from kyara_kedro.lineage.graph import Explanation, Node
from kyara_kedro.lineage.kinds import STAGES, Stage
from kyara_kedro.lineage.store import Store, collect
from kyara_kedro.tracking.registry import RegistryDown, Version
from kyara_kedro.training.model_ref import ModelRef

_FINGERPRINT = "training_fingerprint"


def add_version(found: Explanation, store: Store, wanted: str) -> Node:
    """Add a version of the registered model, with everything that made it.

    Raises:
        UserError: there is no registry, no such version or alias.
        RegistryDown: the registry does not answer.
    """
    versions = store.registry().versions() if store.registry else []
    alias = wanted.removeprefix("@")
    for version in versions:
        if wanted == str(version.number) or alias in version.aliases:
            node = found.add(_version(version))
            _add_holding(found, store, node, version)
            return node
    known = [
        f"{one.number} {' '.join(f'@{name}' for name in one.aliases)}".strip() for one in versions
    ]
    raise UserError(
        f"no model version is called '{wanted}': "
        + (
            f"there are {', '.join(known)}"
            if known
            else "none is registered, run `kedro run` first"
        )
    )


def add_model(found: Explanation, store: Store, fingerprint: str) -> Node | None:
    """Add a model with the models that it started from and what each has learned.

    Returns:
        Its node; None when nothing is known of it any more.
    """
    known = _known(store)
    if fingerprint not in known:
        return None
    node = found.add(_model(store, known[fingerprint]))
    present: Node | None = node
    while present is not None:
        ref = known[present.id]
        for stage in STAGES:
            if stage.name == ref.stage:
                _add_learned(found, store, present, stage)
        if ref.start is None:
            break
        following = known.get(ref.start)
        if following is None:
            present.missing.append(("start", ref.start))
            break
        earlier = found.add(_model(store, following))
        found.join(present.key, earlier.key, "started_from")
        present = earlier
    return node


def add_uses(found: Explanation, store: Store, key: str, stage: Stage) -> None:
    """Add the models that learned from a record in a stage, and the versions that hold them.

    Args:
        found: What is added to.
        store: Where models are looked up.
        key: The record.
        stage: The stage that learned from it.
    """
    known = _known(store)
    versions = store.models.get(stage.model, {})
    if not versions:
        return
    first = next(iter(versions.values()))
    learned = found.add(_model(store, first))
    found.join(key, learned.key, "learned_by")
    heirs = [first.fingerprint]
    for fingerprint in heirs:
        for ref in known.values():
            if ref.start == fingerprint:
                node = found.add(_model(store, ref))
                found.join(f"model/{fingerprint}", node.key, "start_of")
                heirs += [ref.fingerprint] if ref.fingerprint not in heirs else []
    for version in _registered(found, store):
        if version.tags.get(_FINGERPRINT) in heirs:
            node = found.add(_version(version))
            found.join(f"model/{version.tags[_FINGERPRINT]}", node.key, "registered_as")


def named_model(store: Store, name: str) -> str | None:
    """Fingerprint of our model that outputs and scores call by a name, None for another's."""
    versions = store.models.get(f"{name}_model", {})
    return next(iter(versions.values())).fingerprint if versions else None


def _known(store: Store) -> dict[str, ModelRef]:
    """Models by fingerprint, as the first entry that holds one tells it."""
    refs = [ref for versions in store.models.values() for ref in versions.values()]
    return {ref.fingerprint: ref for ref in reversed(refs)}


def _registered(found: Explanation, store: Store) -> list[Version]:
    try:
        return store.registry().versions() if store.registry else []
    except RegistryDown as error:
        if str(error) not in found.remarks:
            found.remarks.append(str(error))
        return []


def _add_holding(found: Explanation, store: Store, node: Node, version: Version) -> None:
    fingerprint = version.tags.get(_FINGERPRINT, "")
    model = add_model(found, store, fingerprint)
    if model is None:
        node.missing.append((_FINGERPRINT, fingerprint))
    else:
        found.join(node.key, model.key, "holds")


def _version(version: Version) -> Node:
    decision: dict[str, Any] = json.loads(version.tags.get("decision", "{}"))
    scores = {name: value for name, value in version.tags.items() if "." in name}
    values = {
        "aliases": [f"@{name}" for name in version.aliases],
        "verdict": version.tags.get("verdict"),
        "reasons": decision.get("reasons", []),
        **{name: version.tags.get(name) for name in ("stage", "base", "path", _FINGERPRINT)},
        "scores": scores,
    }
    return Node("version", str(version.number), values)


def _model(store: Store, ref: ModelRef) -> Node:
    values = {"stage": ref.stage, "base": ref.base, "path": ref.path, "run_id": ref.run_id}
    held = [
        (entry, version)
        for entry, versions in store.models.items()
        for version, one in versions.items()
        if one.fingerprint == ref.fingerprint
    ]
    return Node("model", ref.fingerprint, values, tables=[(entry, name) for entry, name in held])


def _add_learned(found: Explanation, store: Store, model: Node, stage: Stage) -> None:
    """Add the table that a model's rows were chosen from, while those rows are still there."""
    versions = store.models.get(stage.model, {})
    present = next(iter(versions.values()), None)
    if present is None or present.fingerprint != model.id or stage.tokens not in store.tables:
        found.remarks.append(
            f"{stage.name} {model.id[:8]}: the rows it learned from were replaced by a later run"
        )
        return
    tokens = store.scan(stage.tokens)
    counted, by_source = collect(
        [
            tokens.select(rows=pl.col("held_out").not_().sum(), held_out=pl.col("held_out").sum()),
            tokens.filter(~pl.col("held_out")).group_by("source").len().sort("source"),
        ]
    )
    table = store.tables.get(stage.table)
    reached = sources(store, stage.learns, tokens.select("id").collect()["id"])
    values = counted.row(0, named=True) | {
        "sources": dict(by_source.iter_rows()),
        "rests_on": reached.counts,
        "files": reached.files,
    }
    version = table.version if table else None
    node = found.add(Node("table", f"{stage.table}@{version or 'present'}", values))
    found.join(model.key, node.key, "learned")


def stages_of(kind: str) -> Iterator[Stage]:
    """The stages that learn from records of a kind."""
    return (stage for stage in STAGES if stage.learns == kind)
