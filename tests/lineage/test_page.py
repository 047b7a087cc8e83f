"""The page of an explanation: what it marks, and how it behaves in a real browser."""

from pathlib import Path

from browser import browser
from kyara_kedro.lineage.told import explanation_page
from kyara_kedro.reporting.lineage_page import Piece, pieces

from .test_chain import EVIDENCE, Chain


def test_spans_that_overlap_or_repeat_are_marked_once() -> None:
    spans = [{"start": 1, "end": 3}, {"start": 2, "end": 4}, {"start": 2, "end": 4}]
    assert pieces("甲乙丙丁戊", spans) == [
        Piece("甲", marked=False),
        Piece("乙丙丁", marked=True),
        Piece("戊", marked=False),
    ]
    assert pieces("甲乙", []) == [Piece("甲乙", marked=False)]


def test_the_page_fits_a_phone_folds_and_leads_to_what_it_names(tmp_path: Path) -> None:
    page = tmp_path / "lineage.html"
    page.write_text(explanation_page(Chain().explained()), encoding="utf-8")
    with browser(tmp_path / "profile") as chrome:
        chrome.open(page, tmp_path)
        seen = set()
        for width, mobile in ((390, True), (1200, False)):
            size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": mobile}
            chrome.call("Emulation.setDeviceMetricsOverride", **size)
            for scheme in ("light", "dark"):
                setting = {"name": "prefers-color-scheme", "value": scheme}
                chrome.call("Emulation.setEmulatedMedia", features=[setting])
                assert chrome.js("document.documentElement.scrollWidth") <= width
                seen.add(chrome.js("getComputedStyle(document.body).backgroundColor"))
        assert len(seen) == 2
        marked = chrome.js("[...document.querySelectorAll('mark')].map((m) => m.textContent)")
        assert EVIDENCE in marked
        chrome.js("document.getElementById('fold').click()")
        assert chrome.js("document.querySelectorAll('details[open]').length") == 0
        chrome.js("document.querySelector('.again a').click()")
        chrome.wait("document.querySelector('details:target')?.open")
        assert chrome.console == []
        assert all(address.startswith("file:") for address in chrome.requests)
