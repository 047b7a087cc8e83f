import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import AlpacaEval, ArenaHard, Question
from kyara_kedro.evaluation.benchmarks.alpaca_eval import model_is_first
from kyara_kedro.evaluation.benchmarks.arena_hard import interval
from kyara_kedro.evaluation.importing import FORMATS
from kyara_kedro.evaluation.importing.base import judgement_row, output_row
from kyara_kedro.evaluation.length_control import (
    control_length,
    packaged_instructions,
    recovered_calibration,
)
from kyara_kedro.evaluation.scores import benchmark_scores
from kyara_kedro.judging.bradley_terry import bradley_terry, sigmoid
from kyara_kedro.records import BENCHMARK_ITEM, JUDGEMENT, MODEL_OUTPUT
from kyara_kedro.teachers.tasks import AlpacaVerdict, ArenaVerdict

ROWS = [{"instruction": f"Say {i}.", "output": f"{i}!", "generator": "base"} for i in range(6)]


def alpaca_eval(rows: list[dict[str, Any]] = ROWS) -> AlpacaEval:
    return AlpacaEval("alpaca", AlpacaEval.read({"questions": rows}))


def arena_hard(number: int = 4) -> ArenaHard:
    parts = {
        "questions": [
            {"question_id": f"q{i}", "turns": [{"content": f"Do {i}."}]} for i in range(number)
        ],
        "baseline": [
            {"question_id": f"q{i}", "choices": [{"turns": [{"content": f"Done {i}."}]}]}
            for i in range(number)
        ],
    }
    return ArenaHard("arena", ArenaHard.read(parts))


def outputs(task: AlpacaEval | ArenaHard, texts: list[str]) -> pl.DataFrame:
    rows = zip(task.questions, texts, strict=False)
    return MODEL_OUTPUT.frame(output_row(task.name, item, "m", text) for item, text in rows)


def judged(name: str, item: str, value: float | None, **more: Any) -> dict[str, Any]:
    return judgement_row(name, item, "m", "judge", opponent="base", value=value, **more)


def values(items: pl.DataFrame, metric: str) -> dict[str, float]:
    rows = BENCHMARK_ITEM.validate(items).filter(pl.col("metric") == metric)
    return dict(rows.select("item_id", "value").iter_rows())


def test_a_trial_shows_the_outputs_in_the_order_that_the_instruction_draws() -> None:
    task = alpaca_eval()
    trials = list(task.trials(outputs(task, [f"mine {i}" for i in range(6)])))
    assert len({trial.swapped for trial in trials}) == 2
    for i, trial in enumerate(trials):
        assert trial.swapped != model_is_first(f"Say {i}.")
        assert trial.inputs["answer_b" if trial.swapped else "answer_a"] == f"mine {i}"
        assert trial.inputs["answer_a" if trial.swapped else "answer_b"] == f"{i}!"
        assert (trial.opponent, trial.chars, trial.opponent_chars) == ("base", 6, 2)
        model_wins = AlpacaVerdict.read("M" if trial.swapped else "m")
        assert model_wins.value(swapped=trial.swapped) == 1


def test_equal_outputs_are_a_tie_that_nobody_judges() -> None:
    task = alpaca_eval()
    mine = outputs(task, ["0!", "other"])
    assert [trial.model for trial in task.trials(mine)] == ["m"]
    item = list(task.questions)[1]
    said = JUDGEMENT.frame([judged("alpaca", item, 1.0, chars=5, opponent_chars=2)])
    assert values(task.score(mine, said), "win_rate") == {next(iter(task.questions)): 0.5, item: 1}


def test_other_instructions_have_no_length_control() -> None:
    task = alpaca_eval()
    assert task.metrics == ("win_rate", "discrete_win_rate", "average_length")
    assert task.expected() == dict.fromkeys(task.metrics, 6)
    assert "recovered" not in task.version


def test_places_of_official_instructions_suffice_for_length_control() -> None:
    """As in tables of preferences and lengths alone, of which a model may lack some."""
    known = [Question(item, item, details={"baseline": "x" * 9}) for item in ("3", "0", "1")]
    said = JUDGEMENT.frame(
        judged("alpaca", str(i), i / 40, chars=5 * i, opponent_chars=None) for i in (0, 1, 3)
    )
    task = AlpacaEval("alpaca", known)
    items = task.score(MODEL_OUTPUT.frame(), said)
    assert list(values(items, "length_controlled")) == ["0", "1", "3"]
    fit = control_length([0, 1 / 40, 3 / 40], [0, 5, 15], [9] * 3, recovered_calibration())
    said = said.with_columns(opponent_chars=pl.lit(9, pl.Int64))
    low, high = AlpacaEval("alpaca", []).official(items, said)["length_controlled", "m"]
    assert high - low == pytest.approx(2 * 1.959964 * fit.predicted.std(ddof=1) / 3**0.5)
    assert (high + low) / 2 == pytest.approx(fit.predicted.mean())
    assert "length_controlled" not in AlpacaEval("alpaca", [Question("805", "805")]).metrics


def test_preferences_become_rates_wins_and_lengths() -> None:
    task = alpaca_eval()
    items = list(task.questions)
    said = JUDGEMENT.frame(
        [
            judged("alpaca", items[0], 0.75, chars=10, opponent_chars=2),
            judged("alpaca", items[1], 0.5, chars=20, opponent_chars=2),
            judged("alpaca", items[2], 0.1, chars=30, opponent_chars=2),
            judged("alpaca", items[3], None, chars=40, opponent_chars=2),
            judged("alpaca", "elsewhere", 1.0, chars=40, opponent_chars=2),
            judged("other", items[4], 1.0, chars=40, opponent_chars=2),
        ]
    )
    scored = task.score(MODEL_OUTPUT.frame(), said)
    assert list(values(scored, "win_rate").values()) == [0.75, 0.5, 0.1]
    assert list(values(scored, "discrete_win_rate").values()) == [1, 0.5, 0]
    assert list(values(scored, "average_length").values()) == [10, 20, 30, 40]
    whole = benchmark_scores(scored, [task], said).filter(metric="win_rate", part="all")
    assert whole.select("items", "expected", "unread").row(0) == (3, 6, 1)
    error = np.std([0.75, 0.5, 0.1], ddof=1) / 3**0.5
    assert whole["official_high"].item() == pytest.approx(0.45 + 1.959964 * error)


def test_empty_outputs_are_marked() -> None:
    for task in (alpaca_eval(), arena_hard()):
        item = next(iter(task.questions))
        said = judged(task.name, item, 0.0, verdict="B>A", chars=0, opponent_chars=2)
        scored = task.score(outputs(task, [" "]), JUDGEMENT.frame([said]))
        assert scored["no_answer"].all()
        assert scored.height


def test_no_judgements_are_no_items() -> None:
    for task in (alpaca_eval(), arena_hard()):
        assert task.score(outputs(task, ["x"])).is_empty()
        assert task.official(BENCHMARK_ITEM.frame(), JUDGEMENT.frame()) == {}


@pytest.mark.parametrize("task", [alpaca_eval([{"instruction": "Say."}]), arena_hard()])
def test_a_missing_baseline_is_named(task: AlpacaEval | ArenaHard) -> None:
    bare = [Question(one.item_id, one.question) for one in task.questions.values()]
    task = type(task)(task.name, bare)
    with pytest.raises(UserError, match=rf"'{task.name}', item .*{task.kind}\.baseline\.jsonl"):
        task.check()


@pytest.mark.parametrize(
    ("task", "parts", "message"),
    [
        (AlpacaEval, {"questions": [{"text": "x"}]}, "questions, row 1: there is no field 'instr"),
        (ArenaHard, {"questions": [{"turns": []}]}, "questions, row 1: .* 'question_id' or 'uid'"),
        (
            AlpacaEval,
            {"questions": ROWS, "calibration": [{"index": 0, "std_delta_len": "x"}]},
            "calibration, row 1: std_delta_len 'x' is no number",
        ),
        (ArenaHard, {"questions": [{"uid": 1, "turns": []}]}, r"row 1: there is no 'turns\[0\]"),
        (ArenaHard, {}, "benchmark 'arena_hard': give its questions"),
        (ArenaHard, {"baseline": [{"uid": 1}]}, "baseline, row 1: there is no 'choices"),
        (AlpacaEval, {"questions": ROWS, "calibration": [{"index": 0}]}, "row 1: .*std_delta_len"),
    ],
)
def test_a_published_row_that_lacks_something_is_named(
    task: type[AlpacaEval | ArenaHard], parts: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        task.read(parts)


def test_both_games_are_played_and_strong_verdicts_count_three_times() -> None:
    task = arena_hard()
    first, second = list(task.trials(outputs(task, ["mine"])))
    assert (first.item_id, first.swapped, first.inputs["answer_b"]) == ("q0#1", True, "mine")
    assert (second.item_id, second.swapped, second.inputs["answer_a"]) == ("q0#2", False, "mine")
    assert task.expected() == {"win_rate": 8}
    strong = ArenaVerdict.read("[[B>>A]]")
    said = JUDGEMENT.frame(
        [
            judged("arena", "q0#1", strong.value(swapped=True), verdict=strong.verdict),
            judged("arena", "q0#2", 0.0, verdict="B>A"),
            judged("arena", "q1#1", None),
        ]
    )
    items = task.score(MODEL_OUTPUT.frame(), said)
    assert items.select("item_id", "value", "weight").rows() == [("q0#1", 1, 3), ("q0#2", 0, 1)]
    (row,) = benchmark_scores(items, [task], said).to_dicts()
    assert (row["score"], row["items"], row["expected"], row["unread"]) == (0.75, 2, 8, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_share_of_battles_is_bradley_terrys_chance(seed: int) -> None:
    random = np.random.default_rng(seed)
    won = random.choice([0.0, 0.5, 1.0], size=300)
    zeros = np.zeros(300, dtype=np.int64)
    found = bradley_terry(zeros + 1, zeros, won, np.arange(300), 2, resamples=0, seed=0)
    chance = float(sigmoid(found.strength[1:] - found.strength[:1])[0])
    assert chance == pytest.approx(won.mean(), abs=1e-9)


def test_the_official_interval_is_that_of_numpys_seed() -> None:
    won = pl.Series([1.0, 0.0, 0.5, 1.0])
    low, high = interval(won, pl.Series([3.0, 1.0, 1.0, 1.0]))
    np.random.seed(42)
    battles = np.array([1, 1, 1, 0, 0.5, 1])
    drawn = [battles[np.random.choice(6, size=6)].mean() for _ in range(100)]
    assert np.percentile(drawn, 2.5) == pytest.approx(low, abs=0.02)
    assert high > 0.99
    assert interval(pl.Series([1.0]), pl.Series([1.0])) == pytest.approx((1, 1), abs=1e-6)


def test_length_control_takes_away_what_length_alone_explains() -> None:
    random = np.random.default_rng(1)
    chars, opponent = random.integers(1500, 4000, 805), random.integers(100, 3000, 805)
    preferred = 1 / (1 + np.exp((opponent - chars) / 800.0))
    found = control_length(preferred, chars, opponent, recovered_calibration(), strength=21.5)
    assert preferred.mean() > 0.7
    assert abs(found.predicted.mean() - 0.5) < 0.06
    assert found.weights[0] < -1


def test_length_control_bears_missing_verdicts_and_equal_lengths() -> None:
    packaged = recovered_calibration()
    preferred = [1.0, math.nan, 0.0, 1.0]
    found = control_length(preferred, [5] * 4, [5] * 4, packaged, strength=1.0)
    assert found.predicted.shape == (4,)
    assert np.isfinite(found.predicted + found.influence).all()
    strong = control_length(preferred, [5] * 4, [5] * 4, packaged, strength=1e-4)
    assert strong.weights == pytest.approx([0, 0, 0])
    assert strong.influence == pytest.approx([0, 0, 0, 0])
    always = control_length([1.0] * 4, [5] * 4, [9] * 4, packaged, strength=1e4)
    assert np.isfinite(always.predicted + always.influence).all()
    with pytest.raises(ValueError, match="806 outputs"):
        control_length(np.ones(806), np.ones(806), np.ones(806), packaged)


def test_the_packaged_calibration_has_every_official_instruction_once() -> None:
    assert sorted(packaged_instructions().values()) == list(range(805))
    assert recovered_calibration().gamed.shape == (1610, 3)


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


ANNOTATION = {
    "instruction": "Say 0.",
    "output_1": "0!",
    "generator_1": "base",
    "output_2": "nought",
    "generator_2": "m",
    "annotator": "judge",
    "preference": 2.0,
    "dataset": "koala",
    "raw_completion": {"text": "M"},
}


def test_official_annotations_hold_questions_outputs_and_judgements(tmp_path: Path) -> None:
    rows = [ANNOTATION, {**ANNOTATION, "instruction": "Say 1.", "preference": None}]
    found = FORMATS["alpaca-eval"](written(tmp_path, *rows), "alpaca")
    MODEL_OUTPUT.validate(found.outputs)
    first, second = JUDGEMENT.validate(found.judgements).to_dicts()
    assert (first["value"], first["chars"], first["opponent_chars"]) == (1.0, 6, 2)
    assert (first["model"], first["opponent"], first["judge"]) == ("m", "base", "judge")
    assert first["verdict"] == ("m" if model_is_first("Say 0.") else "M")
    assert (second["value"], second["problem"]) == (None, "no_verdict")
    assert found.questions[0].stratum == "koala"
    task = AlpacaEval("alpaca", found.questions)
    assert found.questions == AlpacaEval.read(
        {
            "questions": [
                {
                    "instruction": f"Say {i}.",
                    "output": "0!",
                    "generator": "base",
                    "dataset": "koala",
                }
                for i in range(2)
            ]
        }
    )
    assert list(values(task.score(found.outputs, found.judgements), "win_rate").values()) == [1.0]


@pytest.mark.parametrize(
    ("saved", "value"),
    [(1, 0.0), (2, 1.0), (1.5, 0.5), (0, 0.5), ("1.25", 0.25), ("", None), ("NaN", None)],
)
def test_saved_preferences_are_read(tmp_path: Path, saved: Any, value: float | None) -> None:
    path = written(tmp_path, {**ANNOTATION, "preference": saved})
    assert FORMATS["alpaca-eval"](path, "alpaca").judgements["value"].to_list() == [value]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ANNOTATION, "preference": 3}], "row 1: preference 3 is neither"),
        ([{**ANNOTATION, "preference": "m"}], "row 1: preference 'm' is neither"),
        ([{**ANNOTATION, "output_1": 3}], r"row 1: has another form .*\(output_1 is no text\)"),
        ([{"instruction": "x", "top_logprobs": [["m"]]}], "row 1: has another form"),
        ([{"instruction_index": 0, "preference": 1, "len_1": "x"}], "row 1: has another form"),
        ([{"instruction": "x"}], "row 1: there is no field 'top_logprobs'"),
        ([{"preference": 1}], "row 1: there is no field 'instruction_index'"),
    ],
)
def test_annotations_that_cannot_be_read_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(UserError, match=rf"rows\.jsonl, {message}"):
        FORMATS["alpaca-eval"](written(tmp_path, *rows), "alpaca")


def battles(*winners: str, **more: str) -> list[dict[str, str]]:
    row = {"question_id": "q0", "model_a": "gpt-4-0314", "model_b": "m"}
    return [{**row, "winner": winner, **more} for winner in winners]


@pytest.mark.parametrize(
    ("winners", "games"),
    [
        (["tie"], [(0.5, 1)]),
        (["tie", "tie"], [(0.5, 1), (0.5, 1)]),
        (["model_b"] * 2, [(1, 1), (1, 1)]),
        (["model_b"] * 3, [(1, 3)]),
        (["model_a"] * 4, [(0, 3), (0, 1)]),
        (["model_a"] * 6, [(0, 3), (0, 3)]),
        (["model_a"] * 3 + ["tie"], [(0, 3), (0.5, 1)]),
        (["model_a", "model_b", "model_b", "model_b"], [(0, 1), (1, 3)]),
    ],
)
def test_battles_are_taken_back_to_their_games(
    tmp_path: Path, winners: list[str], games: list[tuple[float, int]]
) -> None:
    found = FORMATS["arena-hard"](written(tmp_path, *battles(*winners)), "arena")
    items = BENCHMARK_ITEM.validate(found.items)
    assert items.select("value", "weight").rows() == games
    assert items["item_id"].to_list() == ["q0#1", "q0#2"][: len(games)]
    assert arena_hard().official(items, found.judgements).keys() == {("win_rate", "m")}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (battles(*["model_a"] * 5), "question 'q0': 5 battles of m"),
        (battles("tie", "tie", "tie"), "question 'q0': 3 battles of m"),
        (battles("model_a", "model_b", "model_a"), "question 'q0': 3 battles of m"),
        (battles("model_c"), "row 1: 'model_c' won"),
        (battles("tie", model_a="gpt-5"), "row 1: 'tie' won, with 'gpt-5' as 'model_a'"),
        ([{"question_id": "q", "model": "m"}], "row 1: there is no field 'games'"),
        ([{"question_id": "q", "model": "m", "games": 2}], "row 1: has another form"),
        ([{"question_id": "q", "model": "m", "games": ["x"]}], "row 1: has another form"),
        ([{"question_id": "q", "model": "m", "games": [None]}], "row 1: there is no field 'judge'"),
    ],
)
def test_results_of_arena_hard_that_cannot_be_read_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(UserError, match=rf"rows\.jsonl, {message}"):
        FORMATS["arena-hard"](written(tmp_path, *rows), "arena")


@settings(max_examples=50, deadline=None)
@given(text=st.text(alphabet="[]AB<>= x", max_size=30), saved=st.booleans(), label=st.text())
def test_any_judgement_of_arena_hard_is_a_verdict_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, text: str, saved: bool, label: str
) -> None:
    game = {"judgment": text, "score": label} if saved else {"judgment": text}
    row = {"question_id": "q0", "model": "m", "judge": "j", "games": [game, None]}
    path = written(tmp_path_factory.mktemp("arena"), row)
    found = JUDGEMENT.validate(FORMATS["arena-hard"](path, "arena").judgements)
    assert found.height == 2
    arena_hard().score(MODEL_OUTPUT.frame(), found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
FIELDS = {
    "alpaca-eval": (*ANNOTATION, "top_logprobs", "instruction_index", "len_1"),
    "arena-hard": ("question_id", "model", "judge", "games", "winner", "model_a", "model_b"),
}


@pytest.mark.parametrize("form", FIELDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_rows_are_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    names = st.sampled_from(FIELDS[form])
    good = {"alpaca-eval": ANNOTATION, "arena-hard": battles("tie")[0]}[form]
    row = {**good, **data.draw(st.dictionaries(names, JSON, max_size=3))}
    path = written(tmp_path_factory.mktemp("any"), row)
    try:
        found = FORMATS[form](path, "any")
    except UserError as error:
        assert "rows.jsonl" in str(error)
    else:
        JUDGEMENT.validate(found.judgements)
        MODEL_OUTPUT.validate(found.outputs)
        BENCHMARK_ITEM.validate(found.items)


def test_a_saved_verdict_counts_as_it_was_saved(tmp_path: Path) -> None:
    games = [{"judgment": "[[A>B]]", "score": None}, {"judgment": "?", "score": "A>>B"}]
    row = {"question_id": "q0", "model": "m", "judge": "j", "games": games}
    found = FORMATS["arena-hard"](written(tmp_path, row), "arena").judgements
    assert found["value"].to_list() == [None, 1.0]
    assert found["problem"].to_list() == ["no_verdict", None]
    assert found["id"].n_unique() == 2
