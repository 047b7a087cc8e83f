import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from kyara_kedro.knowledge.store import Build, KnowledgeOptions, KnowledgeStore

TEXTS = {
    "id_00000001": ("玉山", "玉山是臺灣最高的山峰，海拔三千九百五十二公尺。"),
    "id_00000002": ("圍棋", "圍棋是兩個人下的棋，起源於中國，棋盤有十九條線。"),
    "id_00000003": ("太陽能", "太陽能電池把陽光變成電力，屋頂上常常看得到。"),
    "id_00000004": ("Tea", "Tea is a drink made from the leaves of Camellia sinensis."),
}


def passages(*names: str, **changed: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "passage_id": name,
                "document_id": f"d{name}",
                "title": TEXTS[name][0],
                "text": changed.get(name, TEXTS[name][1]),
                "language": "zh-Hant-TW",
            }
            for name in names or TEXTS
        ]
    )


@pytest.fixture(params=["edge", "local"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> KnowledgeOptions:
    return KnowledgeOptions(kind=request.param, path=tmp_path / "base")


def first(store: KnowledgeStore, *queries: str) -> list[str]:
    return store.search(queries, 3).filter(pl.col("rank") == 0)["passage_id"].to_list()


def test_passages_are_found(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        assert store.build(passages()) == Build(added=4, removed=0, kept=0)
        assert store.count() == 4
        assert first(store, "臺灣最高的山是哪一座？", "圍棋怎麼下？", "What is TEA made from?") == [
            "id_00000001",
            "id_00000002",
            "id_00000004",
        ]


def test_a_simplified_question_finds_a_traditional_passage(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        store.build(passages())
        questions = ["太阳能电池怎么把阳光变成电力？", "太陽能電池怎麼把陽光變成電力？"]
        simplified, traditional = store.search(questions, 3).partition_by("query")
        assert simplified["passage_id"][0] == "id_00000003"
        assert simplified.drop("query").equals(traditional.drop("query"))


def test_results_are_ranked_and_share_a_term(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        store.build(passages())
        found = store.search(["山", "xyzzy", "", "是"], 2)
    assert found.schema == {
        "query": pl.Int64, "rank": pl.Int32, "passage_id": pl.String, "score": pl.Float64,
    }  # fmt: skip
    assert found.select("query", "rank").rows() == [(0, 0), (3, 0), (3, 1)]
    assert (found["score"] > 0).all()


def test_a_rebuild_writes_only_what_changed(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        store.build(passages("id_00000001", "id_00000002", "id_00000003"))
        changed = passages("id_00000001", "id_00000002", id_00000001="玉山在嘉義縣，是有名的高山。")
        assert store.build(changed) == Build(added=1, removed=2, kept=1)
        assert store.build(changed) == Build(added=0, removed=0, kept=2)
        assert first(store, "太陽能電池", "嘉義縣的高山") == ["id_00000001"]


def test_a_changed_store_ranks_like_a_fresh_one(tmp_path: Path) -> None:
    queries = ["最高的山", "棋盤", "陽光"]
    with KnowledgeStore(KnowledgeOptions(path=tmp_path / "old")) as store:
        store.build(passages())
        store.build(passages("id_00000001", "id_00000003"))
        changed = store.search(queries)
    with KnowledgeStore(KnowledgeOptions(path=tmp_path / "new")) as store:
        store.build(passages("id_00000001", "id_00000003"))
        assert store.search(queries).equals(changed)


def test_a_store_outlives_its_process(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        store.build(passages())
    with KnowledgeStore(options) as store:
        assert store.count() == 4
        assert first(store, "圍棋") == ["id_00000002"]
        assert store.build(passages()) == Build(added=0, removed=0, kept=4)


def test_a_store_without_passages_finds_nothing(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        assert store.count() == 0
        assert store.search(["山"]).is_empty()


def test_two_stores_read_one_directory(tmp_path: Path) -> None:
    options = KnowledgeOptions(path=tmp_path)
    with KnowledgeStore(options) as writer, KnowledgeStore(options) as early:
        writer.build(passages())
        assert early.count() == 0
        with KnowledgeStore(options) as reader:
            assert first(reader, "圍棋") == first(writer, "圍棋") == ["id_00000002"]


KILLED = """
import os, signal, sys
from pathlib import Path
from kyara_kedro.knowledge import edge, store
sys.path.insert(0, str(Path({tests!r})))
from test_store import passages
if {late}:
    Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:
    edge.EdgeIndex._publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store.KnowledgeStore(store.KnowledgeOptions(path=Path({path!r}))).build(passages("id_00000002"))
"""


@pytest.mark.parametrize("late", [False, True])
def test_a_killed_build_leaves_the_old_store(tmp_path: Path, *, late: bool) -> None:
    options = KnowledgeOptions(path=tmp_path / "base")
    with KnowledgeStore(options) as store:
        store.build(passages())
    script = KILLED.format(tests=str(Path(__file__).parent), late=late, path=str(options.path))
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode < 0
    with KnowledgeStore(options) as store:
        assert store.count() == 4
        assert first(store, "太陽能") == ["id_00000003"]
        store.build(passages("id_00000002"))
        assert store.count() == 1
    assert len(list(options.path.iterdir())) == 2


@pytest.mark.parametrize(
    "settings",
    [{"kind": "server"}, {"url": "http://localhost"}, {"k1": -1}, {"b": 2}, {"kinds": "edge"}],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        KnowledgeOptions(**settings)
