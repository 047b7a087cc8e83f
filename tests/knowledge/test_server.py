"""The wire to a server, against a loopback one that answers from qdrant-client's local mode."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.knowledge.store import Build, KnowledgeOptions, KnowledgeStore

from .servers import QdrantShim, serving
from .test_store import first, passages, table

KEY = "a-very-secret-key"
pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")


@pytest.fixture
def shim() -> QdrantShim:
    return QdrantShim(KEY)


@pytest.fixture
def options(shim: QdrantShim) -> Iterator[KnowledgeOptions]:
    with serving(shim) as url:
        yield KnowledgeOptions(kind="server", url=url, collection="c", timeout=1)


def test_a_server_is_built_and_searched(options: KnowledgeOptions, shim: QdrantShim) -> None:
    with KnowledgeStore(options, api_key=KEY) as store:
        assert store.count() == 0
        assert store.search(["山"]).is_empty()
        assert store.build(passages()) == Build(added=4, removed=0, kept=0)
        assert first(store, "台湾最高的山", "圍棋") == ["id_00000001", "id_00000002"]
        fewer = passages("id_00000001", "id_00000002", "id_00000003")
        assert store.build(fewer) == Build(added=0, removed=1, kept=3)
        assert store.count() == 3
        assert store.search(["陽光"])["passage_id"].to_list() == ["id_00000003"]
        assert store.build(fewer) == Build(added=0, removed=0, kept=3)
    indexed = [body["field_name"] for method, path, body in shim.asked if path.endswith("/index")]
    assert indexed == ["document_id", "language"]
    schema = next(body for method, path, body in shim.asked if path == "/collections/c" and body)
    assert schema["sparse_vectors"] == {"bm25": {"index": {"datatype": "float16"}}}
    assert schema["vectors"] == {}
    with KnowledgeStore(options, api_key=KEY) as reader:
        assert first(reader, "圍棋") == ["id_00000002"]


def test_a_collection_is_made_for_a_cluster(options: KnowledgeOptions, shim: QdrantShim) -> None:
    wished = options.model_copy(update={"shards": 6, "replicas": 2})
    with KnowledgeStore(wished, api_key=KEY) as store:
        store.build(passages())
        assert first(store, "圍棋") == ["id_00000002"]
    made = {path: body for _, path, body in shim.asked if body and "vectors" in body}
    assert made["/collections/c"]["shard_number"] == 6
    assert {body["replication_factor"] for body in made.values()} == {2}
    with pytest.raises(UserError, match="'replicas' go with kind 'server', not 'edge'"):
        KnowledgeOptions.read({"replicas": 2}, "the knowledge base")


def test_a_server_finds_what_the_embedded_store_finds(
    options: KnowledgeOptions, tmp_path: Path
) -> None:
    texts = {f"id_{n:08x}": "玉山很高" + "山水天地"[n % 4] * (n % 5) for n in range(80)}
    queries = ["玉山有多高？", "山", "水水水", "天地", ""]
    with (
        KnowledgeStore(options, api_key=KEY) as server,
        KnowledgeStore(KnowledgeOptions(path=tmp_path)) as embedded,
    ):
        server.build(table({name: texts[name] for name in list(texts)[40:]}))
        server.build(table(texts))
        embedded.build(table(texts))
        for limit in (1, 3, 10):
            assert server.search(queries, limit).equals(embedded.search(queries, limit))
        one = {"language": "zh-Hant-TW", "exclude": [f"did_{n:08x}" for n in range(40)]}
        found = server.search(queries, 5, **one)  # type: ignore[arg-type]
        assert found.equals(embedded.search(queries, 5, **one))  # type: ignore[arg-type]
        assert min(found["passage_id"]) >= "id_00000028"


def test_an_embedded_store_moves_to_a_server(
    options: KnowledgeOptions, shim: QdrantShim, tmp_path: Path
) -> None:
    with (
        KnowledgeStore(options, api_key=KEY) as server,
        KnowledgeStore(KnowledgeOptions(path=tmp_path)) as embedded,
    ):
        embedded.build(passages())
        server.build(passages("id_00000001", id_00000001="別的"))
        assert embedded.copy_to(server) == 4
        assert server.search(["山", "tea"]).equals(embedded.search(["山", "tea"]))
        assert server.build(passages()) == Build(0, 0, kept=4)


def test_an_interrupted_build_is_finished_by_the_next(
    options: KnowledgeOptions, shim: QdrantShim
) -> None:
    with KnowledgeStore(options, api_key=KEY) as store:
        store.build(passages("id_00000001", "id_00000002"))
        shim.fail, shim.failing = 500, "/points/delete"
        with pytest.raises(UserError, match="answers 500"):
            store.build(passages("id_00000002", "id_00000003"))
    shim.fail = None
    with KnowledgeStore(options, api_key=KEY) as reader:
        assert first(reader, "圍棋") == ["id_00000002"]
    with (
        KnowledgeStore(options, api_key=KEY) as store,
        memory_of("id_00000002", "id_00000003") as m,
    ):
        assert store.build(passages("id_00000002", "id_00000003")) == Build(0, removed=1, kept=2)
        assert store.search(["棋盤", "陽光", "玉山"]).equals(m.search(["棋盤", "陽光", "玉山"]))


def memory_of(*names: str) -> KnowledgeStore:
    store = KnowledgeStore(KnowledgeOptions(kind="local", path=Path(":memory:")))
    store.build(passages(*names))
    return store


@pytest.mark.parametrize("key", [None, "a-wrong-key"])
def test_a_refused_key_is_named_and_never_shown(options: KnowledgeOptions, key: str | None) -> None:
    with KnowledgeStore(options, api_key=key) as store:
        for act in (store.count, lambda: store.search(["山"]), lambda: store.build(passages())):
            with pytest.raises(UserError, match="set api_key") as error:
                act()
            assert str(key) not in str(error.value)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_an_error_of_the_server_is_one_line(
    options: KnowledgeOptions, shim: QdrantShim, status: int
) -> None:
    shim.fail = status
    with KnowledgeStore(options, api_key=KEY) as store:
        with pytest.raises(
            UserError, match=f"'c' at .* answers {status} .*cannot be done"
        ) as error:
            store.build(passages())
        assert KEY not in str(error.value)
        assert "\n" not in str(error.value)


def test_a_slow_server_is_one_line(options: KnowledgeOptions, shim: QdrantShim) -> None:
    with KnowledgeStore(options, api_key=KEY) as store:
        shim.delay = 1.5
        started = time.monotonic()
        with pytest.raises(UserError, match=r"cannot be reached \(.*timed out"):
            store.count()
        assert time.monotonic() - started < 20


def test_a_server_that_is_not_there_is_one_line() -> None:
    options = KnowledgeOptions(kind="server", url="http://127.0.0.1:9", timeout=1)
    with (
        KnowledgeStore(options) as store,
        pytest.raises(UserError, match=r"cannot be reached .*see that the server runs"),
    ):
        store.search(["山"])


@pytest.mark.parametrize("url", ["http://user:hunter2@host:6333", "http://host:6333?key=hunter2"])
def test_an_address_holds_no_credentials(url: str) -> None:
    with pytest.raises(UserError, match="belongs in credentials") as error:
        KnowledgeOptions.read({"kind": "server", "url": url}, "knowledge_base")
    assert "hunter2" not in str(error.value)
