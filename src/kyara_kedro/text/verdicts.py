"""The verdict at the end of a judgement: read strictly, for a lost verdict only costs one."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, cast

from kyara_kedro.text.thoughts import breaks_off_in_thoughts, without_thoughts

Verdict = Literal["A", "B", "C"]
Problem = Literal["empty", "no_verdict", "several_verdicts"]
"""Why a judgement has no verdict.

empty: nothing is said; no_verdict: it does not end with one; several_verdicts: it ends with
different ones.
"""

_SIDES = {"甲": "A", "乙": "B"}
_SIGNS = str.maketrans(
    {"【": "[", "】": "]", "〔": "[", "〕": "]", "⟦": "[[", "⟧": "]]"} | dict.fromkeys("\\*`#", "")
)
_STAMP = r"\[\[\s*([abc甲乙])\s*\]\]"
_ANY = re.compile(_STAMP, re.IGNORECASE)
_CLOSES = r"""[\s.。!"'」』”’)）]*(?:(?:</s>|<end_of_turn>|<\|\w{1,20}\|>)\s*)*"""
_ALONE = re.compile(rf"[\W\d]{{0,5}}?{_STAMP}{_CLOSES}", re.IGNORECASE)
_LAST = re.compile(
    r"(?:^|(?<!\d)\.|[。!;?])\s*[\"'「『“‘(（]?"
    r"(?:(?:therefore|thus|so|hence|overall|in conclusion|因此|所以|綜上所述|综上所述)\s*[,:]?\s*)?"
    r"(?:(?:my|the|我的)\s*)?(?:(?:final|overall|最終|最终|最後|最后)的?\s*)?"
    r"(?:(?:verdict|judge?ment|decision|結論|结论|判定|裁決|裁决|判決|判决|評審結果|评审结果)\s*)?"
    rf"(?:is|是|為|为)?\s*:?\s*[\"'「『“‘(（]?\s*{_STAMP}{_CLOSES}\Z",
    re.IGNORECASE,
)


def parse_verdict(text: str) -> Verdict | Problem:
    """Read the verdict that a judgement ends with.

    A verdict is ``[[A]]``, ``[[B]]`` or ``[[C]]`` (also ``[[甲]]``, ``[[乙]]``) in double brackets
    of any width and kind (``［［Ａ］］``, ``【【A】】``, ``⟦A⟧``, ``\\[\\[A\\]\\]``), in
    either case, perhaps with emphasis, quotes or a full stop about it. It counts where it is the
    last thing that is said: alone on the last line, or as the last sentence there, alone or after
    words that merely announce it ("Therefore, my final verdict is: [[A]]", 「最終結論：[[A]]」).

    Nothing else counts: no verdict before the last line, since judges quote the format and change
    their minds; no sentence that merely ends in one ("it is not [[A]]", "請寫 [[A]]"); no other one
    beside it on the last line, or on the lines above that hold nothing else; no line alone after
    one that ends with a colon, unless that announces it; no single brackets, ``\\boxed{A}``,
    "Answer: A", JSON or 「甲較好」, which may as well be the judge's own solution of a question
    with choices; nothing inside ``<think>``, and nothing before one that does not end.

    Returns:
        The verdict, or why there is none.
    """
    said = unicodedata.normalize("NFKC", without_thoughts(text)).translate(_SIGNS)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return "empty"
    if breaks_off_in_thoughts(text):
        return "no_verdict"
    if lines[-2:-1] and lines[-2].endswith(":"):
        lines[-2:] = [" ".join(lines[-2:])]
    ends = {_letter(one) for one in _ANY.findall(lines[-1])}
    for line in reversed(lines[:-1]):
        alone = _ALONE.fullmatch(line)
        if alone is None:
            break
        ends.add(_letter(alone[1]))
    if len(ends) > 1:
        return "several_verdicts"
    last = _LAST.search(lines[-1])
    return cast(Verdict, _letter(last[1])) if last else "no_verdict"


def _letter(said: str) -> str:
    return _SIDES.get(said, said.upper())
