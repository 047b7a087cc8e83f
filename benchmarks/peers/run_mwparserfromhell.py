"""mwparserfromhell: strip the wikitext of JSON lines."""

import json
import resource
import sys
import time
from pathlib import Path

import mwparserfromhell

started, busy, count = time.perf_counter(), time.process_time(), 0
with Path(sys.argv[3]).open(encoding="utf-8") as file:
    for line in file:
        count += bool(mwparserfromhell.parse(json.loads(line)["text"]).strip_code())
print(
    json.dumps(
        {
            "rows": count,
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - busy,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )
)
