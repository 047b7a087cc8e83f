"""The review page in a real browser: keys, edits, reloads, files, and texts that look like code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import CONTROL, Browser, browser
from kyara_kedro.records import CONVERSATION
from kyara_kedro.reporting.review_page import ReviewOptions, review_page

from .test_review_page import HOSTILE, conversation, tables


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def opened(chrome: Browser, tmp_path: Path) -> Iterator[Browser]:
    """The page of ten conversations, in Chinese, with nothing decided."""
    (tmp_path / "review.html").write_text(
        review_page(tables(), ReviewOptions(which="all")), encoding="utf-8"
    )
    chrome.open(tmp_path / "review.html", tmp_path)
    chrome.js("localStorage.clear()")
    chrome.go(tmp_path / "review.html")
    if chrome.js("language") == "en":
        chrome.js("document.getElementById('language').click()")
    chrome.js("document.getElementById('record').focus()")
    yield chrome
    assert chrome.console == []
    assert all(address.startswith("file:") for address in chrome.requests)
    assert chrome.js("document.scripts.length") == 2
    assert chrome.js("document.images.length") == 0


def decided(page: Browser) -> list[list[Any]]:
    found: list[list[Any]] = page.js(
        "[...decisions.values()].map((row) => [PLACE.get(row.record_id), row.decision])"
    )
    return found


def exported(folder: Path, page: Browser) -> list[dict[str, Any]]:
    """What the download button gives."""
    before = set(folder.glob("*.jsonl"))
    page.js("document.getElementById('download').click()")
    for _ in range(500):
        if new := set(folder.glob("*.jsonl")) - before:
            return [json.loads(line) for line in new.pop().read_text("utf-8").splitlines()]
        page.js("new Promise((done) => setTimeout(done, 20))")
    raise AssertionError("nothing was downloaded")


def test_keys_go_about_and_decide(opened: Browser) -> None:
    for key in ("j", "ArrowRight", "k", "ArrowLeft", "j"):
        opened.press(key)
    assert opened.js("current") == 1
    opened.press("a")
    assert opened.js("current") == 2
    opened.press("r")
    assert opened.js("document.activeElement.id") == "reason"
    opened.write("不是臺灣用語")
    opened.press("Enter")
    opened.wait("decisions.size === 2")
    opened.press("s")
    assert opened.js("current") == 4
    assert decided(opened) == [[1, "accept"], [2, "reject"]]
    assert opened.js("[...decisions.values()][1].reason") == "不是臺灣用語"
    assert "2 / 10" in opened.js("document.getElementById('tally').textContent")
    opened.press("u")
    assert (decided(opened), opened.js("current")) == ([[1, "accept"]], 2)
    opened.press("r")
    opened.press("Escape")
    opened.wait("!document.querySelector('dialog[open]')")
    assert decided(opened) == [[1, "accept"]]


def test_an_edit_is_saved_cancelled_and_refused_when_blank(opened: Browser) -> None:
    opened.press("e")
    assert opened.js("document.activeElement.tagName") == "TEXTAREA"
    before = opened.js("document.activeElement.value")
    opened.write("a")
    opened.press("Escape")
    assert decided(opened) == []
    opened.press("e")
    opened.js("document.activeElement.value = ' '")
    opened.press("Enter", CONTROL)
    assert opened.js("editing")
    assert "每一則都要有內容" in opened.js("document.getElementById('banner').textContent")
    opened.js(f"document.activeElement.value = {json.dumps(before)}")
    opened.press("Enter", CONTROL)
    assert decided(opened) == []
    opened.press("e")
    opened.js("document.activeElement.select()")
    opened.write("玉山。\n【id_0123abcd】")
    opened.press("Enter", CONTROL)
    assert decided(opened) == [[0, "edit"]]
    shown = opened.js("document.querySelector('.turn.assistant.changed .text').innerText")
    assert shown == "玉山。\nid_0123abcd"
    assert opened.js("document.querySelector('.turn.assistant details') !== null")
    opened.press("e")
    opened.js(f"document.activeElement.value = {json.dumps(before)}")
    opened.press("Enter", CONTROL)
    assert decided(opened) == [[0, "accept"]], "what was edited is as it was"
    assert opened.js("document.querySelector('.turn.changed') === null")


def test_decisions_survive_a_reload(opened: Browser, tmp_path: Path) -> None:
    opened.press("a")
    opened.press("e")
    opened.write("！")
    opened.press("Enter", CONTROL)
    opened.go(tmp_path / "review.html")
    assert decided(opened) == [[0, "accept"], [1, "edit"]]
    assert opened.js("decisions.get(RECORDS[1].id).messages[1].content").endswith("！")
    assert opened.js("current") == 1


def test_a_browser_that_keeps_nothing_is_told_and_works(opened: Browser, tmp_path: Path) -> None:
    blocked = opened.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(window, 'localStorage', "
        "{ get() { throw new DOMException('no', 'SecurityError'); } })",
    )
    opened.go(tmp_path / "review.html")
    banner = opened.js("document.getElementById('banner').hidden ? '' : banner() ?? 'shown'")
    assert banner == "shown"
    opened.js("document.getElementById('record').focus()")
    opened.press("a")
    assert decided(opened) == [[0, "accept"]]
    assert [row["decision"] for row in exported(tmp_path, opened)] == ["accept"]
    opened.call("Page.removeScriptToEvaluateOnNewDocument", identifier=blocked["identifier"])


def test_what_an_earlier_page_never_handed_on_is_in_the_next_file(
    opened: Browser, tmp_path: Path
) -> None:
    opened.press("a")
    later = tmp_path / "later.html"
    page = review_page(tables(), ReviewOptions(which="all", sample=3))
    later.write_text(page, encoding="utf-8")
    opened.go(later)
    assert "還有 1 個決定沒有下載" in opened.js("document.getElementById('banner').textContent")
    opened.js("document.getElementById('record').focus()")
    opened.press("j")
    opened.press("a")
    assert len(exported(tmp_path, opened)) == 2
    opened.go(tmp_path / "review.html")
    assert opened.js("document.getElementById('banner').hidden")
    assert decided(opened) == [[0, "accept"]]


def test_what_is_exported_is_imported_again(opened: Browser, tmp_path: Path) -> None:
    opened.js("document.getElementById('reviewer').value = '小美'")
    opened.press("a")
    opened.press("e")
    opened.write("\u2028</script>")
    opened.press("Enter", CONTROL)
    rows = exported(tmp_path, opened)
    assert [row["decision"] for row in rows] == ["accept", "edit"]
    assert {row["reviewer"] for row in rows} == {"小美"}
    file = tmp_path / "again.jsonl"
    later = {**rows[0], "decision": "reject", "decided_at": "2999-01-01T00:00:00Z"}
    odd = [{**rows[0], "record_id": "other"}, {**rows[0], "decision": "no"}, None]
    odd.append({**rows[1], "messages": [{"role": "user", "content": "x"}]})
    file.write_text("\n".join(json.dumps(row) for row in [*rows, later, *odd]), encoding="utf-8")
    opened.js("localStorage.clear(); decisions.clear()")
    opened.choose("#file", file)
    opened.wait("decisions.size === 2")
    assert decided(opened) == [[0, "reject"], [1, "edit"]]
    assert opened.js("decisions.get(RECORDS[1].id).messages[1].content").endswith("\u2028</script>")
    assert "匯入 3 個決定；1 個不屬於這一頁；3 行讀不懂" in opened.js(
        "document.getElementById('banner').textContent"
    )


def test_the_list_is_filtered_by_text_and_state(opened: Browser) -> None:
    opened.press("a")
    opened.press("/")
    opened.write("問題3")
    visible = "[...document.querySelectorAll('#records li:not([hidden])')].length"
    assert opened.js(visible) == 1
    opened.press("Enter")
    assert opened.js("RECORDS[current].messages[0].content") == "問題3"
    opened.js("document.getElementById('search').value = ''")
    for state, number in (("all", 10), ("open", 9), ("accept", 1), ("selected", 5), ("edit", 0)):
        opened.js(
            f"document.getElementById('state').value = '{state}';"
            "document.getElementById('state').dispatchEvent(new Event('change'))"
        )
        assert opened.js(visible) == number


def test_hostile_text_is_shown_as_text_and_signs_are_written_out(opened: Browser) -> None:
    opened.js("go(RECORDS.findIndex((record) => record.sources.length))")
    for place in (".turn.assistant .text", ".source strong"):
        shown = opened.js(f"document.querySelector('{place}').textContent")
        assert '<img src=x onerror="alert(2)">' in shown
        assert "U+202E" in shown
        assert "\u202e" not in shown
    assert opened.js("document.querySelector('.source mark').textContent") == "玉山最高"
    assert opened.js("document.querySelector('.source a')") is None
    assert HOSTILE in opened.js("RECORDS[current].messages[1].content")
    opened.js("document.querySelector('.turn.assistant .cite').click()")
    assert opened.js("document.activeElement.id") == "source-id_0123abcd"


def test_scores_of_any_size_are_told_and_only_shares_are_drawn(opened: Browser) -> None:
    opened.js("go(PLACE.get(RECORDS[0].id))")
    cells = opened.js("[...document.querySelectorAll('.meter > *')].map((one) => one.textContent)")
    value = opened.js("RECORDS[0].aspects[0][1].toFixed(3)")
    assert cells == ["字體", "", value, "raw", "", "-3.250", "評審", "", "–"]
    assert opened.js("document.querySelectorAll('.bar > i').length") == 1


def test_every_control_has_a_name_in_both_languages(opened: Browser) -> None:
    nameless = (
        "[...document.querySelectorAll('button, input:not([hidden]), select, textarea')].filter("
        "(one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length"
        " && one.labels[0].textContent.trim())).map((one) => one.outerHTML)"
    )
    for language in ("zh-Hant-TW", "en"):
        assert opened.js("document.documentElement.lang") == language
        assert opened.js(nameless) == []
        assert "undefined" not in opened.js("document.body.innerText")
        opened.js("document.getElementById('language').click()")
    assert opened.js(
        "JSON.stringify(Object.keys(TEXTS.en)) === JSON.stringify(Object.keys(TEXTS['zh-Hant-TW']))"
    )


def test_code_and_references_are_blocks_of_their_own(chrome: Browser, tmp_path: Path) -> None:
    prompt = "# 參考文件\n<reference>\n<document>\n甲\n</document>\n</reference>\n問題"
    answer = "如下：\n```python\nprint('<b>')\n```\n完。\n```\n沒有結尾"
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    rows = CONVERSATION.frame([conversation(0, messages=turns)])
    file = tmp_path / "code.html"
    page = review_page(tables(conversations=rows), ReviewOptions(which="all"))
    file.write_text(page, encoding="utf-8")
    chrome.open(file, tmp_path)
    blocks = chrome.js("[...document.querySelectorAll('.turn pre')].map((one) => one.textContent)")
    assert blocks == ["pythonprint('<b>')", "沒有結尾"]
    assert chrome.js("document.querySelector('.turn.user details').textContent").count("甲") == 1


def test_five_hundred_long_records_are_quick_to_go_through(chrome: Browser, tmp_path: Path) -> None:
    long = "臺灣的山很高，也很多。" * 730
    rows = [
        conversation(
            n,
            messages=[
                {"role": "user", "content": f"問題{n}"},
                {"role": "assistant", "content": f"{n}{long}"},
            ],
        )
        for n in range(500)
    ]
    there = tables(conversations=CONVERSATION.frame(rows))
    filled = there._replace(
        quality=there.conversations.select("id").join(
            there.quality.head(1).drop("id"), how="cross"
        ),
    )
    file = tmp_path / "many.html"
    page = review_page(filled, ReviewOptions(which="all", sample=500))
    file.write_text(page, encoding="utf-8")
    assert len(page.encode()) > 10e6
    chrome.open(file, tmp_path)
    chrome.js("localStorage.clear()")
    seconds = chrome.js(
        "(() => { const start = performance.now(); for (let n = 0; n < 20; n++) accept();"
        " $('search').value = '問題499'; drawList();"
        " return (performance.now() - start) / 1000; })()"
    )
    assert chrome.js("decisions.size") == 20
    assert seconds < 6
