"""From raw files to clean records, passages and the knowledge base; every node streams."""

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.datasets.table import Frames, batches
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.choice import right_letter
from kyara_kedro.evaluation.suites import suite_questions
from kyara_kedro.params import IngestParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.pipelines.ingest import formats
from kyara_kedro.pipelines.ingest.formats import Malformed
from kyara_kedro.pipelines.ingest.labelled import is_rating, labelled_pair, labelled_rating
from kyara_kedro.pipelines.ingest.pairs import preference, taiwanese
from kyara_kedro.pipelines.ingest.readers import RawRow
from kyara_kedro.pipelines.ingest.rows import Table, in_memory, kept_frames, parsed_rows
from kyara_kedro.records import (
    BENCHMARK_QUESTION,
    CONVERSATION,
    DOCUMENT,
    LABELLED_PAIR,
    LABELLED_RATING,
    PASSAGE,
    PERSONA,
    PREFERENCE,
    PROMPT,
    PROTECTED_TEXT,
    Record,
)
from kyara_kedro.text.chunk import Count, chunk
from kyara_kedro.text.filters import boilerplate, quality_fault
from kyara_kedro.text.guard import remove_spans, unsafe_sentences
from kyara_kedro.text.leaks import LeakReport, guarded
from kyara_kedro.text.length import estimate_tokens
from kyara_kedro.text.normalise import normalise
from kyara_kedro.text.script import language_of

Values = dict[str, Any]

_BELOW = " › "
_PART = re.compile(r"[^\s:]{1,60}")
"""A part of a data set, in contrast to the address or the words that some rows have as source."""
_SHARD = re.compile(r"[-_.]\d{3,}-of-\d{3,}\Z")
_SPLITS = frozenset(("train", "test", "validation", "valid", "dev", "data", "default"))


def parse_documents(
    raw_documents: list[SourceFile], params: IngestParams
) -> tuple[Frames, dict[str, Any]]:
    """Read, clean and identify documents; Simplified Chinese becomes Taiwan's Chinese.

    Returns:
        The rows, and the leaks of Simplified and Mainland Chinese by file that has some, which are
        there once the rows have been read: the first output is saved before the second.
    """
    report: dict[str, Any] = {}

    def frames() -> Iterator[pl.DataFrame]:
        leaks = LeakReport()
        yield from parsed_rows(DOCUMENT, raw_documents, lambda row: _document(row, params, leaks))
        for file, found in leaks.summary().items():
            if found["texts_with_leaks"] or found["reported"]["texts"]:
                report[file] = found

    return Frames(frames), report


def _document(row: RawRow, params: IngestParams, leaks: LeakReport) -> Values:
    text = _string(row.values, "text", "content", "body")
    named = PurePosixPath(row.origin.partition("#")[0]).name.partition(".")[0]
    title = " ".join(_string(row.values, "title", "name", default=named).split())
    if len(text) < params.min_chars:
        raise Malformed("too_short", f"{len(text)} characters, at least {params.min_chars} wanted")
    text = remove_spans(text, boilerplate(text)).strip()
    text, title = _safe(text), _safe(title) or named
    if not text:
        raise Malformed("nothing_left", "nothing but boilerplate and instruction-like sentences")
    language = language_of(text)
    if language in ("zh-Hant-TW", "zh-Hans-CN", "zh"):
        whole = f"{title}\n{text}"
        found = guarded(whole, params.simplified)
        leaks.add(row.origin.partition("#")[0], found, whole)
        if found.fault:
            raise Malformed(*found.fault)
        title, _, text = found.text.partition("\n")
        language = language_of(text) if found.changed else language
    if fault := quality_fault(text, params.filters):
        raise Malformed(*fault)
    return {
        "id": content_id("document", title, text),
        "title": title,
        "text": text,
        "source": row.origin,
        "licence": _licence(row, params),
        "url": _string(row.values, "url", default="") or None,
        "language": language,
    }


def _safe(text: str) -> str:
    """A text without the sentences that would speak to the model."""
    return remove_spans(text, unsafe_sentences(text)).strip()


def cut_documents(document_rows: pl.LazyFrame, params: IngestParams) -> Frames:
    """Cut the kept documents into passages, each a literal slice of its document's text.

    Their ids are as long as can be; `index_passages` shortens them.
    """
    count = _token_count(params)
    return Frames(
        lambda: (
            _passages(documents, params, count)
            for documents in kept_frames(DOCUMENT, document_rows)
        )
    )


def _passages(documents: pl.DataFrame, params: IngestParams, count: Count | None) -> pl.DataFrame:
    salt = params.salt.get_secret_value()
    rows = []
    for document in documents.iter_rows(named=True):
        passages = chunk(
            document["text"],
            params.passage_chars,
            params.overlap_sentences,
            max_tokens=params.passage_tokens,
            count=count,
        )
        for passage in passages:
            row_id = content_id("passage", document["id"], passage.start, passage.end)
            rows.append(
                {
                    "id": row_id,
                    "passage_id": _name(row_id, salt),
                    "document_id": document["id"],
                    "title": _BELOW.join((document["title"], *passage.headings)),
                    "text": passage.of(document["text"]),
                    "start": passage.start,
                    "end": passage.end,
                    "language": document["language"],
                    "licence": document["licence"],
                }
            )
    return PASSAGE.frame(rows)


def _token_count(params: IngestParams) -> Count | None:
    """Counts tokens with the tokenizer of the parameters; None where they are estimated.

    Raises:
        UserError: the file is no tokenizer.
    """
    if not (params.tokenizer and params.passage_tokens):
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(params.tokenizer)
    except Exception as error:  # the library raises nothing more specific
        raise UserError(
            f"ingest.tokenizer: {params.tokenizer} is no tokenizer.json ({error}); name one, or "
            "null to estimate tokens"
        ) from error

    def count(texts: Sequence[str]) -> list[int]:
        return [
            len(found) for found in tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]

    return count


def _name(row_id: str, salt: str) -> str:
    """The longest id that prompts may show for a row.

    It is the row's own, or with a salt its keyed hash (HMAC-SHA256), which only who knows the salt
    can compute.
    """
    digits = hmac.digest(salt.encode(), row_id.encode(), "sha256").hex()[:32] if salt else row_id
    return f"id_{digits}"


def index_passages(passage_rows: pl.LazyFrame) -> tuple[Frames, Frames]:
    """Name the passages, and hand them to the knowledge base, which indexes what has changed."""
    name = _shortened(passage_rows)
    passages = Frames(lambda: (frame.with_columns(name) for frame in batches(passage_rows)))
    return passages, passages


def _shortened(passages: pl.LazyFrame) -> pl.Expr:
    """Passage ids of 8 digits; only those that would meet have more, so that others stay."""
    name = pl.col("passage_id")
    left = passages.select(name).collect()
    lengths = [len("id_") + digits for digits in range(8, 33)]
    short = name.str.head(lengths[0])
    for length, longer in pairwise(lengths):
        meeting = pl.col("passage_id").str.head(length)
        left = left.filter(meeting.is_duplicated())
        if left.is_empty():
            break
        met = left["passage_id"].implode()
        short = pl.when(name.is_in(met)).then(name.str.head(longer)).otherwise(short)
    return short


def with_passage_ids(passages: pl.DataFrame, salt: str = "") -> pl.DataFrame:
    """Give each passage of a table ``id_`` and 8 hex digits, more where two would meet."""
    names = pl.Series("passage_id", [_name(row, salt) for row in passages["id"]], pl.String)
    named = passages.with_columns(names)
    return named.with_columns(_shortened(named.lazy()))


def parse_conversations(raw_conversations: list[SourceFile], params: IngestParams) -> Frames:
    """Read conversations; `formats.conversation` says in which forms."""
    return parsed_rows(CONVERSATION, raw_conversations, lambda row: _conversation(row, params))


def _conversation(row: RawRow, params: IngestParams) -> Values:
    turns = formats.conversation(row.values)
    source = _data_set(row)
    part = _string(row.values, "source", "dataset", default="")
    if _PART.fullmatch(part):
        source = f"{source}/{part}"
    return {
        "id": content_id("conversation", source, turns),
        "messages": turns,
        "source": source,
        "language": language_of(" ".join(turn["content"] for turn in turns)),
        "rounds": sum(turn["role"] == "user" for turn in turns),
        "tokens": sum(estimate_tokens(turn["content"]) for turn in turns),
        "teacher": None,
        "prompt_version": None,
        "passage_ids": [],
        "calls": [],
        "parents": [row.origin],
        "licence": _licence(row, params),
    }


def parse_preferences(raw_preferences: list[SourceFile], params: IngestParams) -> Frames:
    """Read preference pairs; `pairs.preference` says in which forms."""
    return parsed_rows(PREFERENCE, raw_preferences, lambda row: _preference(row, params))


def _preference(row: RawRow, params: IngestParams) -> Values:
    pair = taiwanese(preference(row.values, params.reward_margin), params.simplified)
    source = _data_set(row)
    return {
        "id": content_id(
            "preference", source, pair.prompt, pair.prefix, pair.chosen, pair.rejected
        ),
        "kind": pair.kind,
        "prompt": pair.prompt,
        "prefix": pair.prefix,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "score_chosen": pair.score_chosen,
        "score_rejected": pair.score_rejected,
        "margin": pair.margin,
        "p_chosen": None,
        "p_rejected": None,
        "source": source,
        "judge": pair.judge,
        "judged_orders": 0,
        "parents": [row.origin],
        "licence": _licence(row, params),
    }


def parse_personas(raw_personas: list[SourceFile], params: IngestParams) -> Frames:
    """Read personas (PersonaHub's ``persona`` or ``input persona``)."""
    return parsed_rows(PERSONA, raw_personas, lambda row: _persona(row, params))


def _persona(row: RawRow, params: IngestParams) -> Values:
    text = _string(row.values, "persona", "input persona")
    return {
        "id": content_id("persona", text),
        "text": text,
        "source": row.origin,
        "language": language_of(text),
        "licence": _licence(row, params),
    }


def parse_prompts(raw_prompts: list[SourceFile], params: IngestParams) -> Frames:
    """Read prompts, without the answers that they may have; `formats.prompt` says from where."""
    return parsed_rows(PROMPT, raw_prompts, lambda row: _prompt(row, params))


def _prompt(row: RawRow, params: IngestParams) -> Values:
    text = normalise(formats.prompt(row.values))
    return {
        "id": content_id("prompt", text),
        "text": text,
        "category": _string(row.values, "category", "task_category", default="") or None,
        "source": row.origin,
        "language": language_of(text),
        "licence": _licence(row, params),
    }


def parse_benchmarks(raw_benchmarks: list[SourceFile], params: IngestParams) -> Frames:
    """Read held-out questions, multiple choice and open; see `formats.benchmark_question`."""
    return parsed_rows(
        BENCHMARK_QUESTION,
        raw_benchmarks,
        lambda row: _benchmark_question(row, params),
        _questions,
    )


def _questions(row: RawRow) -> Iterator[RawRow]:
    """A row, or the questions that are nested in it."""
    found = list(formats.nested_questions(row.values))
    for number, values in enumerate(found, start=1):
        yield RawRow(f"{row.origin}.{number}", values, None, row.licence, row.data_set)
    if not found:
        yield row


def _benchmark_question(row: RawRow, params: IngestParams) -> Values:
    values = row.values
    benchmark = _string(values, "benchmark", default=_data_set(row))
    stratum = _string(values, "stratum", "subject", default="")
    item = _string(values, "item_id", default="") or _item(row, stratum)
    found = formats.benchmark_question(values)
    choices = [normalise(choice) for choice in found.choices]
    answer = normalise(found.answer)
    if found.kind == "choice":
        try:
            right_letter(answer, choices)
        except UserError as error:
            raise Malformed("answer_not_a_choice", str(error)) from error
    return {
        "id": content_id("benchmark", benchmark, item),
        "benchmark": benchmark,
        "item_id": item,
        "kind": found.kind,
        "question": normalise(found.question),
        "choices": choices,
        "answer": answer,
        "aliases": [normalise(alias) for alias in found.aliases],
        "stratum": stratum or "all",
        "source": row.origin,
        "language": language_of(found.question),
        "licence": _licence(row, params),
    }


def read_suites(raw_suites: list[SourceFile], params: IngestParams) -> pl.DataFrame:
    """Read published benchmarks; one that is not whole would be another benchmark.

    Raises:
        UserError: naming the file, the row and what is wrong with it.
    """
    return suite_questions((file.path, file.licence or params.licence) for file in raw_suites)


def parse_protected(raw_protected: list[SourceFile], params: IngestParams) -> Frames:
    """Read texts that no training record may hold: lines of plain text, or prompts as rows."""
    return parsed_rows(
        PROTECTED_TEXT, raw_protected, lambda row: _protected_text(row, params), _lines
    )


def _lines(row: RawRow) -> Iterator[RawRow]:
    """A row, or the lines of a file of plain text."""
    if PurePosixPath(row.origin).suffix not in (".txt", ".md") or row.fault:
        yield row
        return
    title, text = row.values["title"], row.values["text"]
    of_its_own = title != PurePosixPath(row.origin).name.partition(".")[0]
    for number, line in enumerate([title] * of_its_own + text.splitlines(), start=1):
        if line.strip():
            yield replace(row, origin=f"{row.origin}#{number}", values={"text": line})


def _protected_text(row: RawRow, params: IngestParams) -> Values:
    text = _string(row.values, "text", "content", "problem", default="")
    text = text or normalise(formats.prompt(row.values))
    benchmark = _data_set(row)
    return {
        "id": content_id("protected", benchmark, text),
        "benchmark": benchmark,
        "item_id": row.origin,
        "text": text,
        "source": row.origin,
        "language": language_of(text),
        "licence": _licence(row, params),
    }


def parse_labelled(raw_labelled: list[SourceFile], params: IngestParams) -> Frames:
    """Read pairs that people have judged; `labelled_pair` says in which forms.

    Rows that are ratings are left to `parse_ratings`, which reads the same files.
    """
    return parsed_rows(
        LABELLED_PAIR,
        raw_labelled,
        lambda row: _labelled(row, params),
        lambda row: () if is_rating(row.values) else (row,),
    )


def _labelled(row: RawRow, params: IngestParams) -> Values:
    pair = labelled_pair(row.values)
    data_set = _data_set(row)
    return {
        "id": content_id("labelled", data_set, pair.prompt, pair.first, pair.second, row.origin),
        "data_set": data_set,
        "prompt": pair.prompt,
        "first": pair.first,
        "second": pair.second,
        "label": pair.label,
        "labels": pair.labels,
        "first_contestant": pair.contestants[0],
        "second_contestant": pair.contestants[1],
        "source": row.origin,
        "language": language_of(pair.prompt),
        "licence": _licence(row, params),
    }


def parse_ratings(raw_labelled: list[SourceFile], params: IngestParams) -> Frames:
    """Read answers that people have scored; `labelled_rating` says in which forms."""
    return parsed_rows(
        LABELLED_RATING,
        raw_labelled,
        lambda row: _rating(row, params),
        lambda row: (row,) if is_rating(row.values) else (),
    )


def _rating(row: RawRow, params: IngestParams) -> Values:
    one = labelled_rating(row.values)
    data_set = _data_set(row)
    return {
        "id": content_id("labelled rating", data_set, one.prompt, one.answer, row.origin),
        "data_set": data_set,
        "prompt": one.prompt,
        "answer": one.answer,
        "reference": one.reference,
        "rating": one.rating,
        "contestant": one.contestant,
        "source": row.origin,
        "language": language_of(f"{one.prompt}\n{one.reference or ''}"),
        "licence": _licence(row, params),
    }


def _item(row: RawRow, stratum: str) -> str:
    """A question's id where its row names one, unique in its subject alone; else its place."""
    number = row.values.get("id")
    number = str(number) if isinstance(number, int) else _string(row.values, "id", default="")
    return "/".join(filter(None, (stratum, number))) if number else row.origin


def close_ingest(*flows: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Merge the drops and check that rows read are rows kept plus rows dropped.

    Args:
        flows: Drops, rows read and rows kept of each kind, in the order of `KINDS`.
    """
    parts = zip(KINDS, flows[::3], flows[1::3], flows[2::3], strict=True)
    return close([Flow(name, read, kept, dropped) for name, dropped, read, kept in parts])


KINDS: dict[str, Record] = {
    "documents": DOCUMENT,
    "conversations": CONVERSATION,
    "preferences": PREFERENCE,
    "personas": PERSONA,
    "prompts": PROMPT,
    "benchmarks": BENCHMARK_QUESTION,
    "protected": PROTECTED_TEXT,
    "labelled": LABELLED_PAIR,
    "ratings": LABELLED_RATING,
}


def read_documents(raw_documents: list[SourceFile], params: IngestParams) -> Table:
    """Documents, drops and the number of rows read, of a corpus that fits in memory."""
    rows, _ = parse_documents(raw_documents, params)
    return in_memory(DOCUMENT, rows)


def read_personas(raw_personas: list[SourceFile], params: IngestParams) -> Table:
    """Personas, drops and the number of rows read, of files that fit in memory."""
    return in_memory(PERSONA, parse_personas(raw_personas, params))


def chunk_documents(documents: pl.DataFrame, params: IngestParams) -> pl.DataFrame:
    """Passages, with their ids, of documents that fit in memory."""
    passages = _passages(documents, params, _token_count(params))
    return passages.with_columns(_shortened(passages.lazy()))


def _data_set(row: RawRow) -> str:
    """Name a data set: by its card, or by its file, or the file's folder where it is a split."""
    if row.data_set:
        return row.data_set
    path = PurePosixPath(row.origin.partition("#")[0])
    names = [_SHARD.sub("", path.name.partition(".")[0]), *(part.name for part in path.parents)]
    return next((name for name in names if name and name not in _SPLITS), names[0])


def _licence(row: RawRow, params: IngestParams) -> str:
    """The row's own licence, or its file's, or the parameter's."""
    own = row.values.get("licence") or row.values.get("license")
    return normalise(str(own or "")) or normalise(row.licence or "") or params.licence


def _string(values: Mapping[str, Any], *names: str, default: str | None = None) -> str:
    """The first of the named values that says something, in canonical form."""
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and (text := normalise(value).strip()):
            return text
    if default is None:
        raise Malformed("missing_field", f"no text under {' or '.join(repr(n) for n in names)}")
    return default
