import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.knowledge import store as stores
from kyara_kedro.knowledge.store import Build, KnowledgeOptions, KnowledgeStore

TEXTS = {
    "id_00000001": ("玉山", "玉山是臺灣最高的山峰，海拔三千九百五十二公尺。"),
    "id_00000002": ("圍棋", "圍棋是兩個人下的棋，起源於中國，棋盤有十九條線。"),
    "id_00000003": ("太陽能", "太陽能電池把陽光變成電力，屋頂上常常看得到。"),
    "id_00000004": ("Tea", "Tea is a drink made from the leaves of Camellia sinensis."),
}


def passages(*names: str, **changed: str) -> pl.DataFrame:
    return table(
        {name: changed.get(name, TEXTS[name][1]) for name in names or TEXTS},
        {name: TEXTS[name][0] for name in TEXTS},
    )


def table(texts: dict[str, str], titles: dict[str, str] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "passage_id": name,
                "document_id": f"d{name}",
                "title": (titles or {}).get(name, ""),
                "text": text,
                "language": "zh-Hant-TW" if text[0] > "z" else "en",
            }
            for name, text in texts.items()
        ],
        schema=dict.fromkeys(("passage_id", "document_id", "title", "text", "language"), pl.String),
    )


@pytest.fixture(params=["edge", "local"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> KnowledgeOptions:
    return KnowledgeOptions(kind=request.param, path=tmp_path / "base")


def memory() -> KnowledgeStore:
    return KnowledgeStore(KnowledgeOptions(kind="local", path=Path(":memory:")))


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
        assert store.search([]).schema == found.schema
    assert found.schema == {
        "query": pl.Int64, "rank": pl.Int32, "passage_id": pl.String, "score": pl.Float64,
    }  # fmt: skip
    assert found.select("query", "rank").rows() == [(0, 0), (3, 0), (3, 1)]
    assert (found["score"] > 0).all()


def test_a_search_is_narrowed(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        store.build(passages())
        assert store.search(["tea 的"], language="en")["passage_id"].to_list() == ["id_00000004"]
        assert set(store.search(["tea 的"])["passage_id"]) == {
            "id_00000001",
            "id_00000002",
            "id_00000004",
        }
        left = store.search(["tea 的"], exclude=["did_00000004", "did_00000001"])
        assert left["passage_id"].to_list() == ["id_00000002"]
        assert store.search(["tea"], exclude=["did_00000004"]).is_empty()


def test_a_rebuild_writes_only_what_changed(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        store.build(passages("id_00000001", "id_00000002", "id_00000003"))
        changed = passages("id_00000001", "id_00000002", id_00000001="玉山在嘉義縣，是有名的高山。")
        assert store.build(changed) == Build(added=1, removed=2, kept=1)
        assert store.build(changed) == Build(added=0, removed=0, kept=2)
        assert first(store, "太陽能電池", "嘉義縣的高山") == ["id_00000001"]


def test_a_store_is_built_from_a_stream(options: KnowledgeOptions) -> None:
    def stream() -> Iterator[pl.DataFrame]:
        yield passages("id_00000001")
        yield passages("id_00000002").with_columns(more=1)
        yield passages("id_00000002").head(0)

    with KnowledgeStore(options) as store:
        assert store.build(stream()) == Build(added=2, removed=0, kept=0)
        assert store.build(passages("id_00000002", "id_00000001")) == Build(0, 0, kept=2)
        assert store.build(iter([])) == Build(0, removed=2, kept=0)
        assert store.search(["圍棋"]).is_empty()


def test_new_settings_weigh_everything_anew(options: KnowledgeOptions) -> None:
    with KnowledgeStore(options) as store:
        store.build(passages())
        before = store.search(["最高的山"])
    with KnowledgeStore(options.model_copy(update={"b": 0.0})) as store:
        assert store.build(passages()) == Build(0, 0, kept=4)
        changed = store.search(["最高的山"])
        assert changed["passage_id"].to_list() == before["passage_id"].to_list()
        assert changed["score"].to_list() != before["score"].to_list()
        assert store.count() == 4


SHORT = st.text("山水天地玄黃ab ", max_size=6)
STATE = st.dictionaries(st.sampled_from([f"id_{n:08x}" for n in range(12)]), SHORT, max_size=12)


@settings(max_examples=15, deadline=None)
@given(st.lists(STATE, min_size=1, max_size=4), st.lists(SHORT, max_size=5), st.integers(1, 4))
def test_results_depend_on_the_content_alone(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[dict[str, str]],
    queries: list[str],
    limit: int,
) -> None:
    folder = tmp_path_factory.mktemp("base")
    with KnowledgeStore(KnowledgeOptions(path=folder / "old")) as old, memory() as local:
        for state in history:
            old.build(table({name: text or "," for name, text in state.items()}))
            local.build(table({name: text or "," for name, text in state.items()}))
        found, same = old.search(queries, limit), local.search(queries, limit)
    with KnowledgeStore(KnowledgeOptions(path=folder / "new")) as new:
        new.build(table({name: history[-1][name] or "," for name in sorted(history[-1])}))
        assert new.search(queries, limit).equals(found)
    assert same.equals(found)


@pytest.mark.parametrize("number", [4, 60])
def test_equals_are_cut_off_in_one_order(options: KnowledgeOptions, number: int) -> None:
    names = [f"id_{n:08x}" for n in range(number)]
    with KnowledgeStore(options) as store:
        store.build(table(dict.fromkeys([*names[1::2], *names[::2]], "玉山很高")))
        assert store.search(["玉山"], 3)["passage_id"].to_list() == names[:3]
        store.build(table(dict.fromkeys(names[3:], "玉山很高")))
        store.build(table({"id_ffffffff": "玉山", **dict.fromkeys(names, "玉山很高")}))
        assert store.search(["玉山"], 3)["passage_id"].to_list() == ["id_ffffffff", *names[:2]]


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
        with pytest.raises(ValueError, match="limit"):
            store.search(["山"], 0)


def test_a_store_is_copied(options: KnowledgeOptions, tmp_path: Path) -> None:
    with KnowledgeStore(options) as store, memory() as local:
        with pytest.raises(UserError, match="is empty"):
            store.copy_to(local)
        store.build(passages())
        local.build(passages("id_00000001", id_00000001="別的"))
        assert store.copy_to(local) == 4
        assert local.search(["山", "tea"]).equals(store.search(["山", "tea"]))
        assert local.build(passages()) == Build(0, 0, kept=4)
        with KnowledgeStore(KnowledgeOptions(path=tmp_path / "back")) as back:
            assert local.copy_to(back) == 4
            assert back.search(["山", "tea"]).equals(store.search(["山", "tea"]))


def test_two_stores_read_one_directory(tmp_path: Path) -> None:
    options = KnowledgeOptions(path=tmp_path)
    with KnowledgeStore(options) as writer, KnowledgeStore(options) as early:
        writer.build(passages())
        assert early.count() == 0
        with KnowledgeStore(options) as reader:
            writer.build(passages("id_00000003"))
            assert first(reader, "圍棋") == ["id_00000002"]
            assert first(writer, "圍棋") == []


def test_a_writer_builds_on_the_newest_state(tmp_path: Path) -> None:
    options = KnowledgeOptions(path=tmp_path)
    with KnowledgeStore(options) as one, KnowledgeStore(options) as other:
        one.build(passages("id_00000001"))
        assert other.build(passages("id_00000001", "id_00000002")) == Build(1, 0, kept=1)
        assert one.build(passages("id_00000002", "id_00000003")) == Build(1, removed=1, kept=1)
        assert first(one, "圍棋", "陽光", "玉山") == ["id_00000002", "id_00000003"]


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def stops(*_: object) -> None:
        raise RuntimeError("stopped")

    with KnowledgeStore(KnowledgeOptions(path=tmp_path)) as store:
        store.build(passages("id_00000001"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stores.SparseEncoder, "passages", stops)
            with pytest.raises(RuntimeError, match="stopped"):
                store.build(passages())
        assert not list(tmp_path.glob("building.*"))
        assert first(store, "玉山") == ["id_00000001"]
        assert store.build(passages()) == Build(3, 0, kept=1)


def test_two_writers_take_turns(tmp_path: Path) -> None:
    with KnowledgeStore(KnowledgeOptions(path=tmp_path)) as store:
        with (
            FileLock(tmp_path / "writer.lock"),
            pytest.raises(UserError, match="is being built by another process"),
        ):
            store.build(passages())
        assert store.build(passages()).added == 4


def test_a_local_store_serves_one_process(tmp_path: Path) -> None:
    options = KnowledgeOptions(kind="local", path=tmp_path)
    with KnowledgeStore(options), pytest.raises(UserError, match="use kind 'edge'"):
        KnowledgeStore(options)


def test_a_store_of_an_older_version_is_built_anew(tmp_path: Path) -> None:
    (tmp_path / "shard.0").mkdir()
    (tmp_path / "CURRENT").write_text("shard.0")
    with KnowledgeStore(KnowledgeOptions(path=tmp_path)) as store:
        assert store.count() == 0
        assert store.build(passages()).added == 4
        assert first(store, "圍棋") == ["id_00000002"]
    assert not (tmp_path / "shard.0").exists()


def test_a_large_embedded_store_says_so(
    options: KnowledgeOptions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stores, "_LIMITS", {"edge": 4, "local": 4})
    with KnowledgeStore(options) as store, caplog.at_level(logging.WARNING):
        store.build(passages("id_00000001"))
        assert not caplog.records
        store.build(passages())
    assert len(caplog.records) == 1
    assert "kind 'server'" in caplog.text


KILLED = """
import os, signal, sys
from pathlib import Path
from kyara_kedro.knowledge import edge, store
sys.path.insert(0, {tests!r})
from knowledge.test_store import passages
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
{fault}
store.KnowledgeStore(store.KnowledgeOptions(path=Path({path!r}))).build(passages("id_00000002"))
"""


@pytest.mark.parametrize(
    "fault",
    [
        "edge._copy = die",
        "edge.TermCounts.to_bytes = die",
        "edge.EdgeIndex._publish = die",
        "edge.Path.rename = die",
        "edge.Path.replace = die",
    ],
)
def test_a_killed_build_leaves_the_old_store(tmp_path: Path, fault: str) -> None:
    options = KnowledgeOptions(path=tmp_path / "base")
    with KnowledgeStore(options) as store:
        store.build(passages())
    tests = str(Path(__file__).parents[1])
    script = KILLED.format(tests=tests, fault=fault, path=str(options.path))
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -9
    with KnowledgeStore(options) as store:
        assert store.count() == 4
        assert first(store, "太陽能") == ["id_00000003"]
        store.build(passages("id_00000002"))
        assert store.count() == 1
    assert {path.name.split(".")[0] for path in options.path.iterdir()} == {
        "CURRENT", "state", "writer",
    }  # fmt: skip


@pytest.mark.faults
def test_a_build_is_killed_at_any_moment(tmp_path: Path) -> None:
    options = KnowledgeOptions(path=tmp_path / "base")
    with KnowledgeStore(options) as store:
        store.build(passages())
    script = KILLED.format(
        tests=str(Path(__file__).parents[1]), fault="print(flush=True)", path=str(options.path)
    )
    for milliseconds in range(0, 400, 25):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(milliseconds / 1000) or process.communicate(timeout=0)
            raise subprocess.TimeoutExpired([], 0)
        process.kill()
        process.wait()
        with KnowledgeStore(options) as store:
            assert store.count() in (1, 4)
            assert first(store, "圍棋") == ["id_00000002"]
            store.build(passages())


@pytest.mark.parametrize(
    "settings",
    [{"kind": "server"}, {"url": "http://localhost"}, {"k1": -1}, {"b": 2}, {"kinds": "edge"}],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        KnowledgeOptions(**settings)
