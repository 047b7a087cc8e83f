"""`kedro dedup-report`: thresholds chosen anew from stored pairs, and the page of the margin."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.params import DedupParams
from kyara_kedro.pipelines.dedup.report import (
    adoption,
    against_stored,
    chosen_thresholds,
    draw_duplicates,
    limits,
    margin_pairs,
    review,
    similarity_spread,
    threshold_table,
    told,
)
from kyara_kedro.records import COMPARED_TEXT, SIMILAR_PAIR
from kyara_kedro.similarity.resolve import resolve

from support import run_kedro

THRESHOLDS, FLOORS = {"lexical": 0.7, "semantic": 0.95}, {"lexical": 0.6, "semantic": 0.9}
PAIRS = SIMILAR_PAIR.frame(
    {"id": f"p{n}", "first_id": one, "second_id": other, "method": method, "similarity": value}
    for n, (one, other, method, value) in enumerate(
        [
            ("a", "a2", "exact", 1.0),
            ("a", "b", "lexical", 0.8),
            ("b", "c", "lexical", 0.72),
            ("d", "e", "lexical", 0.64),
            ("f", "g", "semantic", 0.97),
            ("d", "f", "semantic", 0.92),
        ]
    )
)
TEXTS = COMPARED_TEXT.frame(
    {
        "id": name,
        "text": f"玉山是臺灣最高的山，海拔三千九百五十二公尺。{name}\x1b[31m",
        "label": False,
        "quality": 1 - n / 100,
    }
    for n, name in enumerate(["a", "a2", "b", "c", "d", "e", "f", "g"])
)


def test_the_ladder_goes_from_the_floor_to_one_and_counts_what_changes() -> None:
    table = threshold_table(PAIRS, {"lexical": 0.77, "semantic": 0.95}, FLOORS)
    lexical = table.filter(pl.col("method") == "lexical")
    assert lexical["threshold"].to_list() == [0.6, 0.65, 0.7, 0.75, 0.77, 0.8, 0.85, 0.9, 0.95, 1]
    assert lexical.filter("chosen")["threshold"].to_list() == [0.77]
    columns = ("removed", "exact", "lexical", "semantic", "groups", "largest")
    change = ("newly_removed", "newly_kept")
    assert lexical.filter(threshold=0.6).select(*columns, *change).row(0) == (
        4,
        1,
        2,
        1,
        3,
        2,
        1,
        0,
    )
    assert lexical.filter(threshold=0.77).select(*columns, *change).row(0) == (
        3,
        1,
        1,
        1,
        2,
        2,
        0,
        0,
    )
    assert lexical.filter(threshold=1).select(*columns, *change).row(0) == (2, 1, 0, 1, 2, 1, 0, 1)
    semantic = table.filter(pl.col("method") == "semantic")
    assert semantic["threshold"].to_list() == [round(0.9 + n / 100, 2) for n in range(11)]


def test_every_step_of_the_ladder_is_what_a_new_resolution_gives() -> None:
    for row in threshold_table(PAIRS, THRESHOLDS, FLOORS).iter_rows(named=True):
        found = resolve(PAIRS, {**THRESHOLDS, row["method"]: row["threshold"]})
        assert row["removed"] == found.height
        assert row["removed"] == row["exact"] + row["lexical"] + row["semantic"]


def test_a_ladder_without_pairs_removes_nothing() -> None:
    table = threshold_table(SIMILAR_PAIR.frame(), THRESHOLDS, FLOORS)
    assert table.filter("chosen").height == 2
    assert table["removed"].sum() == table["largest"].sum() == 0


def test_every_pair_is_in_one_bin() -> None:
    spread = similarity_spread(PAIRS, FLOORS)
    assert spread.group_by("method", maintain_order=True).agg(pl.col("pairs").sum()).rows() == [
        ("lexical", 3),
        ("semantic", 2),
    ]
    assert spread.filter(pl.col("method") == "lexical")["low"][0] == 0.6
    assert spread["high"].max() == 1


def test_the_margin_takes_the_nearest_from_both_sides_with_texts_and_fates() -> None:
    margin = margin_pairs(PAIRS, TEXTS.lazy(), resolve(PAIRS, THRESHOLDS), THRESHOLDS, FLOORS)
    named = margin.select("first_id", "second_id").rows()
    assert named == [("b", "c"), ("f", "g"), ("d", "e"), ("d", "f"), ("a", "b")]
    by_pair = {row["second_id"]: row for row in margin.iter_rows(named=True)}
    assert by_pair["c"]["first_kept_id"] == "a"
    assert by_pair["c"]["second_kept_id"] is None
    assert by_pair["c"]["first_text"] == TEXTS["text"][2]
    assert by_pair["c"]["group_id"] == by_pair["b"]["group_id"]
    assert by_pair["c"]["group_size"] == 4
    assert by_pair["c"]["group_pairs"] == 3
    assert by_pair["e"]["group_id"] == by_pair["g"]["group_id"]


def test_the_margin_is_bounded_by_pair_and_by_group() -> None:
    rows = [
        {
            "id": f"{group}-{n}",
            "first_id": f"{group}-0",
            "second_id": f"{group}-{n}",
            "method": "lexical",
            "similarity": 0.6 + n / 100,
        }
        for group in range(100)
        for n in range(1, 11)
    ]
    pairs = SIMILAR_PAIR.frame(rows)
    names = pl.concat([pairs["first_id"], pairs["second_id"]]).unique()
    texts = pl.LazyFrame({"id": names, "text": names, "quality": 1.0})
    margin = margin_pairs(
        pairs, texts, resolve(pairs, {"lexical": 0.65}), {"lexical": 0.65}, {"lexical": 0.6}
    )
    assert margin.height == 200
    assert margin["group_id"].value_counts()["count"].max() <= 6
    assert margin["group_pairs"].unique().to_list() == [10]
    assert margin.filter(pl.col("similarity") >= 0.65).height == 100


def test_a_pair_without_text_is_named() -> None:
    texts = TEXTS.filter(pl.col("id") != "g").lazy()
    with pytest.raises(UserError, match="compared_texts has no record g of a pair: run `kedro run"):
        review(PAIRS, texts, THRESHOLDS, FLOORS)


def test_pairs_below_a_raised_floor_are_left_out() -> None:
    found = review(PAIRS, TEXTS.lazy(), THRESHOLDS, {"lexical": 0.7, "semantic": 0.95})
    assert found.spread["pairs"].sum() == found.margin.height == 3


def test_wishes_replace_what_is_configured() -> None:
    assert chosen_thresholds(THRESHOLDS, FLOORS, {"lexical": 0.6, "semantic": None}) == {
        "lexical": 0.6,
        "semantic": 0.95,
    }


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            {"lexical": 0.5},
            "--lexical 0.5: pairs are stored from 0.6 on; lower dedup.lexical.floor to 0.5 and run "
            "`kedro run --pipeline=dedup` again",
        ),
        ({"lexical": 0.7, "other": 0.9}, "--other 0.9: no other pairs are looked for"),
    ],
)
def test_an_impossible_wish_is_refused(wishes: dict[str, float | None], message: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen_thresholds(THRESHOLDS, FLOORS, wishes)
    assert str(caught.value) == message


def test_the_change_against_the_stored_choice_is_counted() -> None:
    stored = resolve(PAIRS, {"lexical": 0.6, "semantic": 1.0})
    assert against_stored(resolve(PAIRS, THRESHOLDS), stored) == {
        "newly_removed": 1,
        "newly_kept": 1,
        "other_keeper": 0,
    }


def test_a_terminal_is_told_nothing_that_it_would_obey() -> None:
    found = review(PAIRS, TEXTS.lazy(), THRESHOLDS, FLOORS)
    lines = list(told(found, found.duplicates))
    assert "8 records compared" in lines[0]
    assert any("⟦" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert not [line for line in lines if "\n" in line]


def test_the_line_to_adopt_is_configuration() -> None:
    assert adoption({"lexical": 0.75, "semantic": 0.92}, "local").splitlines() == [
        "Adopt 採用: conf/local/parameters/dedup.yml",
        "dedup: {lexical: {threshold: 0.75}, semantic: {threshold: 0.92}}",
    ]


def test_the_page_is_a_node() -> None:
    thresholds, floors = limits(DedupParams())
    pairs = PAIRS.filter(pl.col("method").is_in(["exact", *thresholds]))
    page = draw_duplicates(TEXTS.lazy(), DedupParams(), pairs)
    assert page == review(pairs, TEXTS.lazy(), thresholds, floors).page()
    assert page.count('class="pair') == pairs.height - 1


@pytest.fixture
def stored(project: Path) -> Path:
    """A project in which the tables of the dedup pipeline are there."""
    folder = project / "data" / "04_feature"
    folder.mkdir(parents=True)
    thresholds, _ = limits(DedupParams())
    for method in thresholds:
        kinds = ("exact", "lexical") if method == "lexical" else (method,)
        PAIRS.filter(pl.col("method").is_in(kinds)).write_parquet(
            folder / f"{method}_pairs.parquet"
        )
    TEXTS.write_parquet(folder / "compared_texts.parquet")
    resolve(PAIRS, {"lexical": 0.7}).write_parquet(folder / "duplicates.parquet")
    return project


def test_the_command_tells_draws_and_changes_no_data(stored: Path) -> None:
    tables = {path: path.read_bytes() for path in stored.glob("data/04_feature/*")}
    done = run_kedro(stored, "dedup-report", "--lexical=0.62")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in ("* 0.62", "門檻", "Groups at the margin", "dedup: {lexical: {threshold: 0.62}"):
        assert words in done.stdout
    page = stored / "data" / "08_reporting" / "duplicates.html"
    assert str(page) in done.stdout
    assert "玉山是臺灣最高的山" in page.read_text("utf-8")
    assert {path: path.read_bytes() for path in stored.glob("data/04_feature/*")} == tables


def test_the_command_goes_by_environment_and_page(stored: Path, tmp_path: Path) -> None:
    strict = stored / "conf" / "strict" / "parameters"
    strict.mkdir(parents=True)
    (strict / "dedup.yml").write_text("dedup: {lexical: {threshold: 0.81}}\n", "utf-8")
    done = run_kedro(stored, "dedup-report", "--env=strict", "--page=there/page.html")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "* 0.81" in done.stdout
    assert "conf/strict/parameters/dedup.yml" in done.stdout
    assert (stored / "there" / "page.html").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--lexical=0.3", "lower dedup.lexical.floor to 0.3 and run `kedro run --pipeline=dedup`"),
        ("--lexical=1.5", "--lexical"),
        ("--env=nowhere", "conf/nowhere"),
    ],
)
def test_what_cannot_be_shown_is_one_line(stored: Path, option: str, message: str) -> None:
    done = run_kedro(stored, "dedup-report", option)
    assert done.returncode
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stdout + done.stderr


def test_a_missing_table_names_the_run_that_makes_it(project: Path) -> None:
    done = run_kedro(project, "dedup-report")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: 'compared_texts' is not there yet: run `kedro run --pipeline=dedup` first\n"
    )


def test_the_command_loads_no_model_library(stored: Path) -> None:
    script = (
        "import sys\nfrom kedro.framework.cli.cli import main\n"
        "sys.argv = ['kedro', 'dedup-report']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('loaded', [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=stored, capture_output=True, text=True, check=True
    )
    assert "loaded []" in done.stdout
