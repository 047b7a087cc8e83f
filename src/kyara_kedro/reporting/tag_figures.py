"""Pictures of tags: what became of the raw ones, and how much of them a selection covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kyara_kedro.reporting.charts import Figure, line_chart, waterfall

_STEPS = {
    "frequency": "太少見 rare",
    "rule": "寫法相同 same by rule",
    "semantic": "意思相近 near meaning",
    "association": "互相蘊含 implied",
    "edited": "人工修改 by hand",
}


def tag_steps(distinct: int, left: Mapping[str, int]) -> Figure:
    """How many different tags each step removes or merges into others.

    Args:
        distinct: Different raw tags.
        left: Different tags that are left after each step.
    """
    counts = [distinct, *(left[step] for step in _STEPS)]
    return waterfall(
        "標籤怎麼合併 What became of the tags",
        list(zip(_STEPS.values(), counts, counts[1:], strict=False)),
        start="原始標籤 raw tags",
        end="最終標籤 final tags",
        added="加入 added: {}",
        x_label="相異標籤數 different tags",
    )


def tag_coverage(
    ordered: Sequence[tuple[float, float]], random: Sequence[tuple[float, float]], chosen: int
) -> Figure:
    """How many of all tags the best N conversations cover as N grows.

    Args:
        ordered: (N, share of the tags), the selected conversations first and the best of each part
            in front.
        random: The same in a random order, in the mean.
        chosen: How many are selected.
    """
    return line_chart(
        "標籤涵蓋率 Coverage of the tags",
        {"入選優先、高分在前 selected and best first": ordered, "隨機順序 random order": random},
        x_label="對話數 conversations",
        y_label="涵蓋的標籤 share of the tags",
        unit="percent",
        log_x=bool(ordered),
        mark=(float(chosen), f"入選 selected {chosen:,}") if chosen else None,
    )
