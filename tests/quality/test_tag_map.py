import csv
import io

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.quality.tag_map import EDITED, read_tag_map, row_id, write_tag_map
from kyara_kedro.records import TAG_MAP

NAME = "data/tag_map.csv"


def made(rows):
    return TAG_MAP.frame(
        {
            "raw": raw,
            "final": final,
            "step": step,
            "count": 3,
            "found": final,
            "explanation": f"說明, {raw}",
            "id": row_id(raw, final, step),
        }
        for raw, final, step in rows
    )


PLAIN = made([("翻譯", "翻譯", "unchanged"), ("翻譯類", "翻譯", "rule"), ("怪", None, "frequency")])
TEXT = write_tag_map(PLAIN).decode("utf-8-sig")


def read(text, **changes):
    return read_tag_map(text.encode(changes.pop("encoding", "utf-8")), NAME)


def edited(table):
    return {row["raw"]: row["final"] for row in table.filter(step=EDITED).iter_rows(named=True)}


def test_an_untouched_file_is_read_as_it_was_written():
    assert TAG_MAP.validate(read_tag_map(write_tag_map(PLAIN), NAME)).equals(PLAIN)
    assert write_tag_map(PLAIN).startswith("\ufeffraw,final,step,count,found,".encode())


TAG = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1)


@settings(deadline=None)
@given(st.dictionaries(TAG, st.none() | TAG, max_size=6))
def test_any_tag_survives_the_file(names):
    table = made([(raw, final, "rule") for raw, final in names.items()])
    assert read_tag_map(write_tag_map(table), NAME).equals(table)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_files_of_spreadsheets(encoding, ends):
    text = TEXT.replace("\n", ends) + f",,,,,,{ends}{ends}"
    assert read(text, encoding=encoding).equals(PLAIN)
    quoted = io.StringIO()
    csv.writer(quoted, quoting=csv.QUOTE_ALL).writerows(csv.reader(io.StringIO(TEXT)))
    assert read(quoted.getvalue()).equals(PLAIN)


def test_edits_are_told_whatever_else_was_done():
    assert edited(read(TEXT.replace("翻譯類,翻譯,", "翻譯類,語言轉換,"))) == {"翻譯類": "語言轉換"}
    assert edited(read(TEXT.replace("翻譯類,翻譯,", "翻譯類,,"))) == {"翻譯類": None}
    assert edited(read(TEXT.replace("怪,,", "怪, 怪 ,"))) == {"怪": "怪"}
    assert edited(read(TEXT + "新的,舊的\n")) == {"新的": "舊的"}
    assert edited(read(TEXT.replace("翻譯類,翻譯,", "翻譯種,翻譯,"))) == {"翻譯種": "翻譯"}
    lines = TEXT.splitlines()
    assert read("\n".join([lines[0], *lines[2:]])).equals(PLAIN[1:])
    moved = pl.read_csv(TEXT.encode()).select(reversed(TAG_MAP.schema.names())).reverse()
    assert read(moved.write_csv()).sort("raw").equals(PLAIN.sort("raw"))


def test_a_count_that_no_table_holds_is_nothing():
    assert read(TEXT.replace(",3,", f",{10**30},"))["count"].to_list() == [0, 0, 0]


def test_an_edit_that_was_read_stays_one():
    once = read(TEXT.replace("翻譯類,翻譯,", "翻譯類,語言轉換,"))
    TAG_MAP.validate(once)
    assert edited(read_tag_map(write_tag_map(once), NAME)) == {"翻譯類": "語言轉換"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("final", "Final", 1), "row 1: there must be one column 'final'"),
        (TEXT.replace("found", "raw", 1), "row 1: there must be one column 'raw'"),
        (TEXT.replace(",", ";"), "row 1: there must be one column 'raw'"),
        ("", "row 1: there must be one column 'raw'"),
        (TEXT.replace("id\n", "id,note\n", 1), "row 1: column 'note' would be lost"),
        (TEXT + "翻譯,詩\n", "row 5: tag '翻譯' is already in row 2"),
        (TEXT + "\n\n,詩\n", "row 7: column 'raw' is empty"),
        (TEXT + "甲,乙,,,,,,丙\n", "row 5: 8 cells under 7 columns"),
        (TEXT + '甲,"乙\n', "row 5: this is not CSV"),
    ],
)
def test_a_broken_file_is_told_with_its_row(text, said):
    with pytest.raises(UserError) as error:
        read(text)
    assert str(error.value).startswith(f"{NAME}, {said}")
    assert "\n" not in str(error.value)


def test_another_encoding_is_told_with_its_row():
    with pytest.raises(UserError, match=r"row 2: this is not UTF-8; save it as 'CSV UTF-8'"):
        read(TEXT, encoding="big5")
    with pytest.raises(UserError, match="row 1: this is not UTF-8"):
        read(TEXT, encoding="utf-16")
