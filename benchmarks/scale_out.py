"""What the method takes at 3.6 million, 100 million and 10 billion conversations.

Nothing is measured here: every number follows from `MEASURED` and `ASSUMED`, whose entries name
the page that tells how they were found. ``python benchmarks/scale_out.py`` prints the tables of
docs/scale-out.md; a test compares that page with them.
"""

import sys
from typing import NamedTuple

SIZES = {"3.6 million": 3_600_000, "100 million": 100_000_000, "10 billion": 10_000_000_000}
GB = 1e9
HOUR = 3600.0
WEEK = 7 * 24 * HOUR


class Figure(NamedTuple):
    """A figure, what it is, and the page that tells how it was found."""

    value: float
    what: str
    source: str


MEASURED = {
    "ingest": Figure(0.0005, "CPU s a conversation, read and kept", "docs/scale-out.md"),
    "dedup": Figure(160 / 200_000, "CPU s a conversation, leaks included", "docs/dedup.md"),
    "index": Figure(800, "bytes a conversation, index of n-grams", "benchmarks/README.md"),
    "brute": Figure(155e9, "FLOP/s of all pairs by a matrix product", "benchmarks/README.md"),
    "saved": Figure(5.5, "times as quick as all pairs", "benchmarks/README.md"),
    "curate": Figure(0.0005, "CPU s a conversation, rules and heuristics", "docs/scale-out.md"),
    "select": Figure(45 / 1e6, "CPU s a conversation, selection", "docs/curate.md"),
    "chosen": Figure(800, "bytes a conversation, selection", "docs/curate.md"),
    "parquet": Figure(2_400, "bytes a conversation in a table", "docs/scale-out.md"),
    "calls": Figure(25_235 / 4_322, "calls a written conversation", "docs/scale-out.md"),
    "client": Figure(1_552, "calls a second, one process", "benchmarks/README.md"),
    "passage": Figure(6_100, "bytes on disk a passage", "docs/knowledge_base.md"),
    "queries": Figure(120, "queries a CPU s, a million passages", "docs/knowledge_base.md"),
    "sft_base": Figure(55 / 3.6e6, "H100 hours a conversation", "docs/train.md"),
    "sft_refine": Figure(15 / 5e5, "H100 hours a selected conversation", "docs/train.md"),
    "dpo": Figure(5, "H100 hours, 150,000 pairs", "docs/train.md"),
}
ASSUMED = {
    "tokens": Figure(1_250, "tokens a conversation: 4.51 billion in 3.6 million", "Kyara's card"),
    "selected": Figure(5e5 / 3.6e6, "share that is selected", "Kyara's card"),
    "written": Figure(0.5, "share that a teacher writes, the rest is published", "your corpus"),
    "per passage": Figure(4, "conversations written of a passage", "your corpus"),
    "asked": Figure(857, "tokens of a request: 1,200 characters", "benchmarks/README.md"),
    "told": Figure(286, "tokens of a reply: 400 characters", "benchmarks/README.md"),
    "price in": Figure(0.15e-6, "USD a token of a request", "conf/openai/catalog/teachers.yml"),
    "price out": Figure(0.60e-6, "USD a token of a reply", "conf/openai/catalog/teachers.yml"),
    "H100": Figure(0.4 * 989e12, "FLOP/s of an H100 at 40 %", "docs/train.md"),
    "GPU price": Figure(3, "USD an H100 hour", "your provider"),
    "reward": Figure(8.0e9, "weights of ArmoRM", "METHOD: RLHFlow/ArmoRM-Llama3-8B-v0.1"),
    "encoder": Figure(0.57e9, "weights of bge-m3, 1,024 dimensions", "BAAI/bge-m3"),
}


def value(name: str) -> float:
    """A figure by its name."""
    return (MEASURED | ASSUMED)[name].value


class Line(NamedTuple):
    """What one pipeline takes: time, memory of one process, disk, money, and what ends it."""

    pipeline: str
    time: str
    memory: str
    disk: str
    money: str
    bottleneck: str


def lines(conversations: int) -> list[Line]:
    """What every pipeline takes for a corpus of a size."""
    written = conversations * value("written")
    passages = written / value("per passage")
    calls = written * value("calls")
    chosen = conversations * value("selected")
    table = conversations * value("parquet")
    forward = 2 * value("tokens") / value("H100") / HOUR
    embedding = conversations * value("encoder") * forward
    rewards = conversations * value("reward") * forward
    training = conversations * value("sft_base") + chosen * value("sft_refine") + value("dpo")
    pairs = conversations**2 * 1024 / (value("brute") * value("saved")) / HOUR
    searched = written / value("queries") / HOUR
    return [
        Line(
            "ingest",
            f"{cpu(conversations * value('ingest'))}",
            "streams",
            size(2 * table),
            "",
            "one core a table",
        ),
        Line(
            "synthesize",
            f"{count(calls)} calls, {count(calls / WEEK)} a second for a week; "
            f"searches {time(searched)} of a core",
            f"{size(written * value('parquet'))} written",
            f"{size(written * value('parquet'))}; knowledge base {size(passages * value('passage'))}",
            f"{usd(calls * request_price())} at list price",
            f"the teacher: {count(calls * tokens_a_call() / WEEK)} tokens a second",
        ),
        Line(
            "dedup",
            cpu(conversations * value("dedup")),
            size(conversations * value("index")),
            size(3 * table),
            "",
            "memory of the index",
        ),
        Line(
            "dedup, in meaning",
            f"{gpu(embedding)}; pairs {time(pairs)} of two cores",
            size(conversations * 1024 * 4) + " of vectors, on disk",
            size(conversations * 1024 * 4),
            usd(embedding * value("GPU price")),
            "pairs grow with the square",
        ),
        Line(
            "curate",
            f"{cpu(conversations * (value('curate') + value('select')))}; rewards {gpu(rewards)}",
            size(conversations * value("chosen")),
            size(table + chosen * value("parquet")),
            usd(rewards * value("GPU price")),
            "the reward model",
        ),
        Line(
            "train",
            gpu(training),
            "streams",
            size((conversations + chosen) * value("tokens") * 4),
            usd(training * value("GPU price")),
            "GPUs",
        ),
    ]


def ends() -> list[tuple[str, str, str]]:
    """Where a part of the method outgrows one machine: the part, the size, what ends it."""
    closest = (WEEK * value("brute") * value("saved") / 1024) ** 0.5
    return [
        ("near-duplicates by words", count(64 * GB / value("index")), "64 GB of index"),
        ("near-duplicates by words", count(WEEK / value("dedup")), "a week of one core"),
        ("near-duplicates in meaning", count(closest), "a week of two cores for the pairs"),
        ("selection", count(64 * GB / value("chosen")), "64 GB of tags and scores"),
        ("rewards on one H100", count(WEEK / (2 * value("tokens") * value("reward") / value("H100"))), "a week"),
        ("SFT on one H100", count(WEEK / HOUR / value("sft_base")), "a week"),
        ("SFT on eight", count(8 * WEEK / HOUR / value("sft_base")), "a week"),
        ("written through one process", count(value("client") * WEEK / value("calls")), "a week of its most calls"),
    ]  # fmt: skip


def request_price() -> float:
    """USD a call."""
    return value("asked") * value("price in") + value("told") * value("price out")


def tokens_a_call() -> float:
    """Tokens of a request and its reply."""
    return value("asked") + value("told")


def count(number: float) -> str:
    """A number in three digits and a word."""
    for unit, name in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def size(number: float) -> str:
    """Bytes."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if number >= unit:
            return f"{number / unit:.2g} {name}"
    return f"{number / 1e6:.0f} MB"


def time(hours: float) -> str:
    """A time in hours, days or years."""
    if hours < 48:
        return f"{hours:.2g} h"
    return f"{hours / 24:,.0f} days" if hours < 24 * 730 else f"{hours / 24 / 365:,.0f} years"


def cpu(seconds: float) -> str:
    """A time of one core."""
    return f"{time(seconds / HOUR)} of a core"


def gpu(hours: float) -> str:
    """A time of one H100."""
    return f"{time(hours)} of an H100"


def usd(amount: float) -> str:
    """An amount of money."""
    return f"{count(amount)} USD"


def markdown(header: list[str], rows: list[tuple[str, ...]]) -> str:
    """A table."""
    ruled = [header, ["---"] * len(header), *map(list, rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in ruled) + "\n"


def tables() -> dict[str, str]:
    """The tables of docs/scale-out.md, by what each is about."""
    figures = [
        (f"{one.value:.3g}" if one.value < 1e4 else count(one.value), one.what, one.source)
        for one in (*MEASURED.values(), *ASSUMED.values())
    ]
    header = ["pipeline", "time", "memory", "disk", "money", "what ends it"]
    return {
        "figures": markdown(["figure", "what", "from"], figures),
        "ends": markdown(["part", "conversations", "limit"], ends()),
        **{name: markdown(header, list(lines(number))) for name, number in SIZES.items()},
    }


if __name__ == "__main__":
    sys.stdout.write("\n".join(f"{name}\n\n{table}" for name, table in tables().items()))
