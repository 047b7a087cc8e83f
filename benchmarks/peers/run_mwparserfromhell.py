"""mwparserfromhell: strip the wikitext of JSON lines."""

import json
import sys
import time
from pathlib import Path

import mwparserfromhell

started, busy, count = time.perf_counter(), time.process_time(), 0
with Path(sys.argv[3]).open(encoding="utf-8") as file:
    for line in file:
        count += bool(mwparserfromhell.parse(json.loads(line)["text"]).strip_code())
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(
    json.dumps(
        {
            "rows": count,
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - busy,
            "peak_rss_mb": peak / 1024,
        }
    )
)
