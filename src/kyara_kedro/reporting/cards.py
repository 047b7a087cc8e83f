"""What the cards share: Markdown with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_RULES = ("extractive-rules",)
"""Beginnings of the names of teachers that are programs, not language models."""
NO_TEACHER = "none"
"""Key of the rows that no teacher wrote: conversations of published data sets."""

LANGUAGE_NAMES = {
    "zh-Hant-TW": "繁體中文（臺灣）",
    "zh-Hans-CN": "簡體中文",
    "zh": "中文（繁簡共通）",
    "en": "英文 English",
    "ja": "日文 Japanese",
    "other": "其他 Other",
}
ENGLISH_NAMES = {
    "zh-Hant-TW": "Traditional Chinese (Taiwan)",
    "zh-Hans-CN": "Simplified Chinese",
    "zh": "Chinese, either script",
    "en": "English",
    "ja": "Japanese",
    "other": "other",
}
_HUB_LICENCES = {
    "unknown",
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc-by-sa-3.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "odc-by", "gemma", "gfdl", "unlicense"),
}


def environment(folder: Path = Path(__file__).parent) -> Environment:
    """Markdown templates of a folder, this one by default; names go through the filter ``cell``."""
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=False,  # noqa: S701 - Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"cell": _cell, "setting": _setting, "whole": _whole}
    return made


def front_matter(fields: Mapping[str, Any]) -> str:
    """The YAML block that a card begins with."""
    return f"---\n{yaml.safe_dump(dict(fields), allow_unicode=True, sort_keys=False)}---\n"


def hub_licences(names: Iterable[str]) -> list[str]:
    """Licences as the Hub calls them, each once; ``other`` for those that it does not know."""
    lower = [name.lower() for name in names]
    found = [name if name in _HUB_LICENCES else "other" for name in lower] or ["other"]
    return list(dict.fromkeys(found))


def spoken(codes: Iterable[str]) -> dict[str, list[str]]:
    """The front matter's fields for languages, from their BCP 47 codes."""
    known = [code for code in codes if code != "other"]
    return {
        "language": list(dict.fromkeys(code.split("-")[0] for code in known)),
        "language_bcp47": known,
    }


def frequencies(values: pl.Series) -> dict[str, int]:
    """How often each value occurs, the most frequent first and equal ones by name."""
    counted = values.cast(pl.String).rename("value").value_counts()
    ordered = counted.sort(["count", "value"], descending=[True, False])
    return dict(zip(ordered["value"].to_list(), ordered["count"].to_list(), strict=True))


def by_rules(teachers: Iterable[str]) -> list[str]:
    """Those teachers that are programs, not language models."""
    return [teacher for teacher in teachers if teacher.startswith(_RULES)]


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _cell(value: Any) -> str:
    """A value that cannot break out of its table cell or become HTML."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    plain = " ".join(str(value).split())
    for mark in ("\\", "|", "`", "*", "_", "[", "]"):
        plain = plain.replace(mark, "\\" + mark)
    return plain.replace("&", "&amp;").replace("<", "&lt;")


def _setting(value: Any) -> str:
    """A setting's value with all its digits."""
    if value is None:
        return "–"
    return _cell(f"{value:g}" if isinstance(value, float) else str(value))
