"""A server of chat and raw completions on the loopback, which answers as a test wants it to."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = '{"queries": ["茶"]}'


@dataclass
class Answer:
    """What the server does with one request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    promised: int | None = None
    """Bytes that the header promises, when they are not those of the body."""


def completion(
    content: Any, finish: str | None = "stop", usage: Any = (10, 5), **message: Any
) -> bytes:
    body: dict[str, Any] = {
        "model": "m-2026",
        "choices": [{"message": {"content": content, **message}, "finish_reason": finish}],
    }
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return json.dumps(body, ensure_ascii=False).encode()


def chat(content: Any = GOOD, finish: str | None = "stop", **more: Any) -> Answer:
    delay = more.pop("delay", 0.0)
    return Answer(body=completion(content, finish, **more), delay=delay)


def continued(text: Any, finish: str | None = "stop", usage: Any = (10, 5)) -> Answer:
    """The answer to a text that is to be continued."""
    body: dict[str, Any] = {"model": "m-2026", "choices": [{"text": text, "finish_reason": finish}]}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return Answer(body=json.dumps(body, ensure_ascii=False).encode())


def failed(status: int, code: str = "some_code", **headers: str) -> Answer:
    body = json.dumps({"error": {"message": "no", "code": code}}).encode()
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class Server:
    """Answers by a function of (number of the request, its body) and notes all it has seen."""

    def __init__(self, answer: Callable[[int, dict[str, Any]], Answer]) -> None:
        self.seen: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: set[str | None] = set()
        self.most_in_flight = 0
        lock = threading.Lock()
        server = self
        flying = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                nonlocal flying
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    server.seen.append(body)
                    server.paths.append(self.path)
                    server.keys.add(self.headers["authorization"])
                    number = len(server.seen)
                    flying += 1
                    server.most_in_flight = max(server.most_in_flight, flying)
                try:
                    self.say(answer(number, body))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with lock:
                        flying -= 1

            def say(self, said: Answer) -> None:
                time.sleep(said.delay)
                self.send_response(said.status)
                for name, value in {"content-type": "application/json", **said.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(said.promised or len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)
                if said.promised is not None:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        class Http(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # a client that was killed
                    super().handle_error(request, client_address)

        self.http = Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@contextmanager
def serving(answer: Callable[[int, dict[str, Any]], Answer] | None = None) -> Iterator[Server]:
    server = Server(answer or (lambda number, body: chat()))
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


def question(body: dict[str, Any]) -> str:
    """The last thing that a request says."""
    said: str = body["messages"][-1]["content"]
    return said
