"""What the web pages share: one file each that needs nothing but itself and trusts no text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def environment(folder: Path = Path(__file__).parent) -> Environment:
    """Templates of a folder, this one by default; every value is escaped."""
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"digest": digest, "json_block": json_block}
    return made


def legible(text: str, longest: int) -> str:
    """Text without signs that would disturb a page, and not longer than so many characters."""
    shown = _INVISIBLE.sub("�", text[: longest + 1])
    return shown[:longest] + "…" if len(shown) > longest else shown


def digest(block: str) -> str:
    """What a content security policy calls a script or a style sheet that is allowed."""
    return "sha256-" + base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()


def json_block(value: Any) -> Markup:
    """JSON for a script element, in which no text can end the element or begin a comment.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - nothing of it is markup any more
