"""Dense vectors, from an endpoint on the loopback that embeds by hashing."""

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from kyara_kedro.errors import UserError
from kyara_kedro.knowledge.dense import DenseOptions
from kyara_kedro.knowledge.quality import retrieval_quality
from kyara_kedro.knowledge.store import Build, KnowledgeOptions, KnowledgeStore

from .servers import EmbeddingsShim, QdrantShim, serving
from .test_store import TEXTS, passages, table

KEY = "an-embedding-key"


@pytest.fixture
def shim() -> EmbeddingsShim:
    return EmbeddingsShim(key=KEY)


@pytest.fixture
def dense(shim: EmbeddingsShim) -> Iterator[DenseOptions]:
    with serving(shim) as url:
        yield DenseOptions(
            model="hashes",
            base_url=f"{url}/v1",
            query_prefix="問：",
            document_prefix="文：",
            batch=3,
        )


@pytest.fixture(params=["edge", "local", "server"])
def options(
    request: pytest.FixtureRequest, tmp_path: Path, dense: DenseOptions
) -> Iterator[KnowledgeOptions]:
    if request.param == "server":
        with serving(QdrantShim()) as url:
            yield KnowledgeOptions(kind="server", url=url, dense=dense)
    else:
        yield KnowledgeOptions(kind=request.param, path=tmp_path / "base", dense=dense)


def opened(options: KnowledgeOptions, **changed: Any) -> KnowledgeStore:
    known = options.dense
    if known is not None and changed:
        options = options.model_copy(update={"dense": known.model_copy(update=changed)})
    return KnowledgeStore(options, embedding_api_key=KEY)


def test_both_lists_are_fused(options: KnowledgeOptions, shim: EmbeddingsShim) -> None:
    with opened(options) as store:
        assert store.build(passages()) == Build(4, 0, 0)
        assert [len(texts) for texts in shim.asked] == [1, 3, 1]
        assert shim.asked[1][0].startswith("文：玉山\n玉山是")
        found = store.search(["玉山有多高？", "🙂"], 10)
        assert shim.asked[-1] == ["問：玉山有多高？", "問：🙂"]
        by_terms = store.search(["玉山有多高？", "🙂"], 10, mode="sparse")
        assert set(by_terms["query"]) == {0}
        # Every passage is near in some measure; one of both lists comes first.
        assert found.group_by("query").len().sort("query")["len"].to_list() == [4, 4]
        assert found["passage_id"][0] == "id_00000001"
        assert found["score"][0] == pytest.approx(2 / 61, abs=1e-6)
        narrowed = store.search(["玉山有多高？"], 10, language="en")
        assert narrowed["passage_id"].to_list() == ["id_00000004"]


def test_every_index_fuses_alike(tmp_path: Path, dense: DenseOptions) -> None:
    letters = random.Random(0)
    texts = {
        f"id_{n:08x}": "".join(
            letters.choices("山水天地玄黃宇宙洪荒日月盈昃辰宿列張", k=20 + 3 * n)
        )
        for n in range(60)
    }
    queries = ["天地玄黃", "日月盈昃的山", "水水", "🙂 "]
    dense = dense.model_copy(update={"k": 3, "sparse_weight": 4.0, "candidates": 20})
    found = []
    with serving(QdrantShim()) as url:
        for where in (
            {"kind": "edge", "path": tmp_path / "edge"},
            {"kind": "local", "path": Path(":memory:")},
            {"kind": "server", "url": url},
        ):
            options = KnowledgeOptions(dense=dense, **where)  # type: ignore[arg-type]
            with opened(options) as store:
                store.build(table(texts))
                found.append(store.search(queries, 5))
    for other in found[1:]:
        assert_frame_equal(found[0], other, abs_tol=2e-7)
    assert found[0].group_by("query").len()["len"].to_list() == [5] * 4


def test_only_changed_passages_are_encoded(options: KnowledgeOptions, shim: EmbeddingsShim) -> None:
    with opened(options) as store:
        store.build(passages())
        shim.asked.clear()
        changed = passages(id_00000001="玉山在嘉義縣。")
        assert store.build(changed) == Build(added=1, removed=1, kept=3)
        assert shim.asked == [["問：尺寸"], ["文：玉山\n玉山在嘉義縣。"]]
        shim.asked.clear()
        assert store.build(changed) == Build(0, 0, kept=4)
        assert shim.asked == []
        before = store.search(["嘉義縣的山"], 4)
    shim.asked.clear()
    with opened(options.model_copy(update={"k1": 1.5})) as store:
        assert store.build(changed) == Build(0, 0, kept=4)
        assert shim.asked == []
        assert store.search(["嘉義縣的山"], 4)["passage_id"].equals(before["passage_id"])


def test_another_model_is_refused(options: KnowledgeOptions, shim: EmbeddingsShim) -> None:
    with opened(options) as store:
        store.build(passages())
        assert store.search(["山"], mode="sparse").height > 0
    if options.path.name == ":memory:":
        return
    with opened(options, model="other") as store:
        for act in (lambda: store.search(["山"]), lambda: store.build(passages("id_00000001"))):
            with pytest.raises(UserError, match=r"'hashes' of 32 .*'other' of .*remove") as error:
                act()
            assert "\n" not in str(error.value)
    shim.size = 16
    with opened(options) as store:
        more = passages(id_00000001="玉山在嘉義縣。")
        for act in (lambda: store.search(["山"]), lambda: store.build(more)):
            with pytest.raises(UserError, match=r"'hashes' of 32 .*'hashes' of 16 dimensions"):
                act()
    with KnowledgeStore(options.model_copy(update={"dense": None})) as store:
        assert store.search(["山"]).height > 0
        with pytest.raises(UserError, match="no dense model"):
            store.build(passages("id_00000001"))
        with pytest.raises(UserError, match="needs an encoder"):
            store.search(["山"], mode="hybrid")


def test_an_endpoint_that_refuses_is_one_line(
    tmp_path: Path, dense: DenseOptions, shim: EmbeddingsShim
) -> None:
    options = KnowledgeOptions(path=tmp_path / "base", dense=dense)
    with (
        KnowledgeStore(options, embedding_api_key="a-wrong-key") as store,
        pytest.raises(UserError, match="set embedding_api_key") as refused,
    ):
        store.build(passages())
    assert "wrong" not in str(refused.value)
    shim.fail = 422
    with opened(options) as store:
        with pytest.raises(UserError, match=r"/v1 \('hashes'\) does not answer: .*cannot be done"):
            store.build(passages())
        assert store.count() == 0


def test_an_address_holds_no_credentials() -> None:
    with pytest.raises(ValueError, match="credentials"):
        DenseOptions(model="m", base_url="http://user:word@host/v1")


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is not None,
    reason="sentence-transformers is installed",
)
def test_a_missing_library_is_named(tmp_path: Path) -> None:
    options = KnowledgeOptions(path=tmp_path, dense=DenseOptions(model="BAAI/bge-m3"))
    with (
        KnowledgeStore(options) as store,
        pytest.raises(UserError, match=r"'BAAI/bge-m3' needs .*pip install sentence-transformers"),
    ):
        store.build(passages())


def test_quality_is_measured_on_own_passages(tmp_path: Path, dense: DenseOptions) -> None:
    questions = ["臺灣最高的山", "圍棋的棋盤", "陽光變成電力", "Is it Camellia sinensis?", "xyzzy"]
    own = [["id_00000001", "id_x"], ["id_00000002"], ["id_00000003"], ["id_00000001"], []]
    options = KnowledgeOptions(path=tmp_path / "base", dense=dense)
    with opened(options) as store:
        store.build(passages())
        found = retrieval_quality(store, questions, own, 5)
    with KnowledgeStore(options.model_copy(update={"dense": None})) as store:
        alone = retrieval_quality(store, questions, own, 5)
    assert alone == {
        "sparse_recall_at_1": 0.6,
        "sparse_recall_at_5": 0.6,
        "sparse_mrr_at_10": 0.6,
    }
    assert {name: found[name] for name in alone} == alone
    assert found["hybrid_recall_at_5"] == 0.8
    assert "advice" not in found
    # A dense side that finds one passage whatever is asked, and has the say.
    always = TEXTS["id_00000004"][1]
    with opened(options, dense_weight=50.0, k=1, query_prefix=always) as store:
        worse = retrieval_quality(store, questions, own, 5)
    assert worse["hybrid_recall_at_1"] < 0.6
    assert str(worse["advice"]).startswith("hybrid search finds the own passage first for")
    with KnowledgeStore(options.model_copy(update={"dense": None})) as store:
        assert retrieval_quality(store, [], [], 5)["sparse_recall_at_1"] == 0
