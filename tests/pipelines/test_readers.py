"""Files of every format become rows; what cannot be read becomes a fault, never an exception."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

from kyara_kedro.datasets.sources import SourceFile, SourceFilesDataset
from kyara_kedro.pipelines.ingest.readers import RawRow, read_rows, streams

SUFFIXES = ("txt", "md", "jsonl", "json", "csv", "parquet", "html", "xml", "arrow", "")


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


def arrow(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
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
        ("a.md", codecs.BOM_UTF16_LE + b"\x89", ["unreadable_file"]),
        ("a.jsonl", b'{"text": "\xa5\xc9\xa4s"}\n{}', ["unreadable_row", None]),
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


def zst(data: bytes) -> bytes:
    file = pa.BufferOutputStream()
    with pa.CompressedOutputStream(file, "zstd") as packed:
        packed.write(data)
    return bytes(file.getvalue())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zst,
}


@pytest.mark.parametrize("packed", PACKERS)
def test_a_compression_is_told_by_the_name(tmp_path: Path, packed: str) -> None:
    for name, data in (("a.jsonl", '{"text": "玉山"}\n' * 9), ("a.json", '[{"text": "玉山"}]')):
        found = values(read(tmp_path, f"{name}.{packed}", PACKERS[packed](data.encode())))
        assert found[0] == {"text": "玉山"}
    assert values(read(tmp_path, f"a.txt.{packed}", PACKERS[packed]("玉山\n高。".encode())))


@pytest.mark.parametrize("packed", PACKERS)
def test_what_stands_before_a_damaged_place_is_kept(tmp_path: Path, packed: str) -> None:
    rows = [{"n": n, "text": xxh3_128_hexdigest(bytes([n % 251, n // 251]))} for n in range(40_000)]
    array = PACKERS[packed](json.dumps(rows).encode())
    several = PACKERS[packed]("\n".join(map(json.dumps, rows)).encode())
    for name, data in ((f"a.json.{packed}", array), (f"a.jsonl.{packed}", several)):
        found = read(tmp_path, name, data[: len(data) * 2 // 3])
        assert len(found) > 5_000
        assert [row.values for row in found[:-1]] == rows[: len(found) - 1]
        assert found[-1].fault
        assert found[-1].fault.reason == "unreadable_file"
        assert found[-1].origin == f"{name}#{len(found)}"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("玉山是臺灣最高峰。".encode("big5"), "it looks like Big5: set `encoding: big5hkscs`"),
        ("玉山是台湾最高峰。".encode("gb18030"), "it looks like GB18030: set `encoding: gb18030`"),
        (b"caf\xe9 au lait", "name its `encoding`"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, data: bytes, hint: str) -> None:
    for name, text in (("a.txt", data), ("a.jsonl", b'{"text": "' + data + b'"}')):
        (row,) = read(tmp_path, name, text)
        assert row.fault
        assert hint in row.fault.detail


def test_an_encoding_may_be_set(tmp_path: Path) -> None:
    text = "玉山\n臺灣最高峰，功蓋天下。"
    for encoding in ("big5hkscs", "gb18030", "utf-16-le"):
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes(text.encode(encoding))
        rows = list(read_rows([SourceFile(path, path.name, encoding=encoding)]))
        assert values(rows) == [{"title": "玉山", "text": "臺灣最高峰，功蓋天下。"}]
    path.write_bytes(b"\xff")
    (row,) = read_rows([SourceFile(path, path.name, encoding="big5hkscs")])
    assert row.fault
    assert row.fault.detail == "bytes that are not big5hkscs, the `encoding` of its entry"


def test_a_byte_order_mark_decides(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        for name, data in (("a.jsonl", '{"text": "玉山"}\n{}'), ("a.csv", "text\n玉山\n")):
            assert values(read(tmp_path, name, data.encode(encoding)))[0] == {"text": "玉山"}


def test_one_row_that_does_not_decode_does_not_hide_the_others(tmp_path: Path) -> None:
    line = '{"text": "玉山"}'.encode()
    broken = b'{"text": "\xa5\xc9\xa4s"}'
    rows = read(tmp_path, "a.jsonl", b"\n".join([line, broken, line]))
    assert [row.fault and row.fault.reason for row in rows] == [None, "unreadable_row", None]
    rows = read(tmp_path, "a.json", b"[" + b",".join([line, broken, line]) + b"]")
    assert [row.fault and row.fault.reason for row in rows] == [None, "unreadable_row", None]
    rows = read(tmp_path, "a.csv", b"text\n\xa5\xc9\n" + "玉山\n".encode())
    assert [row.fault and row.fault.reason for row in rows] == ["unreadable_row", None]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ('{"a": 1} {"a": 2}', [{"a": 1}, {"a": 2}]),
        ("[]", []),
        (" [ ] ", []),
        ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        ("", []),
    ],
)
def test_json_holds_an_array_or_objects(tmp_path: Path, data: str, expected: list[Any]) -> None:
    assert values(read(tmp_path, "a.json", data)) == expected


@pytest.mark.parametrize(
    "data",
    ['[{"a": 1} {"a": 2}]', '[{"a": 1}, {"a": }, {"a": 3}]', '[{"a": 1}, nul, 5]', '[{"a": 1}'],
)
def test_a_row_before_malformed_json_is_kept(tmp_path: Path, data: str) -> None:
    first, last = read(tmp_path, "a.json", data)
    assert first.values == {"a": 1}
    assert last.fault
    assert last.fault.reason == "malformed_json"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=3), st.text() | st.floats(-9, 9) | st.none())),
    indent=st.none() | st.integers(0, 2),
    piece=st.integers(1, 9),
)
def test_json_in_pieces_is_what_json_is(
    tmp_path: Path, rows: list[Any], indent: int | None, piece: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), "utf-8")
    before, streams.PIECE = streams.PIECE, piece
    try:
        assert values(list(read_rows([SourceFile(path, "a.json")]))) == rows
    finally:
        streams.PIECE = before


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet", "arrow", "xml"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    text = "玉山是臺灣最高峰，海拔三千九百五十二公尺。" * 40
    path = tmp_path / f"a.{suffix}"
    with path.open("w", encoding="utf-8") as file:
        rows = (f'{{"n": {n}, "text": "{text}"}}' for n in range(6_000))
        if suffix == "jsonl":
            file.writelines(f"{row}\n" for row in rows)
        elif suffix == "json":
            file.write(f"[{next(rows)}")
            file.writelines(f",{row}" for row in rows)
            file.write("]")
        elif suffix == "csv":
            file.writelines(["text\n", *(f"{text}\n" for _ in range(6_000))])
        elif suffix == "xml":
            file.write("<mediawiki>")
            file.writelines(page(str(n), text) for n in range(6_000))
            file.write("</mediawiki>")
    table = pa.table({"text": [text] * 6_000})
    if suffix == "parquet":
        pq.write_table(table, path)
    elif suffix == "arrow":
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=1_000)
    tracemalloc.start()
    count = sum(row.fault is None for row in read_rows([SourceFile(path, path.name)]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 6_000
    assert peak < 6_000_000


PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>玉山 | 旅遊網</title>
<link rel="canonical" href="https://example.org/yushan"><style>p {}</style></head><body>
<nav><a href="/">首頁</a></nav><aside>廣告</aside>
<main><h1>玉山</h1><p>臺灣&amp;東亞<br>最高峰，<b>海拔</b>三九五二公尺。<p>第二段
  接著寫。<h2>登山</h2><ul><li>主峰<li>東峰</ul>
<table><tr><th>年<th>人<tr><td>1900<td>5</table><pre>a
  b</pre><script>var x = "<p>不是內文</p>";</script></main>
<footer>版權所有</footer></body></html>"""
PAGE_TEXT = (
    "臺灣&東亞\n最高峰，海拔三九五二公尺。\n\n第二段接著寫。\n\n## 登山\n\n- 主峰\n\n- 東峰\n\n"
    "年 | 人\n\n1900 | 5\n\n```\na\n  b\n```"
)


def test_a_page_gives_its_main_text(tmp_path: Path) -> None:
    expected = {"title": "玉山", "text": PAGE_TEXT, "url": "https://example.org/yushan"}
    assert values(read(tmp_path, "a.html", PAGE)) == [expected]
    big5 = PAGE.replace('"utf-8"', '"big5"').encode("big5hkscs")
    assert values(read(tmp_path, "a.HTM", big5)) == [expected]
    plain = "<title>玉山</title>臺灣最高峰。<p>第二段。"
    assert values(read(tmp_path, "b.html", plain)) == [
        {"title": "玉山", "text": "臺灣最高峰。\n\n第二段。"}
    ]


def test_front_matter_is_not_text(tmp_path: Path) -> None:
    data = "---\ntitle: 玉山\nlicense: CC0-1.0\ntags: [山]\n---\n臺灣最高峰。\n第二行。"
    (row,) = values(read(tmp_path, "a.md", data))
    assert row == {"title": "玉山", "text": "臺灣最高峰。\n第二行。", "license": "CC0-1.0"}
    (row,) = values(read(tmp_path, "b.md", "---\n臺灣最高峰。\n---\n第二行。"))
    assert "最高峰" in row["text"]


def page(title: str, text: str, more: str = "", space: int = 0) -> str:
    return (
        f"<page><title>{title}</title><ns>{space}</ns><id>1</id>{more}<revision><id>2</id>"
        f"<model>wikitext</model><text>{text}</text></revision></page>"
    )


DUMP = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo>'
    "<base>https://zh.wikipedia.org/wiki/Wikipedia:%E9%A6%96%E9%A1%B5</base></siteinfo>"
    + page("玉山", "'''玉山'''是[[臺灣]]&lt;ref&gt;x&lt;/ref&gt;的最高峰。\n\n== 地質 ==\n變質岩。")
    + page("Talk:玉山", "討論", space=1)
    + page("新高山", "#重定向 [[玉山]]", '<redirect title="玉山" />')
    + page("雪山 (臺灣)", "-{zh-tw:雪山;zh-cn:雪山的}-")
    + "</mediawiki>"
)


def test_a_dump_gives_its_articles(tmp_path: Path) -> None:
    rows = read(tmp_path, "zhwiki-pages-articles.xml.bz2", bz2.compress(DUMP.encode()))
    assert [row.fault and row.fault.reason for row in rows] == [None, "redirect", None]
    assert rows[0].values == {
        "title": "玉山",
        "text": "玉山是臺灣的最高峰。\n\n## 地質\n\n變質岩。",
        "url": "https://zh.wikipedia.org/wiki/%E7%8E%89%E5%B1%B1",
        "licence": "CC-BY-SA-4.0",
    }
    assert (rows[2].values["title"], rows[2].values["text"]) == ("雪山 (臺灣)", "雪山")
    cut = read(tmp_path, "b.xml", DUMP[:-60])
    assert [row.fault and row.fault.reason for row in cut] == [None, "redirect", "unreadable_file"]


def test_other_xml_is_not_a_dump(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "feed.xml", "<rss><channel><page/></channel></rss>")
    assert row.fault
    assert row.fault.reason == "not_a_dump"


def test_wikiextractor_output_is_read_in_both_forms(tmp_path: Path) -> None:
    expected = {
        "title": "玉山",
        "text": "臺灣最高峰。\n\n變質岩。",
        "url": "https://x.org/?curid=7",
    }
    opening = '<doc id="7" url="https://x.org/?curid=7" title="玉山">'
    text = f"{opening}\n玉山\n\n臺灣最高峰。\n\n變質岩。\n\n</doc>\n"
    (tmp_path / "AA").mkdir()
    for name, data in (
        ("AA/wiki_00", text.encode() * 2),
        ("wiki_01.bz2", bz2.compress(text.encode() * 2)),
        ("all.txt", text.encode() * 2),
    ):
        rows = read(tmp_path, name, data)
        assert values(rows) == [expected] * 2
        assert [row.origin for row in rows] == [f"{name}#1", f"{name}#9"]
    assert values(read(tmp_path, "wiki_02", json.dumps(expected))) == [expected]
    (row,) = read(tmp_path, "wiki_03", text[:-8])
    assert row.fault
    assert row.fault.reason == "malformed_document"
    (row,) = read(tmp_path, "wiki_04", "玉山")
    assert row.fault


def test_data_sets_saved_to_disk_and_hub_folders_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"instruction": f"問{n}", "output": "答"} for n in range(5)]
    made = datasets.Dataset.from_list(rows, info=datasets.DatasetInfo(license="mit"))
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(tmp_path / "Evol")
    hub = tmp_path / "Hub"
    (hub / "data").mkdir(parents=True)
    (hub / "data" / "train-00000-of-00001.parquet").write_bytes(parquet(made.data.table))
    (hub / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Hub\n" + "字" * 99, "utf-8")
    files = SourceFilesDataset(path=str(tmp_path), suffixes=[".md", ".json", ".arrow", ".parquet"])
    found = list(read_rows(files.load()))
    assert values(found) == rows * 3
    assert {(row.data_set, row.licence) for row in found} == {("Evol", "mit"), ("Hub", "cc-by-4.0")}
    schema = made.data.table.schema
    path = tmp_path / "file.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(made.data.table)
    assert values(list(read_rows([SourceFile(path, "file.arrow")]))) == rows


GOOD: dict[str, bytes] = {
    "html": PAGE.encode(),
    "xml": DUMP.encode(),
    "": b'<doc id="1" title="a">\na\n\nb\n</doc>\n{"a": 1}',
    "arrow": arrow(pa.table({"text": ["玉山", "雪山", None] * 9})),
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
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_bytes_raise(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    content = st.binary(max_size=64) | st.text().map(str.encode) | spoilt(GOOD[suffix])
    packed = content.map(pack) if pack is bytes else content.map(pack) | content
    name = (f"a.{suffix}" if suffix else "wiki_00") + ("" if pack is bytes else ".gz")
    for row in read(tmp_path, name, data.draw(packed)):
        assert isinstance(row.values, dict)
        assert row.fault is None or row.fault[0].isidentifier()


@pytest.mark.parametrize(
    "part", ["<", "<a ", "<!--", "<![", "</", '<a b="', "<script>", "<a <b>", "<p>", "&"]
)
def test_a_page_that_does_not_end_what_it_begins_is_read_in_linear_time(
    tmp_path: Path, part: str
) -> None:
    """Ten thousand of some of these took Python's parser a minute, and one crashed it."""
    (found,) = list(read(tmp_path, "a.html", f"<p>玉山很高。</p>{part * 10_000}"))
    assert found.fault or "玉山很高。" in found.values["title"] + found.values["text"]
