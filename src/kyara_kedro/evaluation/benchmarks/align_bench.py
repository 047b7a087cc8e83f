"""AlignBench v1.1: 683 Chinese questions, rated by a judge who has a reference answer.

The protocol and the tables of categories are those of THUDM/AlignBench (``judge.py``,
``show_result.py`` and ``config``). Its mean counts a judgement without a score as -1:
``official_score`` does so too, while ``score`` is the mean of what was rated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any, ClassVar

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Averaging,
    Decoding,
    Question,
    Row,
    Rows,
    cluster,
    field_of,
    part_of,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.rated import Rated

GROUPS: Mapping[str, str] = {
    **dict.fromkeys(("数学计算", "逻辑推理"), "中文推理"),
    **dict.fromkeys(
        ("基本任务", "中文理解", "综合问答", "文本写作", "角色扮演", "专业能力"), "中文语言"
    ),
}
"""Group of each category."""
WARM = frozenset({"角色扮演", "文本写作", "综合问答"})
"""Categories that are asked at temperature 0.7, all others at 0.1."""
MAX_TOKENS = 4096
CONVERSION = "s2tw"
"""OpenCC configuration that makes the Traditional benchmark, unless another is named."""
UNRATED = -1.0

_DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "事实与解释型回答": ("事实正确性", "满足用户需求", "清晰度", "完备性"),
    "逻辑推理型回答": ("事实正确性", "满足用户需求", "逻辑连贯性", "完备性"),
    "生成型回答": ("事实正确性", "满足用户需求", "逻辑连贯性", "创造性", "丰富度"),
    "建议型回答": ("事实正确性", "满足用户需求", "公平与可负责程度", "创造性"),
}
"""What answers of each type are rated by."""
_MEANINGS: dict[str, str] = {
    "事实正确性": "内容是否准确，说法是否有可靠的依据。",
    "满足用户需求": "是否达到提问的目的，把要求的每一件事都做到，而且做得恰当。",
    "清晰度": "是否表达清楚、结构简明，让人一读就懂。",
    "完备性": "该有的要点和细节是否都有，没有重要的遗漏。",
    "逻辑连贯性": "从头到尾是否前后一致、步步相承，没有自相矛盾。",
    "创造性": "是否有新意，提出独到的看法或办法。",
    "丰富度": "内容是否充实而有深度，顾及不同的方面，有具体的说明和例子。",
    "公平与可负责程度": "是否顾及不同的立场，不偏不倚；建议是否可行而负责，想到了风险和后果。",
}
_SUBCATEGORIES: Mapping[str, str] = {
    "事实与解释型回答": "常识知识 阅读理解 文本分类 信息抽取 字词理解 文化理解 物理 化学 计算机 "
    "生物医学 经济 天文 历史 音乐 法律 体育 地理 文学 其他",
    "逻辑推理型回答": "证明 推理 初等数学 高等数学 应用数学",
    "生成型回答": "翻译 实用文体写作 创意文体写作 专业文体写作 其他写作类 现实生活类 游戏娱乐类 "
    "功能类 现实名人类 （虚拟）恋爱类",
    "建议型回答": "观点表达 寻求建议",
}
_TYPES = {name: kind for kind, names in _SUBCATEGORIES.items() for name in names.split()}


class AlignBench(Rated):
    """AlignBench as published, in Simplified Chinese.

    A question's ``answer`` is the reference, its stratum the category; ``details`` are the
    ``category`` and ``dimensions`` (name and meaning) that the judge is told. The score is the mean
    of the two groups' means over categories.
    """

    kind = "align_bench"
    title = "AlignBench"
    version = scorer_version("align-bench-1", _MEANINGS, MAX_TOKENS)
    metrics = ("official_score", "score")
    averaging = Averaging("groups", GROUPS)
    judged_by = "judge_align_bench"
    language: ClassVar[str] = "zh-Hans-CN"

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``questions``: question_id, category, subcategory, question, reference."""
        return [
            cls.question(row, "questions", i)
            for i, row in enumerate(part_of(parts, cls.kind), start=1)
        ]

    @classmethod
    def question(
        cls, row: Row, part: str, number: int, convert: Callable[[str], str] = str
    ) -> Question:
        """Read one question.

        Args:
            row: The published row.
            part: The file that it is from.
            number: Of the row, from 1 on.
            convert: What becomes of every text.

        Raises:
            UserError: a field is missing, or nobody knows its category or subcategory.
        """
        category = str(field_of(row, part, number, "category"))
        subcategory = str(field_of(row, part, number, "subcategory"))
        if category not in GROUPS or subcategory not in _TYPES:
            raise UserError(
                f"{part}, row {number}: category '{category}', subcategory '{subcategory}' is not "
                "of AlignBench v1.1; correct it"
            )
        dimensions = _DIMENSIONS[_TYPES[subcategory]]
        return Question(
            item_id=str(field_of(row, part, number, "question_id")),
            question=convert(str(field_of(row, part, number, "question"))),
            answer=convert(str(field_of(row, part, number, "reference"))),
            stratum=category,
            language=cls.language,
            details={
                "category": convert(category),
                "dimensions": [
                    {"name": convert(name), "meaning": convert(_MEANINGS[name])}
                    for name in dimensions
                ],
            },
        )

    def decoding(self, question: Question) -> Decoding:
        """At the category's temperature."""
        return Decoding(0.7 if question.stratum in WARM else 0.1, MAX_TOKENS)

    def shown(self, item_id: str, outputs: Mapping[str, str]) -> Mapping[str, Any] | None:
        """Question, reference and answer, and what to rate by."""
        question = self.questions[cluster(item_id)]
        return {
            "prompt": question.question,
            "reference": question.answer,
            "answer": outputs[item_id],
            "category": question.details["category"],
            "dimensions": question.details["dimensions"],
        }

    def values(self, item_id: str, rating: float | None) -> dict[str, float]:
        """The rating, and as the official scorer counts it."""
        if rating is None:
            return {"official_score": UNRATED}
        return {"official_score": rating, "score": rating}


class AlignBenchCht(AlignBench):
    """AlignBench with questions and references in Traditional script, by OpenCC.

    ``details`` and the scorer's version name the ``conversion``: its configuration and release.
    """

    kind = "align_bench_cht"
    title = "AlignBench (CHT)"
    further_parts = ("config",)
    language = "zh-Hant-TW"

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        super().__init__(name, questions)
        made = {q.details.get("conversion", "as published") for q in self.questions.values()}
        self.version = scorer_version(f"align-bench-cht-1({'+'.join(sorted(made))})", _MEANINGS)

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``questions`` as AlignBench's, and convert them.

        A row of ``config`` may name another OpenCC configuration than s2tw as ``conversion``.

        Raises:
            UserError: OpenCC has no such configuration, or as for AlignBench.
        """
        import opencc

        name = next((row["conversion"] for row in parts.get("config", ())), CONVERSION)
        try:
            convert = opencc.OpenCC(name).convert
        except RuntimeError:
            raise UserError(f"{cls.kind}: OpenCC has no conversion '{name}'; s2tw is one") from None
        conversion = {"conversion": f"{name}, OpenCC {version('opencc')}"}
        questions = (
            cls.question(row, "questions", i, convert)
            for i, row in enumerate(part_of(parts, cls.kind), start=1)
        )
        return [replace(one, details={**one.details, **conversion}) for one in questions]
