"""An event loop in a thread of its own, so that asynchronous work has a synchronous face."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import cache


def background_loop() -> asyncio.AbstractEventLoop:
    """The process's loop for teachers; it runs beside notebooks' and servers' own loops."""
    return _loop_of(os.getpid())


@cache
def _loop_of(process: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="teachers", daemon=True).start()
    return loop
