"""Evolved questions by templates, and back: what is asked inside, and in which form to answer.

Every template asks for something that an extractive answer can truly fulfil. The same list is read
in both directions, so an evolved question always finds its inner question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Form = Literal["plain", "span", "sentence", "quote", "background", "steps", "json", "table"]
"""plain: as the caller likes; span: the answer alone; sentence: one sentence; quote: the answer and
the literal sentence; background: further sentences; steps: where it was found, then the answer."""


@dataclass(frozen=True)
class Template:
    """One way to put a question; ``{q}`` is the question, ``{other}`` a second one."""

    operation: str
    language: str
    text: str
    form: Form


def _templates(operation: str, language: str, *pairs: tuple[str, Form]) -> tuple[Template, ...]:
    return tuple(Template(operation, language, text, form) for text, form in pairs)


TEMPLATES: tuple[Template, ...] = (
    *_templates(
        "scenario",
        "zh-TW",
        ("導覽員被遊客問到：「{q}」，應該怎麼回答？請只給答案。", "span"),
        ("假設你是圖書館員，有讀者到櫃檯問：「{q}」，請用一句話回覆他。", "sentence"),
        ("益智節目的主持人念出題目：「{q}」，參賽者搶答時該說什麼？請只說答案。", "span"),
        ("有位國中生寫報告時卡在這個問題：「{q}」，請告訴他答案，並附上可以引用的原文。", "quote"),
        ("編輯校對百科條目時想再確認一次：「{q}」，請給出答案與原文依據。", "quote"),
        ("朋友在旅途中傳訊息問你：「{q}」，你會怎麼回？只回答案就好。", "span"),
        (
            "假如你要為博物館的展品說明牌補上一項資料，同事問：「{q}」，請寫出可以放上說明牌的一句話。",
            "sentence",
        ),
        ("老師在課堂上抽問：「{q}」，被點到的你該怎麼答？請直接說出答案，不要解釋。", "span"),
        ("考卷上有一題簡答題：「{q}」，請直接寫出答案。", "span"),
        ("爺爺看報紙時問孫女：「{q}」，孫女該怎麼回答？請只寫答案。", "span"),
        ("廣播節目徵求聽眾解答：「{q}」，請用最短的話說出答案。", "span"),
        ("計程車司機閒聊時問乘客：「{q}」，請替乘客簡短作答，只說答案。", "span"),
    ),
    *_templates(
        "structured_output",
        "zh-TW",
        ("{q}請輸出一個 JSON 物件，只有「答案」這個欄位，不要輸出其他文字。", "json"),
        ("{q}請以 JSON 格式回答，欄位為「答案」，值為字串。", "json"),
        ("{q}請以 Markdown 表格回答，欄位依序為「答案」與「依據」。", "table"),
    ),
    *_templates(
        "step_by_step",
        "zh-TW",
        ("{q}請逐步說明如何找到答案，最後一步寫出答案。", "steps"),
        ("{q}請分成「找出線索」「寫出答案」兩個步驟作答。", "steps"),
    ),
    *_templates(
        "several_questions",
        "zh-TW",
        ("請依序回答下列兩個問題，各寫一行：\n1. {q}\n2. {other}", "span"),
        ("我有兩件事想知道，請分別作答。\n1. {q}\n2. {other}", "span"),
    ),
    *_templates(
        "complicate_input",
        "zh-TW",
        (
            "請補上這張表格裡空白的兩格，依序各寫一行。\n\n"
            "| 編號 | 題目 | 答案 |\n| --- | --- | --- |\n| 1 | {q} | |\n| 2 | {other} | |",
            "span",
        ),
        (
            '這個 JSON 物件的值都還空著，請依序作答，各寫一行。\n\n{"{q}": null, "{other}": null}',
            "span",
        ),
    ),
    *_templates(
        "constrain",
        "zh-TW",
        ("{q}請只寫出答案，不要加上任何說明。", "span"),
        ("{q}請用一句話完整回答，不要條列。", "sentence"),
    ),
    *_templates(
        "deepen",
        "zh-TW",
        ("{q}請一併說明與此直接相關的背景。", "background"),
        ("{q}除了答案本身，也請交代來龍去脈。", "background"),
    ),
    *_templates(
        "concretise",
        "zh-TW",
        ("{q}請寫出確切的名稱、時間或數字，並附上原文依據。", "quote"),
        ("{q}回答時不要用籠統的說法，並請引用一句原文佐證。", "quote"),
    ),
    *_templates(
        "reason",
        "zh-TW",
        ("{q}請先引用相關的一句話，再由這句話推出答案。", "steps"),
        ("{q}請說明你是依據哪一句話、怎麼得出答案的。", "steps"),
    ),
    *_templates(
        "scenario",
        "en",
        (
            'A museum guide is asked by a visitor: "{q}" What should the guide say? Give the '
            "answer only.",
            "span",
        ),
        ('Suppose you are a librarian and a reader asks: "{q}" Reply in one sentence.', "sentence"),
        (
            'The host of a quiz show reads out: "{q}" What should the contestant say? The ans'
            "wer only, please.",
            "span",
        ),
        (
            'A student writing a report is stuck on this: "{q}" Give the answer with a line t'
            "o quote.",
            "quote",
        ),
        (
            'An editor checking an encyclopaedia entry asks: "{q}" Give the answer and its so'
            "urce sentence.",
            "quote",
        ),
        ('A friend who is travelling texts you: "{q}" What do you reply? Just the answer.', "span"),
        ('A line in the school test reads: "{q}" Write the answer and nothing more.', "span"),
        ('Grandfather looks up from his paper: "{q}" Tell him the answer only.', "span"),
    ),
    *_templates(
        "structured_output",
        "en",
        ('{q} Reply with a JSON object whose only field is "answer", and nothing else.', "json"),
        ("{q} Reply with a Markdown table with the columns answer and evidence.", "table"),
    ),
    *_templates(
        "step_by_step",
        "en",
        ("{q} Explain step by step how to find it; the last step is the answer.", "steps"),
    ),
    *_templates(
        "several_questions",
        "en",
        ("Please answer these two questions in order, one line each:\n1. {q}\n2. {other}", "span"),
    ),
    *_templates(
        "complicate_input",
        "en",
        (
            "Please fill the two blank cells of this table, in order, one line each.\n\n"
            "| No. | Question | Answer |\n| --- | --- | --- |\n| 1 | {q} | |\n| 2 | {other} | |",
            "span",
        ),
    ),
    *_templates(
        "constrain", "en", ("{q} Write the answer alone, without any explanation.", "span")
    ),
    *_templates(
        "deepen", "en", ("{q} Please add the background that bears on it directly.", "background")
    ),
    *_templates(
        "concretise",
        "en",
        ("{q} Be exact about names, dates or figures, and quote the sentence.", "quote"),
    ),
    *_templates(
        "reason",
        "en",
        ("{q} Quote the relevant sentence first, then derive the answer from it.", "steps"),
    ),
)


@dataclass(frozen=True)
class Asked:
    """What a question asks.

    Attributes:
        questions: The plain questions inside; more than one for several at once.
        form: The form of the answer that it demands.
    """

    questions: tuple[str, ...]
    form: Form


_SWAP = str.maketrans("「」『』", "『』「」")


def wrap(template: Template, question: str, other: str = "") -> str:
    """Put a question into a template; inside Chinese quotes its own quotes change level."""
    inner = question.translate(_SWAP) if "「{q}」" in template.text else question
    return template.text.replace("{q}", inner).replace("{other}", other)


def unwrap(text: str) -> Asked:
    """What an evolved question asks; a plain one asks itself."""
    for template, pattern in _PATTERNS:
        if match := pattern.fullmatch(text.strip()):
            inner = match["q"].translate(_SWAP) if "「{q}」" in template.text else match["q"]
            other = match.groupdict().get("other")
            return Asked((inner, other) if other else (inner,), template.form)
    return Asked((text.strip(),), "plain")


def _pattern(text: str) -> re.Pattern[str]:
    escaped = re.escape(text)
    for slot in ("q", "other"):
        escaped = escaped.replace(re.escape(f"{{{slot}}}"), f"(?P<{slot}>.+)")
    return re.compile(escaped, re.DOTALL)


_PATTERNS = tuple((template, _pattern(template.text)) for template in TEMPLATES)
