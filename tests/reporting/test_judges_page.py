import polars as pl
from tests.judging.rows import always_first, honest, tournament

from kyara_kedro.judging.ratings import contestant_ratings
from kyara_kedro.judging.reliability import reliability, warnings
from kyara_kedro.records import CANDIDATE, CONTESTANT_RATING, JUDGE_RELIABILITY, VERDICT
from kyara_kedro.reporting.judges_page import judges_page


def page(answers: pl.DataFrame, said: pl.DataFrame, gap: str | None = None) -> str:
    table = reliability(said, resamples=30, seed=0)
    ratings = contestant_ratings(answers, said, resamples=30, seed=0)
    contestants = {
        name: {"asked": 20, "answered": 12 if gap and name == "a" else 20, "out_of_reach": None}
        for name in ratings["contestant"]
    }
    if gap:
        contestants["a"] |= {"out_of_reach": gap}  # type: ignore[dict-item]
    return judges_page(table, ratings, said, answers, contestants, warnings(table))


def test_a_judge_that_always_takes_the_first_is_shown_for_what_it_is() -> None:
    answers, said = tournament(always_first, prompts=20)
    answers = answers.with_columns(
        response=pl.when(pl.col("contestant") == "a")
        .then(pl.lit("<script>alert(1)</script>\u202e"))
        .otherwise("response")
    )
    html = page(answers, said, gap="no answer for 15 s at <b>http://x</b>")
    assert "the answer shown first wins 100.0% of its decisions" in html
    assert "換序後翻轉的例子" in html
    assert "讀不出結論的回覆" not in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "\u202e" not in html
    assert "8 / 20 題沒有回答" in html
    assert "&lt;b&gt;http://x" in html


def test_an_honest_judge_has_no_warning_and_what_it_did_not_say_is_shown() -> None:
    answers, said = tournament(honest(0.2), prompts=20)
    silent = pl.col("id") == said["id"][0]
    said = said.with_columns(
        verdict=pl.when(silent).then(None).otherwise("verdict"),
        problem=pl.when(silent).then(pl.lit("form")).otherwise("problem"),
        reason=pl.when(silent).then(pl.lit("我無法判斷。")).otherwise("reason"),
    )
    html = page(answers, VERDICT.validate(said))
    assert "沒有評審被標記" in html
    assert "我無法判斷。" in html
    assert html.count("<svg") == 2


def test_a_page_without_anything() -> None:
    html = judges_page(
        JUDGE_RELIABILITY.frame(),
        CONTESTANT_RATING.frame(),
        VERDICT.frame(),
        CANDIDATE.frame(),
        {},
        [],
    )
    assert "沒有判決" in html
