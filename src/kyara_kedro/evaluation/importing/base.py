"""Results that others have published, in their own formats: what a format gives, and its rows."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from kyara_kedro.content import all_well_formed, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Question
from kyara_kedro.records import BENCHMARK_ITEM, JUDGEMENT, MODEL_OUTPUT


@dataclass(frozen=True)
class Imported:
    """What a file of results holds.

    Attributes:
        questions: The questions, where the file repeats them; else they come from elsewhere.
        outputs: Rows of ``records.MODEL_OUTPUT``.
        judgements: Rows of ``records.JUDGEMENT``.
        items: Rows of ``records.BENCHMARK_ITEM``, where the file holds nothing but scores.
    """

    questions: list[Question] = field(default_factory=list)
    outputs: pl.DataFrame = field(default_factory=MODEL_OUTPUT.frame)
    judgements: pl.DataFrame = field(default_factory=JUDGEMENT.frame)
    items: pl.DataFrame = field(default_factory=BENCHMARK_ITEM.frame)


class Format(Protocol):
    """Reads one file of a public format."""

    def __call__(self, path: Path, benchmark: str) -> Imported:
        """Read a file.

        Args:
            path: The file; JSON, JSON lines or CSV, perhaps with ``.gz``.
            benchmark: Kind of the benchmark that it is about.

        Raises:
            UserError: naming the file, the row and what is wrong with it.
        """


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSON list, of JSON lines, or of a table with a header.

    Raises:
        UserError: the file is missing, broken, empty, of another kind, or has a row that is no
            mapping.
    """
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({why})") from None
    rows: list[Any]
    if kind in ("csv", "tsv"):
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if kind == "tsv" else ","))
    elif kind == "json":
        found = _parsed(text, str(path))
        rows = found if isinstance(found, list) else [found]
    elif kind in ("jsonl", "ndjson"):
        lines = ((i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip())
        rows = [_parsed(line, f"{path}, line {i}") for i, line in lines]
    else:
        raise UserError(f"{path}: is no .json, .jsonl, .csv or .tsv file, plain or with .gz")
    if not rows:
        raise UserError(f"{path}: holds no rows")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {number}: is no mapping but {type(row).__name__}")
    return rows


@contextmanager
def reading(path: Path, number: int) -> Iterator[None]:
    """Say of which row it is that it cannot be read.

    Args:
        path: The file.
        number: Of the row, from 1 on.

    Raises:
        UserError: a field holds something else than the format puts there.
    """
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}, row {number}: has another form than the format ({error})"
        ) from error


def output_row(
    benchmark: str, item_id: str, model: str, output: str, prompt: str = ""
) -> dict[str, Any]:
    """A row of ``records.MODEL_OUTPUT`` of a model that others have asked."""
    return {
        "id": content_id("output", benchmark, item_id, model),
        "benchmark": benchmark,
        "item_id": item_id,
        "model": model,
        "messages": [{"role": "user", "content": prompt or item_id}],
        "output": output,
        "stopped": True,
        "tokens": 0,
    }


def judgement_row(
    benchmark: str,
    item_id: str,
    model: str,
    judge: str,
    *,
    opponent: str | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """A row of ``records.JUDGEMENT`` by a judge that others have asked.

    Args:
        benchmark: Name of the benchmark.
        item_id: The item, with the suffix of a turn or game where there are several.
        model: Who was judged.
        judge: Who judged.
        opponent: Who the model was compared with.
        rest: Further columns; what is not known of them stays empty.
    """
    swapped = bool(rest.get("swapped", False))
    unknown = {
        "swapped": swapped,
        "verdict": None,
        "value": None,
        "problem": "no_verdict" if rest.get("value") is None else None,
        "chars": None,
        "opponent_chars": None,
        "judge_family": "",
        "prompt_version": "",
        "judged_at": "",
        "text": "",
    }
    return {
        "id": content_id("judgement", benchmark, item_id, model, opponent, swapped, judge),
        "benchmark": benchmark,
        "item_id": item_id,
        "model": model,
        "opponent": opponent,
        "judge": judge,
        **unknown,
        **rest,
    }


def joined(parts: Iterable[Imported]) -> Imported:
    """Put what several files hold together; a question that several repeat counts once.

    Raises:
        UserError: two files hold results of one model and item, or questions differ.
    """
    found = list(parts)
    questions: dict[str, Question] = {}
    for part in found:
        for question in part.questions:
            if questions.setdefault(question.item_id, question) != question:
                raise UserError(
                    f"item '{question.item_id}': two files hold different questions of that id"
                )
    tables = {}
    for name in ("outputs", "judgements", "items"):
        table = pl.concat([getattr(part, name) for part in found])
        twice = table.filter(pl.col("id").is_duplicated())
        if twice.height:
            row = twice.row(0, named=True)
            raise UserError(
                f"model '{row['model']}', item '{row['item_id']}': there are two results; give "
                "each file once, and models names of their own"
            )
        tables[name] = table
    return Imported(list(questions.values()), **tables)


def known_name(what: str, name: str, names: Iterable[str]) -> str:
    """The name as it is written; hyphens and underscores are the same.

    Args:
        what: What it names, for the message.
        name: The name as a person writes it.
        names: Those there are.

    Raises:
        UserError: it is none of them.
    """
    written = {one.replace("_", "-"): one for one in names}
    found = written.get(name.replace("_", "-"))
    if found is None:
        raise UserError(f"no {what} is called '{name}'; there are {', '.join(sorted(names))}")
    return found


def model_name(path: Path) -> str:
    """The model that a file is about, by its name."""
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def _parsed(text: str, where: str) -> Any:
    try:
        found = json.loads(text)
        return all_well_formed(found) if "\\u" in text else found
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{where}: is no JSON ({error})") from None
