"""The wire to a server, against a loopback one that answers from qdrant-client's local mode.

It proves the requests, not how a real server ranks.
"""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

from kyara_kedro.knowledge.store import Build, KnowledgeOptions, KnowledgeStore

from .test_store import first, passages

KEY = "a-key"


def answer(local: QdrantClient, method: str, action: str, body: Any) -> Any:
    """Apply one REST request, as the server's own models read it, to a local collection."""
    if (method, action) == ("PUT", ""):
        wanted = models.CreateCollection.model_validate(body)
        return local.create_collection(
            "c", vectors_config=wanted.vectors or {}, sparse_vectors_config=wanted.sparse_vectors
        )
    if action == "/points/scroll":
        records, offset = local.scroll("c", limit=body["limit"], offset=body.get("offset"))
        return {"points": records, "next_page_offset": offset}
    if action == "/points/query/batch":
        batch = models.QueryRequestBatch.model_validate(body)
        return local.query_batch_points("c", batch.searches)
    if action == "/points/delete":
        return local.delete("c", TypeAdapter(models.PointsSelector).validate_python(body))
    return {
        "/exists": lambda: {"exists": local.collection_exists("c")},
        "/points": lambda: local.upsert("c", models.PointsList.model_validate(body).points),
        "/points/count": lambda: local.count("c"),
    }[action]()


@pytest.fixture
def url() -> Iterator[str]:
    local = QdrantClient(":memory:")

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            if self.headers["api-key"] != KEY:
                self.reply(401, {"status": {"error": "no key"}})
                return
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            action = re.match(r"/collections/c([^?]*)", self.path)
            if action is None:
                self.reply(200, {"title": "qdrant", "version": "1.20.0"})
                return
            result = answer(local, self.command, action[1], json.loads(body or "null"))
            encoded = TypeAdapter(Any).dump_python(result, mode="json")
            self.reply(200, {"result": encoded, "status": "ok", "time": 0.0})

        do_GET = do_PUT = do_POST = do

        def reply(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_server_is_built_and_searched(url: str) -> None:
    options = KnowledgeOptions(kind="server", url=url, collection="c")
    with KnowledgeStore(options, api_key=KEY) as store:
        assert store.count() == 0
        assert store.search(["山"]).is_empty()
        assert store.build(passages()) == Build(added=4, removed=0, kept=0)
        assert first(store, "台湾最高的山", "圍棋") == ["id_00000001", "id_00000002"]
        fewer = passages("id_00000001", "id_00000002", "id_00000003")
        assert store.build(fewer) == Build(added=0, removed=1, kept=3)
        assert store.count() == 3
        assert store.search(["陽光"])["passage_id"].to_list() == ["id_00000003"]
