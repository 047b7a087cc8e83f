"""Heavy nodes in shards, as Kedro sees them."""

from collections.abc import Iterator
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

from kyara_kedro.errors import UserError
from kyara_kedro.params import ShardsParams
from kyara_kedro.pipelines.sharding import want_shards
from kyara_kedro.shards import Shard, shard_of

from support import ROOT


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    want_shards(ShardsParams())


def made(name: str) -> Pipeline:
    found: Pipeline = import_module(f"kyara_kedro.pipelines.{name}").create_pipeline()
    return found


@settings(deadline=None)
@given(st.text(), st.integers(1, 5))
def test_every_key_is_in_one_shard(key: str, total: int) -> None:
    assert sum(Shard(number, total).holds(key) for number in range(1, total + 1)) == 1


def test_names_of_shards_can_be_read() -> None:
    found = shard_of(Shard(2, 3).named("dedup.embed_texts"))
    assert found is not None
    assert (found.base, found.shard) == ("dedup.embed_texts", Shard(2, 3))
    assert shard_of("dedup.embed_texts") is None
    assert shard_of("best_of_3") is None


def test_there_are_no_further_nodes_unless_they_are_asked_for() -> None:
    before = {name: made(name) for name in ("dedup", "curate", "evaluate")}
    assert not any(shard_of(node.name) for one in before.values() for node in one.nodes)
    want_shards(ShardsParams(lexical=3, vectors=2, rewards=2, answers=4))
    for name, added in (("dedup", 5), ("curate", 2), ("evaluate", 4)):
        after = made(name)
        assert len(after.nodes) == len(before[name].nodes) + added
        assert {n for n in after.inputs() if not shard_of(n)} == before[name].inputs()
        assert after.outputs() == before[name].outputs()


def test_the_parameter_makes_the_pipelines_anew() -> None:
    bootstrap_project(ROOT)
    from kedro.framework.project import pipelines

    for number in (2, 1):
        params = {"shards": {"lexical": number, "answers": number}}
        with KedroSession.create(ROOT, runtime_params=params) as session:
            catalog = session.load_context().catalog
            whole = pipelines["__default__"]
            shards = [node.name for node in whole.nodes if shard_of(node.name)]
            assert len(shards) == (2 * number if number > 1 else 0)
            assert all(name in catalog for name in whole.datasets())


def test_impossible_numbers_are_refused() -> None:
    bootstrap_project(ROOT)
    with (
        KedroSession.create(ROOT, runtime_params={"shards": {"lexical": 0}}) as session,
        pytest.raises(UserError, match="shards: 'lexical'"),
    ):
        session.load_context()
