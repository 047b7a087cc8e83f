"""A headless Chromium driven over its DevTools pipe: no package, no port."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CONTROL, SHIFT = 2, 8
_CODES = {
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "Tab": ("Tab", 9, ""),
}


def chromium() -> str:
    """The browser on this machine; the test is skipped where there is none."""
    found = os.environ.get("KYARA_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)} is on the PATH")
    return found


class Browser:
    """One page in a browser.

    Attributes:
        console: What the page logged or threw, violations of its security policy among it.
        requests: Addresses that the page asked for.
    """

    def __init__(self, sending: int, receiving: int) -> None:
        self._sending, self._receiving = sending, receiving
        self._held, self._count, self._session = b"", 0, ""
        self.console: list[str] = []
        self.requests: list[str] = []

    def open(self, page: Path, downloads: Path) -> None:
        """Open a file in a new tab."""
        self.call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads.resolve())
        )
        self.attach()
        self.go(page)

    def attach(self) -> None:
        """Open a new tab and listen to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=1440,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )

    def go(self, page: Path) -> None:
        """Load a file, or load it again."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def js(self, expression: str) -> Any:
        """What an expression is on the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> None:
        """Wait until an expression is true on the page."""
        end = time.monotonic() + seconds
        while not self.js(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key."""
        code, number, text = _CODES.get(
            key, (f"Key{key.upper()}", ord(key.upper()[0]) if key else 0, key)
        )
        event = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        down = {"type": "keyDown", **event}
        if text and not modifiers:
            down["text"] = text
        self.call("Input.dispatchKeyEvent", **down)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        """Put text where the caret is, as an input method does."""
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, *files: Path) -> None:
        """Give files to a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def picture(self, path: Path) -> None:
        """Take a picture of the page."""
        found = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol."""
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._sending, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                found: dict[str, Any] = answer["result"]
                return found
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._receiving], [], [], 60)
            assert ready, "the browser does not answer"
            piece = os.read(self._receiving, 1 << 20)
            assert piece, "the browser is gone"
            self._held += piece
        message, _, self._held = self._held.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        match event["method"]:
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.console.append(json.dumps(event["params"], ensure_ascii=False))
            case "Network.requestWillBeSent":
                self.requests.append(event["params"]["request"]["url"])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it.

    Args:
        folder: Holds the profile.
    """
    command = [
        *(chromium(), "--headless=new", "--remote-debugging-pipe", "--no-sandbox"),
        *("--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--lang=zh-TW"),
        *("--disable-background-networking", f"--user-data-dir={folder}", "about:blank"),
    ]
    child_reads, sends = os.pipe()
    receives, child_writes = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (child_reads, child_writes)]
    silence = [(os.POSIX_SPAWN_OPEN, end, os.devnull, os.O_RDWR, 0) for end in (0, 1, 2)]
    pipes = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(high, start=3)]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=[*silence, *pipes])
    for end in (child_reads, child_writes, *high):
        os.close(end)
    try:
        yield Browser(sends, receives)
    finally:
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
        os.close(sends)
        os.close(receives)
