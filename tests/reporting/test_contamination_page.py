import re

import polars as pl
import pytest

from kyara_kedro.reporting.contamination_page import contamination_page

ATTACK = "<script>alert('x')</script>&\u202e\x00"


def hits(*rows):
    schema = {
        "id": pl.String,
        "record_id": pl.String,
        "benchmark": pl.String,
        "item_id": pl.String,
        "part": pl.String,
        "coverage": pl.Float64,
        "start": pl.Int64,
        "end": pl.Int64,
        "evidence": pl.String,
    }
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def questions(*names):
    return pl.DataFrame(
        {
            "benchmark": list(names),
            "item_id": [str(number) for number in range(len(names))],
            "question": ["玉山主峰有多高？"] * len(names),
            "choices": [["3952", ATTACK]] * len(names),
            "answer": ["3952"] * len(names),
        },
        schema={
            "benchmark": pl.String,
            "item_id": pl.String,
            "question": pl.String,
            "choices": pl.List(pl.String),
            "answer": pl.String,
        },
    )


def texts(**by_id):
    return pl.DataFrame(
        {"id": list(by_id), "text": list(by_id.values()), "source": ["alpaca"] * len(by_id)},
        schema={"id": pl.String, "text": pl.String, "source": pl.String},
    )


RUNS = pl.DataFrame({"text": ["下 列 叙 述 何 者"], "questions": [12]})


def test_a_hit_is_marked_where_it_stands():
    page = contamination_page(
        hits(("h", "r1", "exam", "0", "question+answer", 0.875, 3, 11, "玉山主峰有多高？")),
        questions("exam", "exam", "other"),
        texts(r1="請問：玉山主峰有多高？3952 公尺"),
        RUNS,
    )
    assert "請問：<mark>玉山主峰有多高？</mark>3952 公尺" in page
    assert "88%" in page
    assert "alpaca" in page
    assert re.search(r"<b>1</b> / 2 題外洩", page)
    assert "沒有發現外洩" in page
    assert "下 列 叙 述 何 者" in page


def test_everything_is_escaped_and_nothing_is_fetched():
    page = contamination_page(
        hits(("h", ATTACK, ATTACK, "0", "question", 1.0, 0, 5, ATTACK)),
        questions(ATTACK),
        texts(**{ATTACK: ATTACK}),
        pl.DataFrame({"text": [ATTACK], "questions": [5]}),
    )
    assert "<script" not in page
    assert not re.search("[\x00\u202e]", page)
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert "default-src 'none'" in page


def test_what_is_not_shown_is_counted():
    rows = [(f"h{n}", f"r{n}", "exam", "0", "question", n / 50, 0, 2, "玉山") for n in range(1, 51)]
    page = contamination_page(hits(*rows), questions("exam"), texts(), RUNS, shown=3)
    assert page.count("<article") == 3
    assert "另有 47 筆" in page
    assert "r50" in page and "r1<" not in page


@pytest.mark.parametrize("names", [(), ("exam",)])
def test_nothing_found(names):
    page = contamination_page(hits(), questions(*names), texts(), RUNS.clear())
    assert "<article" not in page
    assert "不計的套語" not in page


def test_the_same_input_gives_the_same_bytes():
    given = (
        hits(("h", "r1", "exam", "0", "question", 1.0, 0, 2, "玉山")),
        questions("exam"),
        texts(r1="玉山很高"),
        RUNS,
    )
    assert contamination_page(*given) == contamination_page(*given)
