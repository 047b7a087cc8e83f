"""The Taiwan guard beside plain OpenCC: what it changes, how well, and how fast.

Text that people in Taiwan wrote must stay; sentences that exist in both scripts must come out as
the Traditional one does; text that needs no change must cost little. Character accuracy is the
share of characters, of the longer text, that a longest match of both texts has in common; on a
round trip it is measured on human text that OpenCC's t2s simplified.

``python benchmarks/taiwan_guard.py`` (data: ``KYARA_CONFORMANCE_DATA``)
"""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import opencc
from harness import Benchmark, median, table

from kyara_kedro.text.taiwan import Change, leaks, to_taiwan

Convert = Callable[[str], str]
Pairs = Sequence[tuple[str, str]]

DATA = Path(__file__).resolve().parents[1] / os.environ.get(
    "KYARA_CONFORMANCE_DATA", "../shared/data"
)
PARAGRAPHS = DATA / "corpora" / "drcd_dev_paragraphs.jsonl.gz"
WAYS: dict[str, Convert] = {
    "s2t": opencc.OpenCC("s2t").convert,
    "s2tw": opencc.OpenCC("s2tw").convert,
    "s2twp": opencc.OpenCC("s2twp").convert,
    "guard": lambda text: to_taiwan(text).text,
}
STRAIGHT = str.maketrans("“”‘’「」『』", "\"\"''\"\"''")
SPEED_BAR = 20.0
CHANGED_BAR = 0.002
ROUNDS = 5


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, compressed or not."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def human_texts() -> dict[str, list[str]]:
    """Traditional Chinese that people wrote; PUD was translated on the Mainland."""
    corpora = DATA / "corpora"
    ttqa = json.loads((DATA / "tceval" / "ttqa.json").read_text(encoding="utf-8"))
    return {
        "drcd": [row["text"] for row in rows(PARAGRAPHS)],
        "drcd questions": [row["query"] for row in rows(corpora / "drcd_dev_questions.jsonl.gz")],
        "ud gsd": [row["zh_hant"] for row in rows(corpora / "ud_gsd_dev_hant_hans.jsonl.gz")],
        "ud pud": [row["zh_hant"] for row in rows(corpora / "ud_pud_hant_en.jsonl.gz")],
        "tmmlu": [row["question"] for row in rows(DATA / "tceval" / "tmmlu.jsonl.gz")],
        "ttqa": ["\n".join([row["question"], *row["choices"]]) for row in ttqa.values()],
        "mt_bench_tw": [
            "\n".join(row["turns"]) for row in rows(DATA / "mt_bench_tw" / "question.jsonl")
        ],
    }


def parallel_sentences() -> list[tuple[str, str]]:
    """Sentences of UD GSD, Simplified and Traditional."""
    found = rows(DATA / "corpora" / "ud_gsd_dev_hant_hans.jsonl.gz")
    return [(row["zh_hans"], row["zh_hant"]) for row in found]


def round_trip(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Texts as OpenCC simplifies them, and as they were."""
    simplify = opencc.OpenCC("t2s").convert
    return [(simplify(text), text) for text in texts]


def changes(texts: Iterable[str]) -> list[tuple[Change, ...]]:
    """What the guard changes in the texts that it changes."""
    return [found for found in (to_taiwan(text).changed for text in texts) if found]


def accuracy(convert: Convert, pairs: Pairs) -> float:
    """Character accuracy of a conversion."""
    same = longest = 0
    for simplified, expected in pairs:
        converted = convert(simplified)
        longest += max(len(converted), len(expected))
        if len(converted) == len(expected):
            same += sum(map(str.__eq__, converted, expected))
        else:
            blocks = SequenceMatcher(None, converted, expected, autojunk=False)
            same += sum(block.size for block in blocks.get_matching_blocks())
    return same / longest


def documents(paragraphs: Sequence[str], characters: int) -> list[str]:
    """Documents of 200 to 5,000 characters made of paragraphs."""
    draw = random.Random(1)
    found: list[str] = []
    while sum(map(len, found)) < characters:
        size, text = draw.randint(200, 5000), ""
        while len(text) < size:
            text += draw.choice(paragraphs) + "\n"
        found.append(text[:size])
    return found


def megabytes_a_second(convert: Callable[[str], object], texts: Sequence[str]) -> float:
    """UTF-8 text converted a second."""
    started = time.perf_counter()
    for text in texts:
        convert(text)
    return sum(len(text.encode()) for text in texts) / 1e6 / (time.perf_counter() - started)


def main() -> None:
    bench = Benchmark.start("taiwan_guard", __doc__ or "")
    texts = human_texts()
    counted = []
    for name, corpus in texts.items():
        found = changes(corpus)
        by_opencc = sum(WAYS["s2tw"](text) != text for text in corpus)
        reported = sum(bool(leaks(text)) for text in corpus)
        counted.append((name, len(corpus), len(found), by_opencc, reported))
        for change in (change for changed in found for change in changed):
            print(f"{name}: {change.kind}: {change.before} -> {change.after}")
    print()
    table(("human text", "texts", "guard changes", "s2tw changes", "guard reports"), counted)

    pairs = parallel_sentences()
    back = round_trip(texts["drcd"][: 200 if bench.quick else None])
    unquoted = [(a.translate(STRAIGHT), b.translate(STRAIGHT)) for a, b in pairs]
    measured = {
        name: (
            100 * accuracy(way, pairs),
            100 * accuracy(lambda text, way=way: way(text).translate(STRAIGHT), unquoted),
            100 * accuracy(way, back),
        )
        for name, way in WAYS.items()
    }
    shown = [(name, *(f"{rate:.2f}" for rate in rates)) for name, rates in measured.items()]
    table(("characters, %", "UD GSD", "without quotes", "DRCD there and back"), shown)
    print("UD GSD has Mainland words in its Traditional sentences, which the guard replaces.\n")

    clean = [text for text in texts["drcd"] if not to_taiwan(text).changed]
    load = documents(clean, 500_000 if bench.quick else 3_000_000)
    simplified = [opencc.OpenCC("t2s").convert(text) for text in load[: len(load) // 10]]
    guard, plain = to_taiwan, WAYS["s2tw"]
    rates = [
        (megabytes_a_second(guard, load), megabytes_a_second(plain, load)) for _ in range(ROUNDS)
    ]
    speed, ratio = median(a for a, _ in rates), median(a / b for a, b in rates)
    on_simplified = megabytes_a_second(guard, simplified), megabytes_a_second(plain, simplified)
    table(
        ("MB/s", "guard", "s2tw"),
        [
            ("nothing to change", speed, median(b for _, b in rates)),
            ("all to change", *on_simplified),
        ],
    )
    for name, (whole, bare, trip) in measured.items():
        bench.figure(f"UD GSD accuracy of {name}", whole)
        bench.figure(f"UD GSD accuracy of {name} without quotation marks", bare)
        bench.figure(f"round trip accuracy of {name}", trip)
    bench.figure("times the speed of s2tw", ratio)
    share = counted[0][2] / counted[0][1]
    bench.at_most("DRCD paragraphs changed, share", share, CHANGED_BAR)
    ours, plainly = measured["guard"], measured["s2tw"]
    bench.at_least("UD GSD accuracy above s2tw, points", ours[0] - plainly[0], 0.1)
    bench.at_least("round trip accuracy above s2tw, points", ours[2] - plainly[2], 0.0)
    bench.at_least("MB/s of text that needs no change", speed, SPEED_BAR)
    bench.finish()


if __name__ == "__main__":
    main()
