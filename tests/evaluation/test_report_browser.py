"""The evaluation report in a real browser: on a phone, in the dark, and asking for nothing."""

from pathlib import Path

from browser import browser
from kyara_kedro.evaluation.report import evaluation_report

from .test_report import leaderboard_report

WIDTHS = {390: True, 1200: False}


def test_the_report_fits_a_phone_and_a_screen_and_follows_the_readers_setting(
    tmp_path: Path,
) -> None:
    page = tmp_path / "report.html"
    page.write_text(evaluation_report(leaderboard_report()), encoding="utf-8")
    with browser(tmp_path / "profile") as chrome:
        chrome.open(page, tmp_path)
        seen = set()
        for width, mobile in WIDTHS.items():
            chrome.call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=844,
                deviceScaleFactor=1,
                mobile=mobile,
            )
            for scheme in ("light", "dark"):
                setting = {"name": "prefers-color-scheme", "value": scheme}
                chrome.call("Emulation.setEmulatedMedia", features=[setting])
                assert chrome.js("document.documentElement.scrollWidth") <= width
                seen.add(chrome.js("getComputedStyle(document.body).backgroundColor"))
        assert len(seen) == 2
        widest = "Math.max(...[...document.querySelectorAll('svg')].map((s) => s.clientWidth))"
        assert 0 < chrome.js(widest) <= 720
        assert chrome.js("document.querySelectorAll('details').length") > 3
        assert chrome.console == []
        assert all(address.startswith("file:") for address in chrome.requests)
