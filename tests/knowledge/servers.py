"""Loopback servers: one that speaks Qdrant's REST, one that speaks OpenAI's embeddings.

The first parses requests with qdrant-client's own models and applies them to its local mode: it
proves the requests, not how a real server ranks.
"""

import hashlib
import json
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from threading import Lock, Thread
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

Answer = Callable[[str, str, Any, dict[str, str]], tuple[int, Any]]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The address of a server that answers (method, path, body, headers) with (status, content)."""

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = answer(self.command, self.path.partition("?")[0], body, headers)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class QdrantShim:
    """Qdrant's REST interface over qdrant-client's local mode.

    Attributes:
        key: The key that requests must carry, if any.
        asked: Method, path and body of every request.
        fail: Status to answer requests whose path ends with `failing` with.
        delay: Seconds to wait before an answer.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.asked: list[tuple[str, str, Any]] = []
        self.fail: int | None = None
        self.failing = ""
        self.delay = 0.0
        self.local = QdrantClient(":memory:")
        self._lock = Lock()

    def __call__(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, Any]:
        time.sleep(self.delay)
        with self._lock:
            self.asked.append((method, path, body))
            if self.key is not None and headers.get("api-key") != self.key:
                return 401, {"status": {"error": f"Invalid key {headers.get('api-key')}"}}
            if self.fail is not None and path.endswith(self.failing):
                return self.fail, {"status": {"error": "it cannot be done"}}
            found = re.fullmatch(r"/collections/([^/]+)(.*)", path)
            assert found is not None, path
            result = self.apply(found[1], method, found[2], body)
            encoded = TypeAdapter(Any).dump_python(result, mode="json")
            return 200, {"result": encoded, "status": "ok", "time": 0.0}

    def apply(self, name: str, method: str, action: str, body: Any) -> Any:
        """Apply one request, as the server's own models read it, to the local collection."""
        local = self.local

        def create() -> Any:
            wanted = models.CreateCollection.model_validate(body)
            return local.create_collection(
                name,
                vectors_config=wanted.vectors or {},
                sparse_vectors_config=wanted.sparse_vectors,
            )

        def index() -> Any:
            wanted = models.CreateFieldIndex.model_validate(body)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return local.create_payload_index(name, wanted.field_name, wanted.field_schema)

        def scroll() -> Any:
            wanted = models.ScrollRequest.model_validate(body)
            records, offset = local.scroll(
                name,
                limit=wanted.limit or 10,
                offset=wanted.offset,
                with_payload=wanted.with_payload or False,
                with_vectors=wanted.with_vector or False,
            )
            return {"points": records, "next_page_offset": offset}

        def retrieve() -> Any:
            wanted = models.PointRequest.model_validate(body)
            return local.retrieve(
                name,
                wanted.ids,
                with_payload=wanted.with_payload or False,
                with_vectors=wanted.with_vector or False,
            )

        def upsert() -> Any:
            return local.upsert(name, models.PointsList.model_validate(body).points)

        def delete() -> Any:
            return local.delete(name, TypeAdapter(models.PointsSelector).validate_python(body))

        def query() -> Any:
            batch = models.QueryRequestBatch.model_validate(body)
            return local.query_batch_points(name, batch.searches)

        def count() -> Any:
            assert models.CountRequest.model_validate(body).exact
            return local.count(name)

        return {
            ("PUT", ""): create,
            ("GET", "/exists"): lambda: {"exists": local.collection_exists(name)},
            ("PUT", "/index"): index,
            ("PUT", "/points"): upsert,
            ("POST", "/points"): retrieve,
            ("POST", "/points/scroll"): scroll,
            ("POST", "/points/delete"): delete,
            ("POST", "/points/count"): count,
            ("POST", "/points/query/batch"): query,
        }[method, action]()


class EmbeddingsShim:
    """OpenAI's embeddings: hashed pairs of characters, projected to few dimensions.

    Attributes:
        size: Dimensions of the vectors.
        key: The key that requests must carry, if any.
        asked: The texts of every request.
    """

    def __init__(self, size: int = 32, key: str | None = None) -> None:
        self.size = size
        self.key = key
        self.asked: list[list[str]] = []
        self.fail: int | None = None

    def __call__(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, Any]:
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"error": {"message": f"Incorrect key {headers.get('authorization')}"}}
        if self.fail is not None:
            return self.fail, {"error": {"message": "it cannot be done"}}
        assert (method, path, body["encoding_format"]) == ("POST", "/v1/embeddings", "float")
        self.asked.append(body["input"])
        rows = [
            {"object": "embedding", "index": index, "embedding": embed(text, self.size).tolist()}
            for index, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        # Servers may answer in any order.
        return 200, {"object": "list", "data": rows[::-1], "model": body["model"], "usage": usage}


def embed(text: str, size: int) -> Any:
    """A unit vector of a text's pairs of characters."""
    vector = np.zeros(size)
    for pair in pairwise(text):
        seed = hashlib.md5("".join(pair).encode()).digest()  # noqa: S324
        vector += np.random.default_rng(list(seed)).standard_normal(size)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
