"""Reading: memory that does not grow with a dump, and MB a second of every reader, beside peers.

A generated Wikipedia dump goes through the whole of ingest's document side (parse, clean, tables,
passages) in a process of its own, at two sizes. Then every reader reads the same articles in its
own format, `datasets` streams the JSON lines and the CSV, `json.load` loads the array whole, and
mwparserfromhell strips the same wikitext. MB are of uncompressed files, seconds of CPU without
imports, and peak memory is the process's own (VmHWM).
"""

from __future__ import annotations

import bz2
import gzip
import html
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import HERE, Benchmark, ProgramError, execute, scratch, table
from peers import Peer, interpreter

MWPARSER = Peer("mwparserfromhell", ("mwparserfromhell==0.7.2",))
Job = Callable[[Path], int]
"""Works through a file and counts rows."""
WORDS = (
    "山河海島城鄉村路橋站校院館廟寺塔園林田溪湖谷岸港市街樓門屋書畫詩歌舞戲茶酒米麵魚肉菜果花草樹木"
    "鳥獸蟲石土水火風雨雲雪日月星光春夏秋冬年月時人民王官兵商農工學師生友父母兄弟姊妹老少男女東西南北"
    "中上下左右前後大小長短高低多少新舊美善真"
)
HEAD = (
    "<mediawiki><siteinfo><base>https://zh.wikipedia.org/wiki/Wikipedia:%E9%A6%96%E9%A1%B5</base>"
    "</siteinfo>\n"
)


def paragraphs(rng: random.Random, count: int) -> list[str]:
    """Paragraphs of words that look like prose to the filters."""
    said = []
    for _ in range(count):
        sentences = []
        for _ in range(rng.randint(3, 8)):
            parts = ["".join(rng.choices(WORDS, k=rng.randint(4, 12))) for _ in range(3)]
            sentences.append("，".join(parts) + "。")
        said.append("".join(sentences))
    return said


def articles(megabytes: float, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Titles and wikitext of articles, as many as make up the size."""
    rng = random.Random(seed)
    pool = paragraphs(rng, 4_000)
    size, number = 0, 0
    while size < megabytes * 1e6:
        number += 1
        parts = ["{{Infobox place|name=甲|image=[[File:A.jpg|200px]]|area={{convert|3|km2}}}}"]
        for section in range(rng.randint(2, 9)):
            first, second = rng.choice(pool), rng.choice(pool)
            link = f"[[{first[:3]}|{first[3:6]}]]{first[6:]}<ref>{{{{cite web|url=x}}}}</ref>"
            parts.append(f"== {second[:4]} ==\n'''{number}'''{link}\n\n{second}\n* {second[:20]}")
            if section == 1:
                parts.append('{| class="wikitable"\n|-\n| 1 || 2\n|}')
        text = "\n\n".join([*parts, "== 參考資料 ==\n{{reflist}}\n[[Category:甲]]"])
        size += len(text.encode()) + 200
        yield f"條目{number}", text


def write_dump(path: Path, megabytes: float) -> None:
    """Write a dump of articles and, after each third one, a redirect."""
    with path.open("w", encoding="utf-8") as file:
        file.write(HEAD)
        for number, (title, text) in enumerate(articles(megabytes)):
            pages = [(title, text, "")]
            if number % 3 == 0:
                pages.append((f"又名{number}", "#REDIRECT", f'<redirect title="{title}" />'))
            for name, said, more in pages:
                file.write(
                    f"<page><title>{name}</title><ns>0</ns><id>{number}</id>{more}<revision>"
                    f"<model>wikitext</model><text>{html.escape(said)}</text></revision></page>\n"
                )
        file.write("</mediawiki>\n")


def write_formats(folder: Path, megabytes: float) -> dict[str, Path]:
    """Write the same articles in every format."""
    import polars as pl

    rows = [{"title": title, "text": text} for title, text in articles(megabytes)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    frame = pl.DataFrame(rows)
    paths = {
        name: folder / f"a.{name}"
        for name in ("jsonl", "json", "csv", "parquet", "arrow", "jsonl.gz", "jsonl.bz2", "xml")
    }
    whole = "\n".join(lines).encode()
    paths["jsonl"].write_bytes(whole)
    paths["jsonl.gz"].write_bytes(gzip.compress(whole, 6, mtime=0))
    paths["jsonl.bz2"].write_bytes(bz2.compress(whole))
    paths["json"].write_text("[" + ",\n".join(lines) + "]", "utf-8")
    frame.write_csv(paths["csv"])
    frame.write_parquet(paths["parquet"], row_group_size=1_000)
    frame.write_ipc_stream(paths["arrow"])
    write_dump(paths["xml"], megabytes)
    pages = folder / "pages"
    pages.mkdir()
    for number, row in enumerate(rows):
        said = "".join(f"<p>{html.escape(part)}</p>" for part in row["text"].split("\n\n"))
        (pages / f"{number}.html").write_text(
            f"<html><title>{row['title']}</title><nav>首頁</nav><main>{said}</main></html>", "utf-8"
        )
    return {**paths, "html": pages}


# What is measured, in processes of their own.


def ours() -> Job:
    """Read every row."""
    from kyara_kedro.datasets.sources import SourceFile
    from kyara_kedro.pipelines.ingest.readers import read_rows

    def job(path: Path) -> int:
        paths = sorted(path.iterdir()) if path.is_dir() else [path]
        rows = read_rows(SourceFile(one, one.name) for one in paths)
        return sum(row.fault is None for row in rows)

    return job


def whole_ingest() -> Job:
    """The document side of ingest, tables included; counts passages."""
    import polars as pl
    import pyarrow.parquet  # noqa: F401

    from kyara_kedro.datasets.sources import SourceFile
    from kyara_kedro.datasets.table import TableDataset
    from kyara_kedro.params import IngestParams
    from kyara_kedro.pipelines.ingest import nodes
    from kyara_kedro.pipelines.ingest.rows import keep_rows
    from kyara_kedro.records import DOCUMENT

    def job(path: Path) -> int:
        def stored(name: str, data: Any) -> Any:
            dataset = TableDataset(filepath=str(path.with_name(f"{name}.parquet")), lazy=True)
            dataset.save(data)
            return dataset.load()

        params = IngestParams()
        rows, _ = nodes.parse_documents([SourceFile(path, path.name)], params)
        document_rows = stored("document_rows", rows)
        stored("documents", keep_rows(DOCUMENT, document_rows).table)
        passages, _ = nodes.index_passages(
            stored("passage_rows", nodes.cut_documents(document_rows, params))
        )
        return int(stored("passages", passages).select(pl.len()).collect().item())

    return job


def streamed_by_datasets() -> Job:
    """Iterate over a file with `datasets`."""
    from datasets import load_dataset

    def job(path: Path) -> int:
        kind = {"jsonl": "json"}.get(path.suffix[1:], path.suffix[1:])
        rows = load_dataset(kind, data_files=str(path), split="train", streaming=True)
        return sum(1 for _ in rows)

    return job


def loaded_whole() -> Job:
    """Load an array with the standard library."""

    def job(path: Path) -> int:
        with path.open(encoding="utf-8") as file:
            return len(json.load(file))

    return job


def plain_text() -> Job:
    """Strip the wikitext of JSON lines."""
    from kyara_kedro.pipelines.ingest.readers.wikitext import plain_text as strip

    def job(path: Path) -> int:
        count = 0
        with path.open(encoding="utf-8") as file:
            for line in file:
                count += bool(strip(json.loads(line)["text"]))
        return count

    return job


MEASURED: dict[str, Callable[[], Job]] = {
    "ours": ours,
    "ingest": whole_ingest,
    "datasets": streamed_by_datasets,
    "whole": loaded_whole,
    "wikitext": plain_text,
}


def peak_mb() -> float:
    """Most memory of this process so far, without what its parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measured(what: str, path: Path, python: str | Path = sys.executable) -> dict[str, Any]:
    """Figures of one of the above over a file, in a process of its own."""
    script = HERE / "reading.py" if what in MEASURED else MWPARSER.runner
    return execute([python, script, "--measure", what, path])


def main() -> None:
    benchmark = Benchmark.start("reading", __doc__ or "")
    small, large = (20, 60) if benchmark.quick else (100, 400)
    size = 10 if benchmark.quick else 50
    with scratch() as folder:
        memory(benchmark, folder, small, large)
        speed(benchmark, folder, size)
    benchmark.finish()


def memory(benchmark: Benchmark, folder: Path, small: float, large: float) -> None:
    """Peak memory of ingest over dumps of two sizes."""
    runs = []
    for megabytes in (small, large):
        write_dump(folder / "dump.xml", megabytes)
        runs.append((megabytes, measured("ingest", folder / "dump.xml")))
    print("## A dump through ingest: parse, clean, tables, passages\n")
    table(
        ("MB", "passages", "CPU s", "MB/CPU s", "peak MB"),
        [(mb, run["rows"], run["cpu"], mb / run["cpu"], run["peak_rss_mb"]) for mb, run in runs],
    )
    (_, first), (_, second) = runs
    benchmark.figure("ingest_mb_per_cpu_second", large / second["cpu"])
    benchmark.at_most("ingest_peak_mb", second["peak_rss_mb"], 1_000)
    if not benchmark.quick:  # a few row groups do not fill the writers' buffers
        ratio = second["peak_rss_mb"] / first["peak_rss_mb"]
        benchmark.at_most("peak_of_large_vs_small", ratio, 1.3)


def speed(benchmark: Benchmark, folder: Path, megabytes: float) -> None:
    """MB/s of every reader, beside peers where there is one."""
    paths = write_formats(folder, megabytes)
    shown, rates = [], {}
    jobs = [("ours", name) for name in paths]
    jobs += [("datasets", "jsonl"), ("datasets", "csv"), ("whole", "json"), ("wikitext", "jsonl")]
    for what, name in jobs:
        try:
            run = measured(what, paths[name])
        except ProgramError as error:
            print(f"SKIPPED {what} {name}: {error}", flush=True)
            continue
        rates[what, name] = megabytes / run["cpu"]
        shown.append((what, name, run["rows"], rates[what, name], run["peak_rss_mb"]))
        if what == "ours":
            benchmark.figure(f"{name}_mb_per_cpu_second", rates[what, name])
    python = interpreter(MWPARSER)
    if python:
        run = measured("mwparserfromhell", paths["jsonl"], python)
        rates["mwparserfromhell", "jsonl"] = megabytes / run["cpu"]
        rate = rates["mwparserfromhell", "jsonl"]
        shown.append(("mwparserfromhell", "jsonl", run["rows"], rate, run["peak_rss_mb"]))
    print("## Readers\n")
    table(("program", "format", "rows", "MB/CPU s", "peak MB"), shown)
    for name, ours_at, peer_at, bar in (
        ("jsonl_vs_datasets", ("ours", "jsonl"), ("datasets", "jsonl"), 1.0),
        ("csv_vs_datasets", ("ours", "csv"), ("datasets", "csv"), 1.0),
        ("json_vs_json_load", ("ours", "json"), ("whole", "json"), 0.5),
        (
            "wikitext_vs_mwparserfromhell",
            ("wikitext", "jsonl"),
            ("mwparserfromhell", "jsonl"),
            2.0,
        ),
    ):
        if peer_at in rates:
            benchmark.at_least(name, rates[ours_at] / rates[peer_at], bar)
        else:
            benchmark.skipped(name, bar, f"{peer_at[0]} is not there")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        job, place = MEASURED[sys.argv[2]](), Path(sys.argv[3])
        started, busy = time.perf_counter(), time.process_time()
        found = job(place)
        figures = {
            "rows": found,
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - busy,
            "peak_rss_mb": peak_mb(),
        }
        print(json.dumps(figures))
    else:
        main()
