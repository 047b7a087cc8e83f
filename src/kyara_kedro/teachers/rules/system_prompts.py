"""System prompts by templates: role, audience, tone, and the constraints as they are worded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kyara_kedro.content import content_id
from kyara_kedro.teachers.rules.cloze_zh import plain_title

_PARTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "zh-TW": (
        (
            "百科編輯",
            "圖書館的參考館員",
            "知識專欄的主筆",
            "課程助教",
            "節目的資料研究員",
            "導覽員",
        ),
        ("一般讀者", "中學生", "大學新生", "初次接觸這個主題的人", "沒有太多時間的人"),
        ("親切", "簡潔", "嚴謹", "平實", "溫和有耐心"),
        (
            "你是一位{role}，為{audience}解答與「{title}」有關的問題，語氣{tone}。",
            "你的角色是{role}。使用者是{audience}，會向你詢問「{title}」的相關知識，請用{tone}的語氣回"
            "答。",
            "你擔任{role}，負責「{title}」這個主題，服務的對象是{audience}，說話要{tone}。",
        ),
    ),
    "en": (
        ("an encyclopaedia editor", "a reference librarian", "a columnist", "a teaching assistant"),
        ("general readers", "school pupils", "first-year students", "people new to the topic"),
        ("friendly", "concise", "rigorous", "plain", "gentle and patient"),
        (
            'You are {role} who answers questions of {audience} about "{title}" in a {tone} tone.',
            'Your role is that of {role}. The users are {audience} who want to know about "{title}"'
            "; your tone is {tone}.",
            'You work as {role} on the topic "{title}", for {audience}. Be {tone}.',
        ),
    ),
}
_SWAP = str.maketrans("「」", "『』")


def write(title: str, constraints: Sequence[str], language: str, seed: str) -> str:
    """A system prompt for a topic that states constraints as they are worded.

    Args:
        title: Title of a document on the topic.
        constraints: Whole sentences.
        language: ``zh-TW`` or ``en``.
        seed: Draws role, audience, tone and layout.
    """
    role, audience, tone, form = (
        options[int(content_id(seed, number)[:8], 16) % len(options)]
        for number, options in enumerate(_PARTS[language])
    )
    topic = " ".join(title.split())
    named = plain_title(topic).translate(_SWAP) if language != "en" else topic.replace('"', "'")
    opening = form.format(role=role, audience=audience, tone=tone, title=named)
    joint = "\n" if int(content_id(seed, "layout")[:8], 16) % 2 else " " * (language == "en")
    return joint.join((opening, *constraints))
