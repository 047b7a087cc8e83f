"""Grades by faults that rules can see. What is true they cannot say: no judge of quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from kyara_kedro.content import Message
from kyara_kedro.prompts.rubric import CRITERIA, HIGHEST, LOWEST
from kyara_kedro.teachers.rules.judge import points, solution

_UNCHECKED = 3
"""Grade of correctness where there is nothing to check by."""
_CAPS: Mapping[str, Mapping[str, int]] = {
    "wrong": {"correctness": LOWEST, "helpfulness": 2},
    "declines": {"instruction": 2, "helpfulness": LOWEST},
    "uncited": {"instruction": 2},
    "miscites": {"correctness": 2},
    "invents": {"correctness": 2},
    "cut": {"helpfulness": 3, "language": 3},
    "repeats": {"helpfulness": 2, "language": 2},
    "simplified": {"language": 2},
}
"""The highest grade that each fault leaves."""
_SAYS = {
    "zh-TW": ("規則式評分，並非大型語言模型。找到的缺失：", "無", "、"),
    "en": ("Graded by rules; no language model took part. Faults found: ", "none", ", "),
}


def grade(messages: Sequence[Message], language: str) -> dict[str, str | int]:
    """Grade a conversation by the rubric; over several rounds the mean counts."""
    rounds = [
        _round(before["content"], turn["content"])
        for before, turn in pairwise(messages)
        if turn["role"] == "assistant"
    ]
    head, none, comma = _SAYS["en" if language == "en" else "zh-TW"]
    faults = dict.fromkeys(name for _, found in rounds for name in found)
    return {
        "reason": head + (comma.join(faults) or none),
        **{name: round(sum(one[name] for one, _ in rounds) / len(rounds)) for name in CRITERIA},
    }


def _round(prompt: str, reply: str) -> tuple[dict[str, int], list[str]]:
    found = dict(points(solution(prompt), reply, "").findings)
    grades = dict.fromkeys(CRITERIA, HIGHEST) | {"correctness": _UNCHECKED}
    if "right" in found:
        grades["correctness"] = HIGHEST
    if "backed" in found:
        grades["correctness"] = LOWEST + round((HIGHEST - LOWEST) * found["backed"] / 1.5)
    if "covers" in found:
        grades["helpfulness"] = min(HIGHEST, 2 + round(3 * found["covers"]))
    faults = [name for name in found if name in _CAPS]
    for name in faults:
        for criterion, most in _CAPS[name].items():
            grades[criterion] = min(grades[criterion], most)
    return grades, faults
