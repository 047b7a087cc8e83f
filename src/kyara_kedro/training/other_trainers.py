"""Training data in the formats of other trainers: LLaMA-Factory and axolotl.

Both read the same JSON Lines: conversations as ``messages``, and pairs as ``messages`` with the
objects ``chosen`` and ``rejected``. What differs is how a trainer is told about them, see
https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md (the OpenAI format) and
https://docs.axolotl.ai/docs/dataset-formats/conversation.html (``chat_template``),
https://docs.axolotl.ai/docs/rlhf.html (``chat_template.default``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
import yaml

from kyara_kedro.errors import UserError
from kyara_kedro.files import folder_written_whole
from kyara_kedro.training.chat import CONTROL_TOKENS, END_OF_TURN, START_OF_TURN
from kyara_kedro.training.export import exported_template

Trainer = Literal["llama-factory", "axolotl"]

_MANIFEST = "export.json"
_ROLES = ("system", "user", "assistant")
_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""White space as Python and with it every chat template cuts it; polars leaves some of it."""
_DUMMY = f"<bos>{START_OF_TURN}user\n[[dummy_message]]{END_OF_TURN}\n{START_OF_TURN}model\n"
"""What axolotl looks for an answer in, after it has rendered it behind this. An answer that is in
here already would be cut out at the wrong place."""


class Written(NamedTuple):
    """What became of a table: rows in its file, and dropped ones by reason."""

    rows: int
    dropped: dict[str, int]


def export_data(
    tables: Mapping[str, pl.LazyFrame], trainer: Trainer, target: Path
) -> dict[str, Written]:
    """Write tables of conversations or preference pairs with the trainer's description of them.

    Rows go from file to file in pieces, so memory does not grow with them. These are dropped:
    texts with a token of the chat format (``control_token``) or without a word (``blank_turn``);
    pairs that continue an open turn, which neither trainer can express (``continuation``); pairs
    whose answers are the same but for white space around them (``identical_answers``); and, for
    axolotl, pairs with an answer that it would cut out at the wrong place (``inside_template``).

    Args:
        tables: Name to rows of ``records.CONVERSATION`` or ``records.PREFERENCE``; each becomes the
            file ``<name>.jsonl``.
        trainer: For whom.
        target: The folder to make; replaced as a whole when it holds an earlier export.

    Returns:
        What became of each table.

    Raises:
        UserError: the folder holds something else.
    """
    if target.exists() and not (target.is_dir() and _ours(target)):
        raise UserError(f"{target}: holds something else; name a new folder for the export")
    written = {}
    with folder_written_whole(target) as folder:
        for name, rows in tables.items():
            written[name] = _write(rows, trainer, folder / f"{name}.jsonl")
        for file, text in _descriptions(tables, trainer).items():
            (folder / file).write_text(text, "utf-8")
        counts = {name: one._asdict() for name, one in written.items()}
        (folder / _MANIFEST).write_text(_json({"trainer": trainer, "files": counts}), "utf-8")
    return written


def _ours(target: Path) -> bool:
    return (target / _MANIFEST).is_file() or not any(target.iterdir())


def _write(rows: pl.LazyFrame, trainer: Trainer, file: Path) -> Written:
    reason = _pair_fault(trainer) if _are_pairs(rows) else _message_fault("messages")
    judged = rows.with_columns(reason=reason)
    counts = dict(judged.group_by("reason").len().collect(engine="streaming").iter_rows())
    kept = judged.filter(pl.col("reason").is_null())
    kept.select(_pair() if _are_pairs(rows) else [_trimmed("messages")]).sink_ndjson(file)
    return Written(counts.pop(None, 0), dict(sorted(counts.items())))


def _are_pairs(rows: pl.LazyFrame) -> bool:
    return "chosen" in rows.collect_schema()


def _pair() -> list[pl.Expr]:
    answers = [
        pl.struct(role=pl.lit("assistant"), content=pl.col(side).str.strip_chars(_SPACE)).alias(
            side
        )
        for side in ("chosen", "rejected")
    ]
    return [_trimmed("prompt").alias("messages"), *answers]


def _trimmed(column: str) -> pl.Expr:
    """Messages without white space around their contents, which our chat template cuts as well."""
    turn = pl.element().struct
    content = turn.field("content").str.strip_chars(_SPACE)
    return pl.col(column).list.eval(pl.struct(role=turn.field("role"), content=content))


def _pair_fault(trainer: Trainer) -> pl.Expr:
    """Why a pair is left out; null for one that is not."""
    chosen, rejected = (pl.col(side).str.strip_chars(_SPACE) for side in ("chosen", "rejected"))
    fault = (
        pl.when(pl.col("kind") == "continuation")
        .then(pl.lit("continuation"))
        .when(chosen == rejected)
        .then(pl.lit("identical_answers"))
    )
    if trainer == "axolotl":
        inside = [pl.lit(_DUMMY).str.contains(side, literal=True) for side in (chosen, rejected)]
        fault = fault.when(pl.any_horizontal(inside)).then(pl.lit("inside_template"))
    of_texts = [_text_fault(chosen), _text_fault(rejected), _message_fault("prompt")]
    return fault.otherwise(pl.coalesce(of_texts))


def _message_fault(column: str) -> pl.Expr:
    """Why messages are left out; null for those that are not."""
    faults = _text_fault(pl.element().struct.field("content").str.strip_chars(_SPACE))
    return pl.col(column).list.eval(faults).list.drop_nulls().list.first()


def _text_fault(text: pl.Expr) -> pl.Expr:
    return (
        pl.when(text.str.contains_any(list(CONTROL_TOKENS)))
        .then(pl.lit("control_token"))
        .when(text == "")
        .then(pl.lit("blank_turn"))
    )


def _descriptions(tables: Mapping[str, pl.LazyFrame], trainer: Trainer) -> dict[str, str]:
    """The files that tell the trainer what is in the others, by name."""
    pairs = {name: _are_pairs(rows) for name, rows in tables.items()}
    if trainer == "llama-factory":
        told = {f"kyara_{name}": _llama_factory(name, pair) for name, pair in pairs.items()}
        return {"dataset_info.json": _json(told)}
    configs = {f"{name}.yml": _axolotl(name, pair) for name, pair in pairs.items()}
    texts = {
        name: yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
        for name, config in configs.items()
    }
    return {"chat_template.jinja": exported_template(), **texts}


def _llama_factory(name: str, pair: bool) -> dict[str, Any]:
    """An entry of ``dataset_info.json``."""
    answers = {"chosen": "chosen", "rejected": "rejected"} if pair else {}
    return {
        "file_name": f"{name}.jsonl",
        "formatting": "sharegpt",
        **({"ranking": True} if pair else {}),
        "columns": {"messages": "messages", **answers},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            **{f"{role}_tag": role for role in _ROLES},
        },
    }


def _axolotl(name: str, pair: bool) -> dict[str, Any]:
    """The part of a configuration that is about the data and the chat format."""
    dataset: dict[str, Any] = {
        "path": f"{name}.jsonl",
        "ds_type": "json",
        "split": "train",
        "type": "chat_template.default" if pair else "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "roles": {role: [role] for role in _ROLES},
    }
    if pair:
        dataset |= {"field_chosen": "chosen", "field_rejected": "rejected"}
    else:
        dataset |= {"roles_to_train": ["assistant"], "train_on_eos": "turn"}
    return {
        **({"rl": "dpo"} if pair else {}),
        "chat_template": "jinja",
        "chat_template_jinja": "chat_template.jinja",
        "eot_tokens": [END_OF_TURN],
        "datasets": [dataset],
    }


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"
