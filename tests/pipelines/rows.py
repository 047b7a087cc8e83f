"""Rows in the shape of the records, for tests that need particular ones."""

from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.asking import assistant, synthetic, user
from kyara_kedro.pipelines.curate import tagging
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import BENCHMARK_QUESTION, CONVERSATION, PREFERENCE, PROMPT, TAG_MAP
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.text.script import language_of


def conversations(*turns: tuple[str, ...], source: str = "open") -> pl.DataFrame:
    """Conversations of alternating turns, in their order."""
    rows = []
    for contents in turns:
        messages = [(user, assistant)[i % 2](content) for i, content in enumerate(contents)]
        language = language_of(" ".join(contents))
        rows.append(synthetic(messages, source, language, None, ["test"], "CC0-1.0"))
    return CONVERSATION.validate(CONVERSATION.frame(rows))


def tagged(pool: pl.DataFrame, params: CurateParams) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tag map and the tags of conversations, by the embedded tagger."""
    raw, examples = tagging.tag_conversations(pool, ExtractiveTeacher(), PromptLibrary(), params)
    tag_map, tags, _ = tagging.normalise_tags(raw, examples, TAG_MAP.frame(), None, Path(), params)
    return tag_map, tags


def benchmark(*questions: str) -> pl.DataFrame:
    """Open benchmark questions, numbered from 0."""
    return BENCHMARK_QUESTION.frame(
        {
            "id": content_id("benchmark", "b", number),
            "benchmark": "b",
            "item_id": str(number),
            "kind": "open",
            "question": question,
            "choices": [],
            "answer": "答案",
            "aliases": [],
            "stratum": "all",
            "source": "test",
            "licence": "CC0-1.0",
            "language": language_of(question),
        }
        for number, question in enumerate(questions)
    )


def prompts(*texts: str) -> pl.DataFrame:
    """Prompts without answers."""
    return PROMPT.frame(
        {
            "id": content_id("prompt", text),
            "text": text,
            "category": None,
            "licence": "CC0-1.0",
            "source": "test",
            "language": language_of(text),
        }
        for text in texts
    )


def pair(prompt: str, chosen: str, rejected: str, source: str = "h4") -> dict[str, Any]:
    """A preference pair without scores."""
    return {
        "id": content_id("preference", source, prompt, chosen, rejected),
        "kind": "conversation",
        "prompt": [user(prompt)],
        "prefix": None,
        "chosen": chosen,
        "rejected": rejected,
        "score_chosen": None,
        "score_rejected": None,
        "margin": None,
        "p_chosen": None,
        "p_rejected": None,
        "source": source,
        "judge": None,
        "judged_orders": 0,
        "parents": ["test"],
        "licence": "CC0-1.0",
    }


def pairs(*rows: dict[str, Any]) -> pl.DataFrame:
    """A table of preference pairs."""
    return PREFERENCE.validate(PREFERENCE.frame(rows))
