import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest

from kyara_kedro.content import content_id
from kyara_kedro.evaluation.benchmarks import (
    Averaging,
    Choice,
    HeldOut,
    OpenAnswer,
    Question,
    Task,
    build_tasks,
    output_metrics,
)
from kyara_kedro.evaluation.benchmarks.harness import HarnessTask
from kyara_kedro.evaluation.comparison import compare
from kyara_kedro.evaluation.gate import Decision
from kyara_kedro.evaluation.metrics import shown
from kyara_kedro.evaluation.report import (
    Report,
    ReportContext,
    evaluation_markdown,
    evaluation_report,
    evaluation_summary,
    report_content,
)
from kyara_kedro.evaluation.scores import StatisticsOptions, benchmark_scores
from kyara_kedro.records import BENCHMARK_ITEM, JUDGEMENT, MODEL_OUTPUT, TRAINING_CURVE

HOSTILE = '</div></style><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7 * 7 }}'
VOID = {"meta", "br", "img", "link", "hr", "input"}
MODELS = ("base", "sft_base", "dpo", "champion")
FEW = StatisticsOptions(resamples=200)


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
def report(questions: pl.DataFrame, answered: Callable[..., pl.DataFrame]) -> Callable[..., Report]:
    """A report on three models, whose answers to the held-out questions are given."""
    tasks: list[Task] = [
        *build_tasks(questions),
        HeldOut(
            "held_out", [Question(f"q{i:02}", "玉山有多高？", "3,952 公尺") for i in range(40)]
        ),
    ]

    def write(wrong: str = "我不知道", **context: Any) -> Report:
        right = {"base": 0, "sft_base": 15, "dpo": 39}
        texts = {
            model: {f"q{i:02}": "3952 公尺" if i < number else wrong for i in range(40)}
            | {f"choice-{i}": "B" for i in range(4 if model == "dpo" else 3)}
            | {f"open-{i}": "南投縣" for i in range(4)}
            for model, number in right.items()
        }
        outputs = pl.concat([answered(t, m, texts[m]) for t in tasks for m in texts])
        items = pl.concat([*(task.score(outputs) for task in tasks), output_metrics(outputs)])
        return report_content(
            benchmark_scores(items, tasks, options=FEW),
            compare(items, options=FEW),
            _curves(),
            outputs,
            Decision("promote", ["✓ held_out/exact_match < 1 & good"], [], "dpo"),
            ReportContext("dpo", MODELS, tuple(tasks), items, **context),
        )

    return write


@pytest.fixture
def page(report: Callable[..., Report]) -> Callable[..., str]:
    return lambda *wrong, **context: evaluation_report(report(*wrong, **context))


class Subjects(Choice):
    title = "TMMLU+"
    chapter = "general"
    averaging = Averaging("groups", {"physics": "STEM", "chemistry": "STEM", "law": "Humanities"})


class Rated(OpenAnswer):
    title = "AlignBench CHT"
    chapter = "alignment"
    metrics = ("score",)


class RatedToo(Rated):
    title = "AlignBench CHS"


class Won(OpenAnswer):
    title = "Arena-Hard"
    chapter = "alignment"
    metrics = ("win_rate",)

    def official(
        self, items: pl.DataFrame, judgements: pl.DataFrame
    ) -> dict[tuple[str, str], tuple[float, float]]:
        return {("win_rate", "dpo"): (0.123, 0.987)}

    def expected(self) -> dict[str, int]:
        return {"win_rate": 2 * len(self.questions)}


def leaderboard_report() -> Report:
    """A report with groups, categories, pairs and a judge that was not always understood."""

    def ask(strata: tuple[str, ...], each: int) -> list[Question]:
        return [
            Question(f"{stratum}-{i}", f"{stratum}第 {i} 題？", "A", stratum=stratum)
            for stratum in strata
            for i in range(each)
        ]

    tmmlu = Subjects("tmmluplus", [
        Question(q.item_id, q.question, "A", ("甲", "乙"), stratum=q.stratum)
        for q in ask(("physics", "chemistry", "law"), 20)
    ])  # fmt: skip
    categories = ("邏輯", "數學", "寫作", "角色")
    cht, chs = Rated("align_cht", ask(categories, 4)), RatedToo("align_chs", ask(categories, 4))
    arena = Won("arena", ask(("all",), 30))
    level = {"base": 0.3, "sft_base": 0.45, "dpo": 0.9}

    def worth(task: Task, model: str, place: int) -> float:
        if task in (cht, chs):
            return round(10 * level[model]) - place % 3
        return float(place % 10 < 10 * level[model])

    def rows() -> Any:
        for task in (tmmlu, cht, chs, arena):
            name = task.metrics[0]
            for model in level:
                for place, question in enumerate(task.questions.values()):
                    if task is not arena:
                        yield task.item(question, model, name, worth(task, model, place),
                                        no_answer=task is tmmlu and place == 59)  # fmt: skip
                    elif place or model != "base":
                        for game in (1, 2):
                            yield task.item(question, model, name, worth(task, model, place),
                                            item_id=f"{question.item_id}#{game}")  # fmt: skip

    judgements = JUDGEMENT.frame(
        {
            "id": content_id(model, item, game), "benchmark": "arena", "item_id": f"{item}#{game}",
            "model": model, "opponent": "gpt", "swapped": game == 2, "verdict": None,
            "value": None if unread else 1.0, "problem": "no_verdict" if unread else None,
            "chars": chars, "opponent_chars": 900, "judge": "judge|4", "judge_family": "j",
            "prompt_version": "judge_pair/en@1234", "judged_at": f"2026-11-0{game}T00:00:00",
            "text": "",
        }
        for model, chars in (("base", 400), ("sft_base", 800), ("dpo", 1500))
        for item in arena.questions
        for game in (1, 2)
        if (unread := model == "base" and item == "all-0") in (True, False)
    )  # fmt: skip
    tasks = (tmmlu, cht, chs, arena)
    items = BENCHMARK_ITEM.frame(rows())
    outputs = MODEL_OUTPUT.frame(
        {
            "id": content_id(task.name, item, model), "benchmark": task.name, "item_id": item,
            "model": model, "messages": [{"role": "user", "content": "問"}], "output": "答",
            "stopped": True, "tokens": 1,
        }
        for task in tasks for model in level for item in task.questions
    )  # fmt: skip
    return report_content(
        benchmark_scores(items, tasks, judgements, FEW),
        compare(items, options=FEW, tasks=tasks),
        TRAINING_CURVE.frame(),
        outputs,
        Decision("hold", ["✗ no"], [], "dpo"),
        ReportContext(
            "dpo",
            MODELS,
            tasks,
            items,
            judgements,
            settings={"versions": {"numpy": "2.4"}, "models": {"dpo": "f" * 32}},
        ),
    )


@pytest.fixture(scope="module")
def leaderboard() -> Report:
    return leaderboard_report()


def test_the_page_is_whole_and_needs_nothing_else(page: Callable[..., str]) -> None:
    _check_alone(page(), pictures=3)


def _check_alone(html: str, pictures: int) -> None:
    parsed = _Page(html)
    assert parsed.open == []
    for tag, attributes in parsed.elements:
        assert tag not in {"script", "link", "img", "iframe", "object"}
        assert not {"src", "href"} & set(attributes)
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html
    assert len([tag for tag, _ in parsed.elements if tag == "svg"]) == pictures


def test_what_a_model_writes_stays_text(report: Callable[..., Report]) -> None:
    found = report(HOSTILE + "\n````\n# no heading\n")
    parsed = _Page(evaluation_report(found))
    assert parsed.open == []
    assert not {"script", "img"} & {tag for tag, _ in parsed.elements}
    assert HOSTILE in parsed.text
    assert not any("onerror" in attributes for _, attributes in parsed.elements)
    assert f"`````text\n{HOSTILE}\n````\n# no heading\n`````\n" in evaluation_markdown(found)


@pytest.mark.parametrize("character", ["\x00", "\u202e", "\ud800", "\x1b"])
def test_invisible_characters_are_shown_as_such(page: Callable[..., str], character: str) -> None:
    html = page(f"前{character}後") if character != "\ud800" else page("前\ufffd後")
    assert character not in html
    assert "前\ufffd後" in html
    html.encode("utf-8")


def test_endless_outputs_are_cut(page: Callable[..., str]) -> None:
    html = page("啊" * 1_000)
    assert "啊" * 600 + "…" in html and "啊" * 601 not in html


def test_only_the_significantly_best_score_is_bold(report: Callable[..., Report]) -> None:
    found = report()
    parsed = _Page(evaluation_report(found))
    assert parsed.bold.count("97.50") == 2
    assert set(parsed.bold) == {"97.50"}
    assert re.findall(r"\*\*([\d.]+)\*\*", evaluation_markdown(found)) == ["97.50"] * 2


def test_missing_outputs_are_shown_as_n_of_n(page: Callable[..., str]) -> None:
    html = page()
    assert re.search(r'class="missing">3 / 4<', html)
    assert "base 3 / 4 題計分 items scored；sft_base 3 / 4 題計分" in html


def test_verdict_reasons_stages_and_notes_are_there(page: Callable[..., str]) -> None:
    html = page(
        rules_corpus=True, demonstration=True, settings={"seed": 7, "解碼": {"way": "<greedy>"}}
    )
    parsed = _Page(html)
    assert html.index("升為冠軍") < html.index("held_out/exact_match &lt; 1 &amp; good")
    assert html.index("held_out/exact_match &lt;") < html.index("自有評測")
    for said in ("規則式程式", "tiny demonstration", "way: <greedy>", "sft_base", "Training loss"):
        assert said in parsed.text
    assert "規則式程式" not in page()


def test_examples_differ_and_regressions_name_what_was_lost(page: Callable[..., str]) -> None:
    text = _Page(page()).text
    examples, regressions = text.split("最嚴重的退步")
    assert "q00" in examples and "3952 公尺" in examples
    assert "沒有一題輸給其他模型" in regressions


def test_the_same_results_give_the_same_report(report: Callable[..., Report]) -> None:
    first, second = report(), report()
    for render in (evaluation_report, evaluation_markdown, evaluation_summary):
        assert render(first) == render(second)


def test_scores_stand_in_the_chapter_of_their_benchmark(leaderboard: Report) -> None:
    found = {
        one.name: [(line.title, line.part) for line in one.lines] for one in leaderboard.chapters
    }
    assert found == {
        "general": [("TMMLU+", "all"), ("TMMLU+", "Humanities"), ("TMMLU+", "STEM")],
        "alignment": [
            *(("AlignBench CHS", "all"), ("AlignBench CHT", "all"), ("Arena-Hard", "all")),
        ],
    }  # fmt: skip
    (whole, *_), (_, _, arena) = (chapter.lines for chapter in leaderboard.chapters)
    base, _, dpo = whole.cells
    assert base and dpo
    assert (base.best, base.change) == (False, 0)
    assert (dpo.best, dpo.change) == (True, 1)
    html = evaluation_report(leaderboard)
    _check_alone(html, pictures=2 + 2 + 2 + 1)
    assert "官方 12.3–98.7" in html
    assert arena.cells[-1] and arena.cells[-1].official == (0.123, 0.987)


def test_what_was_not_answered_or_not_understood_is_a_footnote(leaderboard: Report) -> None:
    general, alignment = leaderboard.chapters
    each = "1 題無答案 without an answer"
    assert general.footnotes == (f"TMMLU+：base {each}；sft_base {each}；dpo {each}",)
    said = "58 / 60 題計分 items scored、2 則評審讀不出 verdicts unread"
    assert alignment.footnotes == (f"Arena-Hard：base {said}",)


def test_benchmarks_of_the_same_categories_are_folds_of_one_table(leaderboard: Report) -> None:
    folds, subjects = sorted(leaderboard.breakdowns, key=lambda one: one.metric, reverse=True)
    assert [column.model for column in folds.columns[::2]] == ["base", "sft_base", "dpo"]
    assert [column.fold for column in folds.columns[:2]] == ["AlignBench CHS", "AlignBench CHT"]
    assert [part.name for part in folds.parts] == ["all", *sorted(("邏輯", "數學", "寫作", "角色"))]
    assert [chart.kind for chart in folds.charts] == ["radar", "radar"]
    assert [(part.name, part.level) for part in subjects.parts] == [
        ("all", "whole"),
        *(("Humanities", "group"), ("law", "stratum")),
        *(("STEM", "group"), ("chemistry", "stratum"), ("physics", "stratum")),
    ]
    assert [chart.kind for chart in subjects.charts] == ["bar", "bar"]
    total, humanities, _, stem, *_ = (part.cells[-1] for part in subjects.parts)
    assert total and humanities and stem
    assert total.score == pytest.approx((humanities.score + stem.score) / 2)


def test_win_rates_stand_against_the_lengths_that_were_compared(leaderboard: Report) -> None:
    (lengths,) = leaderboard.lengths
    assert [(point.model, point.characters) for point in lengths.points] == [
        ("base", 400), ("sft_base", 800), ("dpo", 1500)
    ]  # fmt: skip
    assert lengths.points[-1].win_rate == pytest.approx(0.9)


def test_differences_say_what_is_decided(leaderboard: Report) -> None:
    (against,) = leaderboard.against
    assert against.baseline == "base"
    assert [chart.kind for chart in against.charts] == ["forest", "forest"]
    (first, *_) = against.differences
    assert (first.title, first.outcome) == ("TMMLU+", "better")
    assert first.low < first.difference < first.high


def test_items_in_several_games_count_once_in_regressions(leaderboard: Report) -> None:
    assert leaderboard.regressions == ()
    assert {case.item_id for case in leaderboard.examples} <= {f"physics-{i}" for i in range(20)}


def test_judges_scorers_and_versions_are_told(leaderboard: Report) -> None:
    (judge,) = leaderboard.judges
    assert (judge.judge, judge.judgements, judge.unread) == ("judge|4", 180, 2)
    for text in (_Page(evaluation_report(leaderboard)).text, evaluation_markdown(leaderboard)):
        for said in ("judge_pair/en@1234", "2026-11-02", "numpy: 2.4", "f" * 32, Choice.version):
            assert said.replace("_", r"\_") in text or said in text


def test_what_a_harness_has_asked_stands_in_the_tables_under_its_own_name() -> None:
    details = {"metrics": ["acc_norm"], "version": "v"}
    tasks = [
        HarnessTask(f"lm-eval/{name}", [Question(f"q{i}", "q", details=details) for i in range(2)])
        for name in ("bbh", "gpqa")
    ]
    items = BENCHMARK_ITEM.frame(
        task.item(question, "dpo", "acc_norm", 1.0)
        for task in tasks
        for question in task.questions.values()
    )
    found = report_content(
        benchmark_scores(items, tasks),
        compare(items),
        TRAINING_CURVE.frame(),
        MODEL_OUTPUT.frame(),
        Decision("hold", [], [], "dpo"),
        ReportContext("dpo", MODELS, tuple(tasks), items),
    )
    (chapter,) = found.chapters
    assert [line.title for line in chapter.lines] == ["lm-eval/bbh", "lm-eval/gpqa"]
    assert (found.examples, found.regressions, found.breakdowns) == ((), (), ())
    assert "lm-eval/gpqa" in evaluation_report(found)


def test_three_forms_say_the_same(report: Callable[..., Report], leaderboard: Report) -> None:
    for found in (report(), leaderboard):
        html, markdown = _Page(evaluation_report(found)).text, evaluation_markdown(found)
        summary = json.loads(json.dumps(evaluation_summary(found), allow_nan=False))
        for chapter in summary["chapters"]:
            for line in chapter["lines"]:
                for cell in filter(None, line["cells"]):
                    said = shown(cell["score"], line["names"]["scale"])
                    assert said in html and said in markdown
            for note in chapter["footnotes"]:
                assert note in html and note in markdown.replace("\\", "")
        for against in summary["against"]:
            for row in against["differences"]:
                factor = 100 if row["names"]["scale"] == "share" else 1
                said = f"{factor * row['difference']:+.2f}"
                assert said in html and said in markdown
        for breakdown in summary["breakdowns"]:
            for part in breakdown["parts"]:
                assert part["name"] in html and part["name"] in markdown
        assert summary["decision"]["verdict"] == found.decision.verdict
        tables = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
        assert tables and all(_columns(table) for table in tables)


def _columns(table: str) -> bool:
    """Whether all rows of a table have the same number of cells, and there is a row."""
    rows = [re.sub(r"\\\|", "", line).count("|") for line in table.splitlines()]
    return len(rows) > 2 and len(set(rows)) == 1
