"""Small stores of tokens and stages that learn from them, for tests."""

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.training.chat import PreferencePair, encode, encode_pair
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.launchers import run_stage
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import DPOOptions, SFTOptions
from kyara_kedro.training.stages import StageResult
from kyara_kedro.training.tokens import (
    ConversationsWriter,
    PairsWriter,
    TokensRef,
    write_tokens,
)


def conversations_store(
    model: ModelRef,
    rows: Sequence[list[Message]],
    directory: Path,
    held_out: Collection[int] = (),
    sources: Sequence[str] | None = None,
) -> TokensRef:
    """Store conversations in their order; some, by number, held out."""
    tokenizer = load_tokenizer(model)
    with write_tokens(directory, ConversationsWriter) as writer:
        numbers = [writer.add(encode(tokenizer, row)) for row in rows]
        return writer.finish(_rows(numbers, rows, held_out, sources))


def pairs_store(
    model: ModelRef,
    rows: Sequence[PreferencePair],
    directory: Path,
    held_out: Collection[int] = (),
    sources: Sequence[str] | None = None,
    chances: Sequence[tuple[float, float]] | None = None,
) -> TokensRef:
    """Store pairs in their order, with the win probabilities of both answers."""
    tokenizer = load_tokenizer(model)
    with write_tokens(directory, PairsWriter) as writer:
        numbers = [writer.add(encode_pair(tokenizer, row)) for row in rows]
        frame = _rows(numbers, rows, held_out, sources).with_columns(
            pl.Series(name, [p[i] for p in chances] if chances else [None] * len(rows), pl.Float64)
            for i, name in enumerate(("p_chosen", "p_rejected"))
        )
        return writer.finish(frame)


def learn(
    start: ModelRef, rows: Sequence[list[Message]], recipe: SFTOptions, store: Path, stage: str
) -> StageResult:
    """Fine-tune a model on conversations."""
    data = conversations_store(start, rows, store / "tokens" / stage)
    return run_stage(StageJob(stage=stage, start=start, data=data, recipe=recipe, store=store))


def prefer(
    start: ModelRef, rows: Sequence[PreferencePair], recipe: DPOOptions, store: Path
) -> StageResult:
    """Teach a model to prefer the chosen answers."""
    data = pairs_store(start, rows, store / "tokens" / "dpo")
    return run_stage(StageJob(stage="dpo", start=start, data=data, recipe=recipe, store=store))


def _rows(
    numbers: list[int],
    rows: Sequence[object],
    held_out: Collection[int],
    sources: Sequence[str] | None,
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "number": numbers,
            "id": [content_id(row) for row in rows],
            "source": sources or ["some"] * len(rows),
            "held_out": [number in held_out for number in numbers],
        }
    )
