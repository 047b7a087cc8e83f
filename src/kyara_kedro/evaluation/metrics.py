"""What metrics are called and how they are read: the names behind the columns of all tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Scale = Literal["share", "rating", "length"]
"""share: 0 to 1, shown in per cent; rating: 0 to 10; length: characters."""


class Metric(NamedTuple):
    """A metric.

    Attributes:
        chinese: Its name in Chinese.
        english: And in English.
        scale: How its values are to be read.
        better: Whether more is better; None for what only describes.
    """

    chinese: str
    english: str
    scale: Scale = "share"
    better: bool | None = True


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("答對率", "accuracy"),
    "cell_accuracy": Metric("方格答對率", "cell accuracy"),
    "acc_norm": Metric("長度校正答對率", "accuracy, normalised by length"),
    "prompt_level_strict_acc": Metric("逐題遵循率", "prompts followed, strict"),
    "inst_level_strict_acc": Metric("逐項遵循率", "instructions followed, strict"),
    "prompt_level_loose_acc": Metric("逐題遵循率（寬鬆）", "prompts followed, loose"),
    "inst_level_loose_acc": Metric("逐項遵循率（寬鬆）", "instructions followed, loose"),
    "exact_match": Metric("完全相符", "exact match"),
    "prefix_exact_match": Metric("開頭相符", "begins with the answer"),
    "contains": Metric("含有答案", "contains the answer"),
    "traditional_purity": Metric("正體字純度", "Traditional purity"),
    "distinct_4": Metric("不重複度", "distinct-4"),
    "stopped": Metric("自行結束", "ended its turn"),
    "reason_length": Metric("推理長度", "length of the reasoning", "length", None),
    "score": Metric("評分", "rating", "rating"),
    "official_score": Metric("官方評分", "rating, unread ones as -1", "rating"),
    "first_turn": Metric("第一輪評分", "rating of turn 1", "rating"),
    "second_turn": Metric("第二輪評分", "rating of turn 2", "rating"),
    "citation_recall": Metric("引用召回率", "citation recall"),
    "citation_precision": Metric("引用精確率", "citation precision"),
    "refusal_accuracy": Metric("拒答正確率", "refusal accuracy"),
    "refused_when_due": Metric("該拒則拒", "refused when due"),
    "answered_when_due": Metric("該答則答", "answered when due"),
    "taiwan_chinese": Metric("臺灣中文", "Taiwan's Chinese"),
    "traditional_script": Metric("全用正體字", "Traditional throughout"),
    "ifeval_strict": Metric("遵守率（嚴格）", "strict accuracy"),
    "prompt_strict": Metric("提示全部遵守（嚴格）", "prompts, strict"),
    "prompt_loose": Metric("提示全部遵守（寬鬆）", "prompts, loose"),
    "instruction_strict": Metric("指示遵守（嚴格）", "instructions, strict"),
    "instruction_loose": Metric("指示遵守（寬鬆）", "instructions, loose"),
    "win_rate": Metric("勝率", "win rate"),
    "length_controlled": Metric("長度校正勝率", "length-controlled win rate"),
    "discrete_win_rate": Metric("勝敗計勝率", "discrete win rate"),
    "average_length": Metric("平均長度", "average length", "length", None),
}


def metric(name: str) -> Metric:
    """A metric by its name; one that nobody described is a share."""
    return METRICS.get(name) or Metric(name, name)


def shown(value: float, scale: Scale) -> str:
    """A value as tables show it: a share in per cent with two decimals, a rating with three."""
    if scale == "share":
        return f"{value * 100:.2f}"
    return f"{value:.3f}" if scale == "rating" else f"{value:.2f}"
