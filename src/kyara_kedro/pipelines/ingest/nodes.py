"""From raw files to clean records, passages and the knowledge base."""

import hmac
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import polars as pl
from tqdm import tqdm

from kyara_kedro.content import content_id
from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.choice import right_letter
from kyara_kedro.params import IngestParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.pipelines.ingest.formats import Malformed, conversation, preference
from kyara_kedro.pipelines.ingest.readers import RawRow, read_rows
from kyara_kedro.records import (
    BENCHMARK_QUESTION,
    CONVERSATION,
    DOCUMENT,
    PASSAGE,
    PERSONA,
    PREFERENCE,
    PROMPT,
    Record,
    drops,
)
from kyara_kedro.text.chunk import chunk
from kyara_kedro.text.guard import remove_spans, unsafe_sentences
from kyara_kedro.text.length import estimate_tokens
from kyara_kedro.text.normalise import normalise
from kyara_kedro.text.script import language_of
from kyara_kedro.text.taiwan import to_taiwan

PIPELINE = "ingest"
Parsed = Callable[[RawRow], dict[str, Any]]
Table = tuple[pl.DataFrame, pl.DataFrame, int]


def read_documents(raw_documents: list[SourceFile], params: IngestParams) -> Table:
    """Read, clean and identify documents; Simplified Chinese becomes Taiwan's Chinese.

    Returns:
        Documents, drops and the number of rows read.
    """
    return _table(DOCUMENT, raw_documents, lambda row: _document(row, params))


def _document(row: RawRow, params: IngestParams) -> dict[str, Any]:
    text = _string(row.values, "text", "content", "body")
    title = " ".join(_string(row.values, "title", "name", default=row.origin).split())
    if len(text) < params.min_chars:
        raise Malformed("too_short", f"{len(text)} characters, at least {params.min_chars} wanted")
    text, title = _safe(text), _safe(title) or row.origin
    language = language_of(text)
    if language == "zh-Hans-CN":
        if params.simplified == "drop":
            raise Malformed("simplified_chinese", "the document is in Simplified Chinese")
        if params.simplified == "convert":
            title, _, text = to_taiwan(f"{title}\n{text}").text.partition("\n")
            language = language_of(text)
    if not text:
        raise Malformed("unsafe_text", "nothing is left without its instruction-like sentences")
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


def chunk_documents(documents: pl.DataFrame, params: IngestParams) -> pl.DataFrame:
    """Cut documents into passages, each a literal slice of its document's text."""
    rows = []
    for document in documents.iter_rows(named=True):
        for span in chunk(document["text"], params.passage_chars, params.overlap_sentences):
            text = document["text"][span.start : span.end]
            rows.append(
                {
                    "id": content_id("passage", document["id"], span.start, span.end),
                    "passage_id": "",
                    "document_id": document["id"],
                    "title": document["title"],
                    "text": text,
                    "start": span.start,
                    "end": span.end,
                    "language": document["language"],
                    "licence": document["licence"],
                }
            )
    return with_passage_ids(PASSAGE.frame(rows), params.salt.get_secret_value())


def with_passage_ids(passages: pl.DataFrame, salt: str = "") -> pl.DataFrame:
    """Give each passage ``id_`` and 8 hex digits, more where two would meet.

    They are the first digits of the row's id, or with a salt those of its keyed hash (HMAC-SHA256),
    which only who knows the salt can compute.
    """
    rows = passages["id"].to_list()
    source = pl.Series([_keyed(row, salt) for row in rows] if salt else rows, dtype=pl.String)
    for digits in range(8, 33):
        named = passages.with_columns(passage_id=pl.format("id_{}", source.str.head(digits)))
        if named["passage_id"].is_unique().all():
            return named
    return named


def _keyed(row_id: str, salt: str) -> str:
    return hmac.digest(salt.encode(), row_id.encode(), "sha256").hex()[:32]


def index_passages(passages: pl.DataFrame) -> pl.DataFrame:
    """Hand the passages to the knowledge base, which indexes what has changed."""
    return passages


def read_conversations(raw_conversations: list[SourceFile], params: IngestParams) -> Table:
    """Read conversations in ShareGPT, messages and Alpaca form.

    Returns:
        Conversations, drops and the number of rows read.
    """
    return _table(CONVERSATION, raw_conversations, lambda row: _conversation(row, params))


def _conversation(row: RawRow, params: IngestParams) -> dict[str, Any]:
    turns = conversation(row.values)
    source = _data_set(row.origin)
    return {
        "id": content_id("conversation", source, turns),
        "messages": turns,
        "source": source,
        "language": language_of(" ".join(turn["content"] for turn in turns)),
        "rounds": sum(turn["role"] == "user" for turn in turns),
        "tokens": sum(estimate_tokens(turn["content"]) for turn in turns),
        "teacher": None,
        "prompt_version": None,
        "parents": [row.origin],
        "licence": _licence(row, params),
    }


def read_preferences(raw_preferences: list[SourceFile], params: IngestParams) -> Table:
    """Read preference pairs in UltraFeedback-binarized, H4 and Math-Step-DPO form.

    Returns:
        Preference pairs, drops and the number of rows read.
    """
    return _table(PREFERENCE, raw_preferences, lambda row: _preference(row, params))


def _preference(row: RawRow, params: IngestParams) -> dict[str, Any]:
    pair = preference(row.values)
    scored = pair.score_chosen is not None and pair.score_rejected is not None
    return {
        "id": content_id(
            "preference", pair.source, pair.prompt, pair.prefix, pair.chosen, pair.rejected
        ),
        "kind": pair.kind,
        "prompt": pair.prompt,
        "prefix": pair.prefix,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "score_chosen": pair.score_chosen,
        "score_rejected": pair.score_rejected,
        "margin": pair.score_chosen - pair.score_rejected if scored else None,  # type: ignore[operator]
        "p_chosen": None,
        "p_rejected": None,
        "source": pair.source,
        "judge": None,
        "judged_orders": 0,
        "parents": [row.origin],
        "licence": _licence(row, params),
    }


def read_personas(raw_personas: list[SourceFile]) -> Table:
    """Read personas (PersonaHub's ``persona`` or ``input persona``).

    Returns:
        Personas, drops and the number of rows read.
    """
    return _table(PERSONA, raw_personas, _persona)


def _persona(row: RawRow) -> dict[str, Any]:
    text = _string(row.values, "persona", "input persona")
    return {
        "id": content_id("persona", text),
        "text": text,
        "source": row.origin,
        "language": language_of(text),
    }


def read_prompts(raw_prompts: list[SourceFile]) -> Table:
    """Read prompts without answers (``prompt`` or ``instruction``).

    Returns:
        Prompts, drops and the number of rows read.
    """
    return _table(PROMPT, raw_prompts, _prompt)


def _prompt(row: RawRow) -> dict[str, Any]:
    text = _string(row.values, "prompt", "instruction")
    return {
        "id": content_id("prompt", text),
        "text": text,
        "category": _string(row.values, "category", default="") or None,
        "source": row.origin,
        "language": language_of(text),
    }


def read_benchmarks(raw_benchmarks: list[SourceFile]) -> Table:
    """Read held-out questions: multiple choice and open.

    Returns:
        Benchmark questions, drops and the number of rows read.
    """
    return _table(BENCHMARK_QUESTION, raw_benchmarks, _benchmark_question)


def _benchmark_question(row: RawRow) -> dict[str, Any]:
    values = row.values
    benchmark, item = _string(values, "benchmark"), _string(values, "item_id")
    question, answer = _string(values, "question"), _string(values, "answer")
    kind, choices = _string(values, "kind"), _strings(values, "choices")
    if kind not in ("choice", "open"):
        raise Malformed("unknown_kind", f"'kind' must be 'choice' or 'open', not {kind!r}")
    if (kind == "choice") != (len(choices) > 1):
        detail = f"a choice question has two or more choices and an open one none: {len(choices)}"
        raise Malformed("malformed_choices", detail)
    if kind == "choice":
        try:
            right_letter(answer, choices)
        except UserError as error:
            raise Malformed("answer_not_a_choice", str(error)) from error
    return {
        "id": content_id("benchmark", benchmark, item),
        "benchmark": benchmark,
        "item_id": item,
        "kind": kind,
        "question": question,
        "choices": choices,
        "answer": answer,
        "aliases": _strings(values, "aliases"),
        "stratum": normalise(str(values.get("stratum") or "")) or "all",
        "language": language_of(question),
    }


def close_ingest(
    documents: pl.DataFrame,
    document_drops: pl.DataFrame,
    documents_read: int,
    conversations: pl.DataFrame,
    conversation_drops: pl.DataFrame,
    conversations_read: int,
    preferences: pl.DataFrame,
    preference_drops: pl.DataFrame,
    preferences_read: int,
    personas: pl.DataFrame,
    persona_drops: pl.DataFrame,
    personas_read: int,
    prompts: pl.DataFrame,
    prompt_drops: pl.DataFrame,
    prompts_read: int,
    benchmarks: pl.DataFrame,
    benchmark_drops: pl.DataFrame,
    benchmarks_read: int,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Merge the drops and check that rows read are rows kept plus rows dropped."""
    return close(
        [
            Flow("documents", documents_read, documents.height, document_drops),
            Flow("conversations", conversations_read, conversations.height, conversation_drops),
            Flow("preferences", preferences_read, preferences.height, preference_drops),
            Flow("personas", personas_read, personas.height, persona_drops),
            Flow("prompts", prompts_read, prompts.height, prompt_drops),
            Flow("benchmarks", benchmarks_read, benchmarks.height, benchmark_drops),
        ]
    )


def _table(record: Record, files: list[SourceFile], parse: Parsed) -> Table:
    """Parse every row; a row that cannot be read, parsed or told from an earlier one is a drop."""
    kept: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    dropped: list[tuple[str, str, str]] = []
    rows = tqdm(
        read_rows(files), f"{record.name}s", unit=" rows", disable=None, leave=False, delay=2
    )
    for row in rows:
        try:
            if row.fault:
                raise Malformed(*row.fault)
            values = parse(row)
            if values["id"] in kept:
                raise Malformed("repeated", f"same content as {places[values['id']]}")
        except Malformed as fault:
            place = content_id("row", record.name, row.origin)
            dropped.append((place, fault.reason, f"{row.origin}: {fault.detail}"))
        else:
            kept[values["id"]] = values
            places[values["id"]] = row.origin
    frame = record.frame(kept.values())
    return frame, drops(PIPELINE, dropped), len(kept) + len(dropped)


def _data_set(origin: str) -> str:
    """Name a data set by its file, without folders, line and endings."""
    return PurePosixPath(origin.partition("#")[0]).name.partition(".")[0]


def _licence(row: RawRow, params: IngestParams) -> str:
    named = row.values.get("licence") or row.values.get("license") or params.licence
    return normalise(str(named)) or params.licence


def _strings(values: Mapping[str, Any], name: str) -> list[str]:
    found = values.get(name) or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Malformed(f"malformed_{name}", f"'{name}' must be a list of texts")
    return [normalise(text) for text in found]


def _string(values: Mapping[str, Any], *names: str, default: str | None = None) -> str:
    """The first of the named values that says something, in canonical form."""
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and (text := normalise(value).strip()):
            return text
    if default is None:
        raise Malformed("missing_field", f"no text under {' or '.join(repr(n) for n in names)}")
    return default
