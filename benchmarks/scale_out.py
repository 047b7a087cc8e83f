"""What the method takes at 3.6 million, 100 million and 10 billion conversations.

Nothing is measured here: every number follows from `MEASURED` and `ASSUMED`, whose entries name
the page that tells how they were found. ``python benchmarks/scale_out.py`` writes the tables into
docs/scale-out.md; a test compares that page with them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "scale-out.md"
SIZES = {"3.6 million": 3_600_000, "100 million": 100_000_000, "10 billion": 10_000_000_000}
GB, TB = 1e9, 1e12
DIMENSIONS = 1024
HOUR = 3600.0
WEEK = 7 * 24 * HOUR


class Figure(NamedTuple):
    """A figure, what it is, and the page that tells how it was found."""

    value: float
    what: str
    source: str


MEASURED = {
    "ingest": Figure(0.0011, "CPU s a conversation, read and kept", "docs/scale-out.md"),
    "dedup": Figure(160 / 200_000, "CPU s a conversation, leaks included", "docs/dedup.md"),
    "index": Figure(800, "bytes a conversation, index of n-grams", "benchmarks/README.md"),
    "brute": Figure(155e9, "FLOP/s of all pairs by a matrix product", "benchmarks/README.md"),
    "saved": Figure(5.5, "times as quick as all pairs", "benchmarks/README.md"),
    "curate": Figure(0.003, "CPU s a conversation, rules and heuristics", "docs/scale-out.md"),
    "select": Figure(45 / 1e6, "CPU s a conversation, selection", "docs/curate.md"),
    "left": Figure(1_500, "bytes a conversation, decisions and tags", "docs/scale-out.md"),
    "parquet": Figure(2_331, "bytes a conversation in a table", "docs/scale-out.md"),
    "text": Figure(5_056, "bytes a conversation in memory", "docs/scale-out.md"),
    "calls": Figure(25_235 / 4_322, "calls a written conversation", "docs/scale-out.md"),
    "reply": Figure(1_463, "bytes of a reply of 400 characters in the ledger", "docs/scale-out.md"),
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
    "in": Figure(0.15e-6, "USD a token of a request", "conf/openai/catalog/teachers.yml"),
    "out": Figure(0.60e-6, "USD a token of a reply", "conf/openai/catalog/teachers.yml"),
    "H100": Figure(0.4 * 989e12, "FLOP/s of an H100 at 40 %", "docs/train.md"),
    "GPU": Figure(3, "USD an H100 hour", "your provider"),
    "reward": Figure(8.0e9, "weights of ArmoRM", "METHOD: RLHFlow/ArmoRM-Llama3-8B-v0.1"),
    "encoder": Figure(0.57e9, "weights of bge-m3, 1,024 dimensions", "BAAI/bge-m3"),
}


def value(name: str) -> float:
    """A figure by its name."""
    return (MEASURED | ASSUMED)[name].value


class Line(NamedTuple):
    """What a part takes: time, memory of one process, disk, USD; and what ends it."""

    part: str
    time: str
    memory: str
    disk: str
    money: str
    bottleneck: str


def lines(conversations: int) -> list[Line]:
    """What every pipeline takes for a corpus of a size."""
    written = conversations * value("written")
    passages = size(written / value("per passage") * value("passage"))
    calls = written * value("calls")
    chosen = conversations * value("selected")
    table = conversations * value("parquet")
    vectors = size(conversations * DIMENSIONS * 4)
    embedding = conversations * forward(value("encoder")) / HOUR
    rewards = conversations * forward(value("reward")) / HOUR
    training = conversations * value("sft_base") + chosen * value("sft_refine") + value("dpo")
    pairs = conversations**2 * DIMENSIONS / (value("brute") * value("saved"))
    return [
        Line(
            "ingest",
            cpu(conversations * value("ingest")),
            "streams",
            size(2 * table),
            "",
            "one core a kind of input",
        ),
        Line(
            "synthesize",
            f"{count(calls)} calls; searches {cpu(written / value('queries'))}",
            f"{size(written * value('text'))}, what is written",
            f"ledger {size(calls * value('reply'))}, knowledge base {passages}",
            usd(calls * (value("asked") * value("in") + value("told") * value("out"))),
            f"teachers: {count(calls / WEEK)} calls and "
            f"{count(calls * (value('asked') + value('told')) / WEEK)} tokens a second for a week",
        ),
        Line(
            "dedup by words",
            cpu(conversations * value("dedup")),
            size(conversations * value("index")),
            size(3 * table),
            "",
            "memory of the index",
        ),
        Line(
            "dedup by meaning",
            f"{gpu(embedding)}; pairs {time(pairs / HOUR)} of two cores",
            "streams over the vectors",
            vectors,
            usd(embedding * value("GPU")),
            "pairs, with the square",
        ),
        Line(
            "curate",
            f"{cpu(conversations * (value('curate') + value('select')))}; rewards {gpu(rewards)}",
            size(conversations * value("left")),
            size(table + chosen * value("parquet")),
            usd(rewards * value("GPU")),
            "the reward model",
        ),
        Line(
            "train",
            gpu(training),
            "streams",
            size((conversations + chosen) * value("tokens") * 4),
            usd(training * value("GPU")),
            "GPUs",
        ),
    ]


def ends() -> list[tuple[str, str, str]]:
    """Where a part of the method outgrows one machine: the part, how many, what ends it."""
    week_of_pairs = (WEEK * value("brute") * value("saved") / DIMENSIONS) ** 0.5
    found = [
        ("dedup by words", 64 * GB / value("index"), "64 GB of index"),
        ("dedup by words", WEEK / value("dedup"), "a week of one core"),
        ("dedup by meaning", week_of_pairs, "a week of two cores"),
        ("curate", 64 * GB / value("left"), "64 GB of what rows leave behind"),
        ("rewards of ArmoRM", WEEK / forward(value("reward")), "a week of one H100"),
        ("SFT base", WEEK / HOUR / value("sft_base"), "a week of one H100"),
        ("written conversations", value("client") * WEEK / value("calls"), "a week of one client"),
    ]
    return [(part, count(number), limit) for part, number, limit in found]


def forward(weights: float) -> float:
    """Seconds of an H100 to read one conversation with a model of so many weights."""
    return 2 * weights * value("tokens") / value("H100")


def count(number: float) -> str:
    """A number and a word."""
    for unit, name in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if number >= unit:
            return short(number / unit) + name
    return short(number)


def short(number: float) -> str:
    """A number in two digits, or in as many as stand before the point."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def size(number: float) -> str:
    """Bytes."""
    unit, name = (TB, "TB") if number >= TB else (GB, "GB")
    return f"{short(number / unit)} {name}"


def time(hours: float) -> str:
    """A time in hours, days or years."""
    if hours < 48:
        return f"{short(hours)} h"
    days = hours / 24
    return f"{short(days)} days" if days < 730 else f"{short(days / 365)} years"


def cpu(seconds: float) -> str:
    """A time of one core."""
    return f"{time(seconds / HOUR)} of a core"


def gpu(hours: float) -> str:
    """A time of one H100."""
    return f"{time(hours)} of an H100"


def usd(amount: float) -> str:
    """An amount of US dollars."""
    return count(amount)


def markdown(header: list[str], rows: Sequence[tuple[str, ...]]) -> str:
    """A table."""
    ruled = [header, ["---"] * len(header), *map(list, rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in ruled) + "\n"


def tables() -> dict[str, str]:
    """The tables of docs/scale-out.md, by what each is about."""
    figures = [
        (count(one.value) if one.value >= 1 else f"{one.value:.2g}", one.what, one.source)
        for one in (*MEASURED.values(), *ASSUMED.values())
    ]
    header = ["part", "time", "memory", "disk", "USD", "what ends it"]
    return {
        "figures": markdown(["figure", "what", "from"], figures),
        "ends": markdown(["part", "conversations", "limit"], ends()),
        **{name: markdown(header, lines(number)) for name, number in SIZES.items()},
    }


def page(text: str) -> str:
    """The page with its tables made anew; each follows a comment with its name."""
    for name, table in tables().items():
        text = re.sub(rf"(<!-- {name} -->\n\n)(?:\|.*\n)*", rf"\g<1>{table}", text)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
