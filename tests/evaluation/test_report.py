import re
from collections.abc import Callable
from html.parser import HTMLParser

import polars as pl
import pytest

from kyara_kedro.content import content_id
from kyara_kedro.evaluation.benchmarks import (
    HeldOut,
    Question,
    Task,
    build_tasks,
    expected_items,
    output_metrics,
)
from kyara_kedro.evaluation.comparison import compare
from kyara_kedro.evaluation.gate import Decision
from kyara_kedro.evaluation.report import ReportContext, evaluation_report
from kyara_kedro.evaluation.scores import benchmark_scores
from kyara_kedro.records import TRAINING_CURVE

HOSTILE = '</div></style><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7 * 7 }}'
VOID = {"meta", "br", "img", "link", "hr", "input"}


class _Page(HTMLParser):
    """Elements, attributes and text of a page, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.bold: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "b":
            self.bold.append(data)


def _curves() -> pl.DataFrame:
    return TRAINING_CURVE.frame(
        {
            "id": content_id(stage, step),
            "stage": stage,
            "step": step,
            "metric": "loss",
            "value": 5 / step,
        }
        for stage in ("dpo", "sft_base", "sft_refine")
        for step in range(1, 20)
    )


@pytest.fixture
def page(questions: pl.DataFrame, answered: Callable[..., pl.DataFrame]) -> Callable[..., str]:
    """Write a report on three models, whose answers to the held-out questions are given."""
    tasks: list[Task] = [
        *build_tasks(questions),
        HeldOut(
            "held_out", [Question(f"q{i:02}", "玉山有多高？", "3,952 公尺") for i in range(40)]
        ),
    ]

    def write(wrong: str = "我不知道", **context: object) -> str:
        right = {"base": 0, "sft_base": 15, "dpo": 39}
        texts = {
            model: {f"q{i:02}": "3952 公尺" if i < number else wrong for i in range(40)}
            | {f"choice-{i}": "B" for i in range(4 if model == "dpo" else 3)}
            | {f"open-{i}": "南投縣" for i in range(4)}
            for model, number in right.items()
        }
        outputs = pl.concat([answered(t, m, texts[m]) for t in tasks for m in texts])
        items = pl.concat([*(task.score(outputs) for task in tasks), output_metrics(outputs)])
        return evaluation_report(
            benchmark_scores(items),
            compare(items),
            _curves(),
            outputs,
            Decision("promote", ["✓ held_out/exact_match < 1 & good"], [], "dpo"),
            ReportContext(
                model="dpo",
                models=("base", "sft_base", "dpo", "champion"),
                items=items,
                requests=tuple(request for task in tasks for request in task.requests()),
                expected=expected_items(tasks),
                **context,  # type: ignore[arg-type]
            ),
        )

    return write


def test_the_page_is_whole_and_needs_nothing_else(page: Callable[..., str]) -> None:
    html = page()
    parsed = _Page(html)
    assert parsed.open == []
    for tag, attributes in parsed.elements:
        assert tag not in {"script", "link", "img", "iframe", "object"}
        assert not {"src", "href"} & set(attributes)
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html
    assert len([tag for tag, _ in parsed.elements if tag == "svg"]) == 2


def test_what_a_model_writes_stays_text(page: Callable[..., str]) -> None:
    html = page(HOSTILE)
    parsed = _Page(html)
    assert parsed.open == []
    assert not {"script", "img"} & {tag for tag, _ in parsed.elements}
    assert HOSTILE in parsed.text
    assert not any("onerror" in attributes for _, attributes in parsed.elements)


@pytest.mark.parametrize("character", ["\x00", "\u202e", "\ud800", "\x1b"])
def test_invisible_characters_are_shown_as_such(page: Callable[..., str], character: str) -> None:
    html = page(f"前{character}後") if character != "\ud800" else page("前\ufffd後")
    assert character not in html
    assert "前\ufffd後" in html
    html.encode("utf-8")


def test_endless_outputs_are_cut(page: Callable[..., str]) -> None:
    html = page("啊" * 5_000)
    assert "啊" * 600 + "…" in html and "啊" * 601 not in html


def test_only_the_significantly_best_score_is_bold(page: Callable[..., str]) -> None:
    parsed = _Page(page())
    assert parsed.bold.count("97.5") == 2
    assert set(parsed.bold) == {"97.5"}


def test_missing_outputs_are_shown_as_n_of_n(page: Callable[..., str]) -> None:
    assert re.search(r'class="missing">3 / 4<', page())


def test_verdict_reasons_stages_and_notes_are_there(page: Callable[..., str]) -> None:
    html = page(
        rules_corpus=True, demonstration=True, settings={"seed": 7, "解碼": {"way": "<greedy>"}}
    )
    parsed = _Page(html)
    assert html.index("升為冠軍") < html.index("held_out/exact_match &lt; 1 &amp; good")
    assert html.index("held_out/exact_match &lt;") < html.index("成績")
    for said in ("規則式程式", "tiny demonstration", "way: <greedy>", "sft_base", "Training loss"):
        assert said in parsed.text
    assert "規則式程式" not in page()


def test_examples_differ_and_regressions_name_what_was_lost(page: Callable[..., str]) -> None:
    text = _Page(page()).text
    examples, regressions = text.split("最嚴重的退步")
    assert "q00" in examples and "3952 公尺" in examples
    assert "沒有一題輸給其他模型" in regressions


def test_the_same_results_give_the_same_page(page: Callable[..., str]) -> None:
    assert page() == page()
