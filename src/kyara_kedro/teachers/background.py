"""An event loop in a thread of its own, so that asynchronous work has a synchronous face."""

from __future__ import annotations

import asyncio
import os
import threading

_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}
_STARTING = threading.Lock()


def background_loop() -> asyncio.AbstractEventLoop:
    """The process's loop for teachers; it runs beside notebooks' and servers' own loops."""
    process = os.getpid()  # a forked process has the dictionary, but not the thread
    with _STARTING:
        if process not in _LOOPS:
            loop = _LOOPS[process] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="teachers", daemon=True).start()
        return _LOOPS[process]
