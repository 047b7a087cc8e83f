"""What conversations ask for: raw tags, the map that a person may edit, and final tags."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.datasets.encoder import TextEncoder
from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.asking import answers, fault, user
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.quality import coverage
from kyara_kedro.quality.tag_map import EDITED
from kyara_kedro.quality.tag_normalisation import Near, Places, apply_tag_map, build_tag_map
from kyara_kedro.quality.tags import (
    Request,
    Tagged,
    cleaned,
    joined,
    requests_of,
    tag_by_replies,
    tag_by_rules,
)
from kyara_kedro.reporting import tag_figures
from kyara_kedro.reporting.charts import Figure
from kyara_kedro.similarity.embeddings import embed
from kyara_kedro.similarity.semantic import similar_pairs
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, ask
from kyara_kedro.teachers.tasks import InstructionTags
from kyara_kedro.text.script import language_of

logger = logging.getLogger("kyara_kedro")
_AT_ONCE = 65_536
"""Conversations whose prompts and replies are held at once."""
_NAMED = 10


def tag_conversations(
    conversations: pl.DataFrame | pl.LazyFrame,
    tagger: Teacher,
    prompts: PromptLibrary,
    params: CurateParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tag what each conversation asks for (InsTag, arXiv:2308.07074).

    Where a teacher is asked and its reply cannot be used, the rules tag instead, and the row says
    so: no conversation is lost for want of a tag.

    Returns:
        Raw tags, and an example of each.
    """
    parts = []
    rows = conversations.lazy().select("id", "messages")
    for frame in rows.collect_batches(chunk_size=_AT_ONCE, maintain_order=True):
        requests = requests_of(frame)
        if params.tagger == "rules":
            parts.append(tag_by_rules(requests))
        else:
            parts.append(_tag_by_teacher(requests, tagger, prompts))
    return joined(parts)


def _tag_by_teacher(requests: Sequence[Request], tagger: Teacher, prompts: PromptLibrary) -> Tagged:
    told = [_question(request, prompts) for request in requests]
    replies = answers(tagger, told, "tag_conversations")
    good, failed = [], {}
    for request in requests:
        reply = replies[request.id]
        tags = _tags(reply)
        if found := fault(reply):
            failed[request.id] = ": ".join(found)
        elif not tags:
            failed[request.id] = "no_tags: the reply names none"
        else:
            good.append((request, reply.teacher, tags))
    rest = tag_by_rules([request for request in requests if request.id in failed])
    rest = rest._replace(
        raw=rest.raw.with_columns(fault=pl.col("id").replace_strict(failed, return_dtype=pl.String))
    )
    return joined([tag_by_replies(good), rest])


def _question(request: Request, prompts: PromptLibrary) -> ChatRequest:
    """Ask for tags in English of an English request, and of any other in Taiwan's Chinese."""
    language = "en" if language_of("\n".join(request.turns)) == "en" else "zh-TW"
    turns = [user(turn) for turn in request.turns]
    return ask(prompts, request.id, "tag_instruction", language, messages=turns)


def _tags(reply: Completion) -> dict[str, str]:
    if not isinstance(reply.parsed, InstructionTags):
        return {}
    return cleaned((one.tag, one.explanation) for one in reply.parsed.tags)


def normalise_tags(
    raw_tags: pl.DataFrame,
    tag_examples: pl.DataFrame,
    earlier_tag_map: pl.DataFrame,
    text_encoder: TextEncoder | None,
    embeddings: Path,
    params: CurateParams,
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Bring raw tags together by InsTag's four steps and by what a person has decided.

    Returns:
        The map from raw to final tags, each conversation's tags, and the counts.
    """
    tag_map, left = build_tag_map(
        raw_tags,
        params.tags,
        earlier=earlier_tag_map,
        examples=tag_examples,
        near=_near(text_encoder, embeddings) if text_encoder else None,
    )
    tags = apply_tag_map(raw_tags, tag_map)
    edited = tag_map.filter(step=EDITED)
    idle = edited.filter(pl.col("count") == 0)["raw"].to_list()
    in_force = edited.height - len(idle)
    summary = {
        "conversations": raw_tags.height,
        "taggers": _counted(raw_tags["tagger"]),
        "faults": _counted(raw_tags["fault"].drop_nulls().str.extract(r"^(\w+)")),
        "raw": tag_map.filter(pl.col("count") > 0).height,
        "left": left,
        "edits": {"in_force": in_force, "without_tag": len(idle), "named": idle[:_NAMED]},
        "complexity": coverage.complexity(tags),
    }
    _tell(summary)
    return tag_map, tags, summary


def _near(encoder: TextEncoder, folder: Path) -> Near:
    def near(names: Sequence[str], distance: float) -> tuple[Places, Places]:
        pairs = similar_pairs(embed([names], encoder, folder), 1 - distance).pairs
        return pairs.left, pairs.right

    return near


def _counted(names: pl.Series) -> dict[str, int]:
    return dict(sorted(Counter(names.to_list()).items()))


def _tell(summary: dict[str, Any]) -> None:
    steps = ", ".join(f"{name} {count:,}" for name, count in summary["left"].items())
    logger.info("tags: %s raw ones; left after %s", f"{summary['raw']:,}", steps)
    if summary["faults"]:
        reasons = ", ".join(f"{name} {count:,}" for name, count in summary["faults"].items())
        logger.warning("tags: the rules tagged what the teacher did not: %s", reasons)
    edits = summary["edits"]
    if edits["in_force"] or edits["without_tag"]:
        logger.info(
            "tag map: edits by hand in force: %s; of tags that nobody gives now: %s%s",
            f"{edits['in_force']:,}",
            f"{edits['without_tag']:,}",
            f" ({', '.join(edits['named'])})" if edits["named"] else "",
        )


def draw_tags(
    tags: pl.DataFrame,
    tag_summary: dict[str, Any],
    refined_conversations: pl.DataFrame,
    quality: pl.DataFrame,
) -> tuple[Figure, Figure]:
    """Draw what became of the raw tags, and how much of the final ones the selection covers."""
    chosen = refined_conversations.select("id", chosen=True)
    best_first = (
        tags.join(quality.select("id", "score"), on="id")
        .join(chosen, on="id", how="left")
        .sort("chosen", "score", "id", descending=[True, True, False], nulls_last=True)
    )
    curves = coverage.coverage(best_first)
    return (
        tag_figures.tag_coverage(curves.ordered, curves.random, refined_conversations.height),
        tag_figures.tag_steps(tag_summary["raw"], tag_summary["left"]),
    )
