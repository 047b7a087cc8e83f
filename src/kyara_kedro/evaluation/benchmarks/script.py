"""Does a model write Taiwan's Chinese when it is asked in Simplified Chinese or in English?

Each prompt asks for Chinese as Taiwan writes it. What is written is measured by the
Taiwan guard (`text.taiwan`): right is a Chinese text in which it finds nothing to repair.
"""

from __future__ import annotations

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Task,
    one_turn,
    question_row,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.instructions_tw import titles
from kyara_kedro.evaluation.benchmarks.open_answer import LONGEST_OUTPUT
from kyara_kedro.records import EVALUATION_QUESTION
from kyara_kedro.text.script import language_of, script_share
from kyara_kedro.text.taiwan import examine

_SIMPLIFIED, _ENGLISH = "asked in Simplified Chinese", "asked in English"
PROMPTS = (
    ("zh-Hans-CN", _SIMPLIFIED, "请给台湾的读者讲讲“{title}”，只用繁体字和台湾的说法。"),
    ("en", _ENGLISH, "Explain “{title}” to readers in Taiwan, in Traditional Chinese."),
    ("zh-Hans-CN", _SIMPLIFIED, "我在台北上学，作业是“{title}”，请用繁体中文替我写。"),
    ("en", _ENGLISH, "I study in Taipei. In Chinese as it is written here, what is “{title}”?"),
)
"""Language, stratum and wording, taken in turn."""


class Script(Task):
    """Prompts in other scripts and languages that want Taiwan's Chinese.

    The metrics are ``taiwan_chinese`` (Chinese, without Simplified characters or Mainland words)
    and ``traditional_script`` (Chinese, without Simplified characters).
    """

    kind = "script"
    title = "Taiwan's Chinese"
    version = scorer_version("script-1", PROMPTS)
    metrics = ("taiwan_chinese", "traditional_script")

    def messages(self, question: Question) -> tuple[Message, ...]:
        """The prompt, as one user turn."""
        return one_turn(question.question)

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """Look for what is not Taiwan's; None for an output without text."""
        said = output[:LONGEST_OUTPUT]
        if not said.strip():
            return None
        chinese = language_of(said).startswith("zh")
        return {
            "taiwan_chinese": float(chinese and not examine(said, written_by_model=True).changed),
            "traditional_script": float(chinese and not script_share(said).simplified),
        }


def script_questions(passages: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Ask in Simplified Chinese and in English about the topics of passages.

    Args:
        passages: Rows of ``records.PASSAGE``.
        limit: Number of prompts; the choice depends on the ids alone.

    Returns:
        Rows of ``records.EVALUATION_QUESTION``, fewer than ``limit`` when there are no more titles.
    """
    import opencc

    simplified = opencc.OpenCC("tw2s").convert
    rows = []
    for place, (title, source, licence) in enumerate(titles(passages, limit, last=True)):
        language, stratum, prompt = PROMPTS[place % len(PROMPTS)]
        topic = title if language == "en" else simplified(title)
        question = Question(
            item_id=content_id("script", title),
            question=prompt.format(title=topic),
            stratum=stratum,
            language=language,
        )
        rows.append(
            question_row(Script.kind, Script.kind, question, source=source, licence=licence)
        )
    return EVALUATION_QUESTION.frame(rows)
