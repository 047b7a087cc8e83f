"""Files of every format become rows; what cannot be read becomes a fault, never an exception."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.pipelines.ingest.readers import RawRow, read_rows

SUFFIXES = ("txt", "md", "jsonl", "json", "csv", "parquet")


def read(folder: Path, name: str, data: bytes | str) -> list[RawRow]:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_rows([SourceFile(path, name)]))


def values(rows: list[RawRow]) -> list[dict[str, Any]]:
    assert [row.fault for row in rows if row.fault] == []
    return [row.values for row in rows]


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "title", "text"),
    [
        ("# 玉山\n\n臺灣最高峰。\n", "玉山", "臺灣最高峰。"),
        ("玉山\n臺灣最高峰。", "玉山", "臺灣最高峰。"),
        ("\ufeff\n玉山\n臺灣最高峰。", "玉山", "臺灣最高峰。"),
        ("臺灣最高峰。", "yushan", "臺灣最高峰。"),
        ("長" * 101 + "\n臺灣最高峰。", "yushan", "長" * 101 + "\n臺灣最高峰。"),
    ],
)
def test_prose_starts_with_its_title(tmp_path: Path, data: str, title: str, text: str) -> None:
    for name in ("yushan.md", "yushan.zh.txt"):
        assert values(read(tmp_path, name, data)) == [{"title": title, "text": text}]


def test_every_format_gives_the_same_rows_with_their_places(tmp_path: Path) -> None:
    rows = [{"text": "臺灣，最高峰", "title": "玉山"}, {"text": "第二行\n還在", "title": "雪山"}]
    frame = pl.DataFrame(rows)
    forms: dict[str, bytes | str] = {
        "a.jsonl": "\n".join(json.dumps(row) for row in rows),
        "a.json": json.dumps(rows, ensure_ascii=False),
        "a.csv": frame.write_csv(),
        "a.CSV": frame.write_csv().replace("\n", "\r\n").replace("第二行\r\n", "第二行\n"),
        "a.parquet": parquet(frame.to_arrow()),
    }
    forms |= {
        f"{name}.gz": gzip.compress(str(forms[name]).encode()) for name in ("a.jsonl", "a.csv")
    }
    forms["a.JSONL.GZ"] = forms["a.jsonl.gz"]
    for name, data in forms.items():
        read_back = read(tmp_path, name, data)
        assert values(read_back) == rows, name
        assert [row.origin for row in read_back] == [f"{name}#1", f"{name}#2"]


def test_a_json_object_is_one_row_and_blank_lines_are_none(tmp_path: Path) -> None:
    assert values(read(tmp_path, "a.json", '{"text": "玉山"}')) == [{"text": "玉山"}]
    found = read(tmp_path, "a.jsonl", '\n{"n": 1}\r\n\n  \n{"n": 2}\n')
    assert [(row.origin, row.values) for row in found] == [
        ("a.jsonl#2", {"n": 1}),
        ("a.jsonl#5", {"n": 2}),
    ]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85"])
def test_only_line_feeds_end_a_row(tmp_path: Path, separator: str) -> None:
    said = f"前{separator}後"
    assert values(read(tmp_path, "a.csv", f"text,n\n{said},1\n")) == [{"text": said, "n": "1"}]
    line = json.dumps({"text": said}, ensure_ascii=False)
    assert values(read(tmp_path, "a.jsonl", line)) == [{"text": said}]


def test_ragged_csv_keeps_its_rows(tmp_path: Path) -> None:
    short, long = values(read(tmp_path, "a.csv", "text,n\n玉山\n雪山,2,3,4\n"))
    assert short == {"text": "玉山", "n": None}
    assert (long["text"], long["n"]) == ("雪山", "2")


def test_a_csv_cell_may_be_a_book(tmp_path: Path) -> None:
    book = "字" * 200_000
    assert values(read(tmp_path, "a.csv", f'text\n"{book}"\n')) == [{"text": book}]


@pytest.mark.parametrize(
    ("name", "data", "faults"),
    [
        ("a.txt", "玉山".encode("big5"), ["unreadable_file"]),
        ("a.md", "玉山".encode("utf-16"), ["unreadable_file"]),
        ("a.jsonl", b'{"text": "\xa5\xc9\xa4s"}', ["unreadable_file"]),
        ("a.txt.gz", b"no gzip", ["unreadable_file"]),
        ("a.txt.gz", gzip.compress("玉山".encode() * 99, mtime=0)[:-9], ["unreadable_file"]),
        ("a.txt.gz", gzip.compress("玉山".encode("big5"), mtime=0), ["unreadable_file"]),
        ("a.parquet", b"", ["unreadable_file"]),
        ("a.parquet", b"PAR1 no parquet PAR1", ["unreadable_file"]),
        ("a.parquet.gz", gzip.compress(b"PAR1", mtime=0), ["unreadable_file"]),
        ("a.json", '[{"text": ', ["malformed_json"]),
        ("a.json", "[" * 100_000, ["malformed_json"]),
        ("a.json", '["玉山", {"text": "雪山"}, 5]', ["not_an_object", None, "not_an_object"]),
        ("a.json", "null", ["not_an_object"]),
        ("a.jsonl", '{"a": 1}\n{"a": \n[1]\n"x"', [None, "malformed_json", *["not_an_object"] * 2]),
        ("a.jsonl", '{"n": ' + "9" * 5000 + "}", ["malformed_json"]),
    ],
)
def test_what_cannot_be_read_is_a_fault(
    tmp_path: Path, name: str, data: bytes | str, faults: list[str | None]
) -> None:
    rows = read(tmp_path, name, data)
    assert [row.fault and row.fault[0] for row in rows] == faults
    assert all(row.values == {} for row in rows if row.fault)


def test_a_broken_file_does_not_hide_the_next(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xff")
    (tmp_path / "c.txt").write_text("臺灣最高峰。", encoding="utf-8")
    names = ["a.txt", "b.txt", "c.txt"]
    rows = list(read_rows([SourceFile(tmp_path / name, name) for name in names]))
    assert [row.fault and row.fault[0] for row in rows] == ["unreadable_file"] * 2 + [None]


def test_parquet_values_that_python_cannot_hold_are_a_fault(tmp_path: Path) -> None:
    far = pa.array([2**62], pa.timestamp("us"))
    assert read(tmp_path, "a.parquet", parquet(pa.table({"t": far})))[0].fault
    broken = pa.StringArray.from_buffers(
        1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xff")
    )
    assert read(tmp_path, "a.parquet", parquet(pa.table({"t": broken})))[0].fault
    twice = pa.table([["甲"], ["乙"]], names=["t", "t"])
    assert len(read(tmp_path, "a.parquet", parquet(twice))) == 1


GOOD: dict[str, bytes] = {
    "txt": "# 玉山\n\n臺灣最高峰。".encode(),
    "md": "# 玉山\n\n臺灣最高峰。".encode(),
    "jsonl": '{"text": "玉山", "n": [1, null]}\n'.encode() * 3,
    "json": '[{"text": "玉山"}, {"n": 1e9}]'.encode(),
    "csv": 'text,n\n"玉\n山",1\n'.encode(),
    "parquet": parquet(pa.table({"text": ["玉山", "雪山", None] * 9, "n": [[1], [], None] * 9})),
}


def spoilt(data: bytes) -> st.SearchStrategy[bytes]:
    """A file with some bytes replaced, or cut short."""
    place = st.integers(0, len(data) - 1)
    return st.builds(
        lambda places, junk, end: bytes(
            junk if number in places else byte for number, byte in enumerate(data)
        )[:end],
        st.sets(place, max_size=4),
        st.integers(0, 255),
        st.just(len(data)) | place,
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_bytes_raise(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    content = st.binary(max_size=64) | st.text().map(str.encode) | spoilt(GOOD[suffix])
    packed = content.map(pack) if pack is bytes else content.map(pack) | content
    name = f"a.{suffix}" + ("" if pack is bytes else ".gz")
    for row in read(tmp_path, name, data.draw(packed)):
        assert isinstance(row.values, dict)
        assert row.fault is None or row.fault[0].isidentifier()
