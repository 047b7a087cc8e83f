"""Do the averages of the Kyara README follow from its own rows? All but one do.

The figures are those of https://github.com/zake7749/kyara (README.md, version 1.0.0). Rows are
rounded to 0.01 there, so a mean of them may be off by 0.005, and by 0.005 more once it is rounded.
"""

import json
from collections.abc import Mapping

import polars as pl
import pytest

from kyara_kedro.evaluation.scores import layout
from kyara_kedro.evaluation.statistics import bootstrap_interval

from public_data import DATA, needs_data

MODELS = ("Kyara-2b-it", "Gemma-2-2b-it", "Kyara-9b-it", "Gemma-2-9b-it")
TMMLUPLUS = {
    "STEM": (43.73, 37.84, 69.54, 58.12),
    "Humanities": (38.72, 33.40, 52.64, 48.71),
    "Other": (40.61, 36.00, 57.10, 51.43),
    "Social-Science": (44.88, 39.69, 63.69, 60.84),
}
TMMLUPLUS_PUBLISHED = (41.98, 36.73, 60.74, 54.77)

JUDGED = ("Kyara-2b-it-CHT", "Kyara-2b-it-CHS", "Gemma-2-2b-it", "ChatGPT-3.5-0613")
FOLDS = {
    "基本任務": (6.72, 6.54, 6.42, 6.92),
    "中文理解": (5.78, 5.24, 5.03, 5.91),
    "綜合問答": (8.16, 7.79, 7.52, 6.47),
    "文本寫作": (7.90, 7.24, 7.76, 7.28),
    "邏輯推理": (5.26, 4.27, 4.20, 4.79),
    "數學計算": (5.99, 5.44, 5.05, 5.38),
    "角色扮演": (8.07, 8.00, 7.42, 7.00),
    "專業能力": (6.97, 6.86, 5.79, 6.81),
}
FOLDS_PUBLISHED = {
    "推理總分": (5.62, 4.85, 4.63, 5.00),
    "語言總分": (7.26, 6.94, 6.66, 6.73),
    "總分": (6.44, 5.90, 5.64, 5.91),
}
REASONING = {"邏輯推理", "數學計算", "逻辑推理", "数学计算"}
ROUNDED_TWICE = 0.01 + 1e-9


def mean(values: Mapping[str, float], groups: Mapping[str, str]) -> float:
    """The mean over groups as ``benchmark_scores`` takes it, from one value a category."""
    return bootstrap_interval(
        list(values.values()),
        list(values),
        layout=layout(pl.Series(list(values)), "groups", groups),
        seed=0,
        resamples=1,
    ).value


def alignbench(values: Mapping[str, float]) -> tuple[float, float, float]:
    """Means of the categories of reasoning, of language, and of both."""
    groups = {name: "reasoning" if name in REASONING else "language" for name in values}
    parts = {
        part: mean({n: v for n, v in values.items() if groups[n] == part}, groups)
        for part in ("reasoning", "language")
    }
    return parts["reasoning"], parts["language"], mean(values, groups)


@pytest.mark.parametrize("number", range(4), ids=MODELS)
def test_tmmluplus_is_the_mean_of_its_four_groups(number: int) -> None:
    groups = {name: values[number] for name, values in TMMLUPLUS.items()}
    assert mean(groups, {name: name for name in groups}) == pytest.approx(
        TMMLUPLUS_PUBLISHED[number], abs=ROUNDED_TWICE
    )


def test_of_the_alignbench_folds_only_chatgpts_reasoning_is_wrong() -> None:
    wrong = {}
    for number, model in enumerate(JUDGED):
        found = alignbench({name: values[number] for name, values in FOLDS.items()})
        for (name, published), value in zip(FOLDS_PUBLISHED.items(), found, strict=True):
            if abs(value - published[number]) > ROUNDED_TWICE:
                wrong[model, name] = (published[number], round(value, 3))
    # (4.79 + 5.38) / 2 is 5.085; its total of 5.91 follows from that and not from 5.00.
    assert wrong == {("ChatGPT-3.5-0613", "推理總分"): (5.00, 5.085)}
    total, language = FOLDS_PUBLISHED["總分"][3], FOLDS_PUBLISHED["語言總分"][3]
    assert (5.085 + language) / 2 == pytest.approx(total, abs=ROUNDED_TWICE)
    assert (5.00 + language) / 2 != pytest.approx(total, abs=ROUNDED_TWICE)


@needs_data
def test_alignbenchs_own_tables_follow_from_their_categories() -> None:
    rows = json.loads((DATA / "alignbench/published_tables.json").read_text(encoding="utf-8"))
    assert len(rows) == 34
    for row in rows:
        published = [row.pop(name) for name in ("中文推理", "中文语言", "总分")]
        values = {name: value for name, value in row.items() if name not in ("table", "model")}
        assert len(values) == 8
        assert alignbench(values) == pytest.approx(published, abs=0.005 + 1e-9)
