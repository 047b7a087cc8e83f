"""Wikitext to plain text with Markdown headings, in time linear in its length.

What a reader of the page would not see as prose goes: templates, tables, references, files,
categories, comments, and the closing sections of notes and links. Of conversion markup
(``-{zh-tw:軟體; zh-cn:软件}-``) Taiwan's form stays, after the rules of
https://zh.wikipedia.org/wiki/Help:高级字词转换语法.
"""

import html
import re
from collections.abc import Callable

from kyara_kedro.pipelines.ingest.readers.rows import raised

_DEEPEST = 40
"""Nesting beyond which an opening bracket is text; it bounds the work on hostile input."""

_EXTENSION = re.compile(
    r"<!--|<(nowiki|pre|math|chem|ce|ref|references|gallery|timeline|score|graph|mapframe|hiero"
    r"|imagemap|syntaxhighlight|source|templatestyles|templatedata|poll|inputbox)\b([^<>]*)>",
    re.IGNORECASE,
)
_MATHS = ("math", "chem", "ce")
_CODE = ("syntaxhighlight", "source", "pre")
_LITERAL = re.compile(r"\x00(\d+)\x00")

_BRACKET = re.compile(
    r"(?P<table>^[ \t:*#]*\{\|)|(?P<table_end>^[ \t]*\|\}(?!\}))|(?P<template>\{\{)"
    r"|(?P<template_end>\}\})|(?P<link>\[\[)|(?P<link_end>\]\])|(?P<variant>-\{(?!\{))"
    r"|(?P<variant_end>\}-)",
    re.MULTILINE,
)
_PARAMETER = re.compile(r"\{\{\{[^{}\n]*\}\}\}")

_VARIANTS = ("zh-tw", "zh-hant", "zh-hk", "zh-mo", "zh")
_FLAGS = re.compile(r"\s*([A-Za-z;\-+ ]{0,40})\|")
_RULE = re.compile(r"(?:^|;)\s*(?:[^;|]*?=>\s*)?(zh(?:-[a-z]+)?)\s*:", re.IGNORECASE)

_HIDDEN_LINK = re.compile(
    r"\s*(?:file|image|media|category|檔案|文件|档案|圖像|图像|圖片|图片|分類|分类|媒體|媒体"
    r"|[a-z]{2,3}(?:-[a-z]{3,})?)\s*:",
    re.IGNORECASE,
)
# Templates that stand for words in a sentence, with the arguments that show them in their order.
_WORDING: dict[str, tuple[int, ...]] = {
    "lang": (2,), "transl": (2,), "le": (1,), "nowrap": (1,), "nobr": (1,), "small": (1,),
    "big": (1,), "tsl": (3, 2), "link": (2, 1), "ill": (1,), "illm": (1,), "ilh": (1,),
    "le-d": (1,), "ruby": (1,), "僻字": (1,), "zy": (1,), "color": (2,), "abbr": (1,),
    "tooltip": (1,), "formatnum": (1,), "uml": (1,), "internal link helper": (1,),
    "langx": (2,), "nihongo": (1,), "math": (1,), "mvar": (1,), "val": (1,), "flag": (1,),
    "quote": (1,), "cquote": (1,),
}  # fmt: skip
_MEASURES = frozenset(("convert", "cvt", "轉換"))
_WORDING_PREFIX = re.compile(r"(?:link-|lang-|internal link helper/)[a-z-]{2,12}")

_EXTERNAL = re.compile(r"\[(?:https?:|ftp:)?//[^\s\[\]]*([^\[\]\n]*)\]", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][a-z0-9]*\b[^<>]*>", re.IGNORECASE)
_BREAK = re.compile(r"<br\b[^<>]*>|</(?:p|div|li|tr|blockquote)\s*>", re.IGNORECASE)
_GLOSS = re.compile(r"<r([tp])\b[^<>]*>[^<>]*</r\1\s*>", re.IGNORECASE)
_RAISED = re.compile(r"<sup\b[^<>]*>([^<>]{1,20})</sup\s*>", re.IGNORECASE)
_MAGIC = re.compile(r"__[A-Z]{3,30}__|__[\u4e00-\u9fff]{2,8}__")
_EMPHASIS = re.compile(r"'{2,5}")
_HEADING = re.compile(r"(={1,6})\s*(.+?)\s*\1\s*")
_LIST = re.compile(r"([*#:;]+)\s*")
_EMPTY_BRACKETS = re.compile(r"（[\s，、；：,;:]*）|\([\s,;:]*\)")
_COMMA_RUN = re.compile(r"[，、][ \t]*(?=[；。])")
_EDGE_COMMAS = re.compile(r"(?<=[（(])[ \t，、；,;]++|(?<![ \t，、；,;])[ \t，、；,;]++(?=[）)])")
_APPARATUS = frozenset((
    "參考資料", "参考资料", "參考文獻", "参考文献", "參考來源", "参考来源", "參考", "参考",
    "參考書目", "參見", "参见", "參看", "参看", "注釋", "注释", "註釋", "注解", "註解", "腳註",
    "脚注", "附註", "備註", "备注", "外部連結", "外部链接", "外部連接", "相關條目", "相关条目",
    "延伸閱讀", "延伸阅读", "扩展阅读", "擴展閱讀", "資料來源", "资料来源", "來源",
    "references", "notes", "citations", "sources", "bibliography", "external links", "see also",
    "further reading", "notes and references",
))  # fmt: skip


def plain_text(source: str) -> str:
    """The prose of a page: paragraphs, list items after ``- ``, headings after ``##``."""
    literals: list[str] = []
    text = _without_extensions(source.replace("\x00", ""), literals)
    text = _brackets(_PARAMETER.sub("", text))
    text = _RAISED.sub(lambda found: raised(found[1]), _GLOSS.sub("", text))
    text = _TAG.sub("", _BREAK.sub("\n", _EXTERNAL.sub(lambda link: link[1].strip(), text)))
    text = html.unescape(_EMPHASIS.sub("", _MAGIC.sub("", text)))
    text = _COMMA_RUN.sub("", _EDGE_COMMAS.sub("", _EMPTY_BRACKETS.sub("", text)))
    text = "\n".join(_sections(text.split("\n")))
    return _LITERAL.sub(lambda kept: literals[int(kept[1])], text).strip()


def _without_extensions(text: str, literals: list[str]) -> str:
    """Take out what is not wikitext; formulas, code and <nowiki> return as they are at the end."""
    kept, at = [], 0
    lower = text.lower()
    last_close: dict[str, int] = {}
    while found := _EXTENSION.search(text, at):
        kept.append(text[at : found.start()])
        at = found.end()
        name = (found[1] or "").lower()
        if name and found[2].endswith("/"):
            continue
        close = f"</{name}" if name else "-->"
        if close not in last_close:
            last_close[close] = lower.rfind(close)
        if last_close[close] < at:
            at = at if name else len(text)  # a comment without an end hides the rest
            continue
        end = lower.index(close, at)
        inside, at = text[at:end], end + len(close)
        if name:
            at = text.find(">", at) + 1 or len(text)
        literal = _literal(name, inside)
        if literal:
            kept.append(f"\x00{len(literals)}\x00")
            literals.append(literal)
    return "".join([*kept, text[at:]])


def _literal(name: str, inside: str) -> str:
    if name in _MATHS:
        return f"${inside.strip()}$" if inside.strip() else ""
    if name in _CODE:
        return f"\n```\n{inside.strip(chr(10))}\n```\n" if inside.strip() else ""
    return html.unescape(inside) if name == "nowiki" else ""


def _brackets(text: str) -> str:
    """Resolve templates, tables, links and variants from the inside out, in one pass."""
    stack: list[tuple[str, list[str]]] = [("", [])]
    at = 0
    for found in _BRACKET.finditer(text):
        stack[-1][1].append(text[at : found.start()])
        at = found.end()
        kind, _, closing = str(found.lastgroup).partition("_")
        if not closing:
            if len(stack) <= _DEEPEST:
                stack.append((kind, []))
        elif any(kind == open_kind for open_kind, _ in stack):
            while True:
                open_kind, parts = stack.pop()
                inside = "".join(parts)
                if open_kind == kind:
                    stack[-1][1].append(_RESOLVED[kind](inside))
                    break
                stack[-1][1].append(inside)  # never closed: its text is the outer one's
    stack[-1][1].append(text[at:])
    return "".join("".join(parts) for _, parts in stack)


def _template(inside: str) -> str:
    name, *arguments = (part.strip() for part in inside.split("|"))
    name = name.lower().replace("_", " ")
    if name.startswith("formatnum:"):
        return name.partition(":")[2]
    shown = _WORDING.get(name) or ((1,) if _WORDING_PREFIX.fullmatch(name) else ())
    stated = [part for part in arguments if not re.match(r"[\w -]{1,20}=", part)]
    if name in _MEASURES:
        return "".join(stated[:2])
    return next((stated[n - 1] for n in shown if n <= len(stated) and stated[n - 1]), "")


def _link(inside: str) -> str:
    target, _, label = inside.partition("|")
    if _HIDDEN_LINK.match(target):
        return ""
    return label.strip() or target.lstrip(":").split("#")[0].strip() or target.strip()


def _variant(inside: str) -> str:
    """What a reader in Taiwan sees of conversion markup."""
    flags = _FLAGS.match(inside)
    if flags:
        named = {flag.strip().upper() for flag in flags[1].split(";")}
        if named & {"H", "T", "-"}:
            return ""
        inside = inside[flags.end() :]
        if "R" in named:
            return inside
    rules = list(_RULE.finditer(inside))
    if not rules:
        return inside
    ends = [*(rule.start() for rule in rules[1:]), len(inside)]
    said = {
        rule[1].lower(): inside[rule.end() : end].strip(" ;\n")
        for rule, end in zip(rules, ends, strict=True)
    }
    shown = (said[variant] for variant in _VARIANTS if said.get(variant))
    return next(shown, next(iter(said.values())))


_RESOLVED: dict[str, Callable[[str], str]] = {
    "table": lambda _: "",
    "template": _template,
    "link": _link,
    "variant": _variant,
}


def _sections(lines: list[str]) -> list[str]:
    """Lines in Markdown, without empty sections and the apparatus at a page's end."""
    kept: list[str] = []
    pending: list[tuple[int, str]] = []
    hidden = 0
    for line in map(str.strip, lines):
        heading = _HEADING.fullmatch(line)
        if heading:
            level, name = len(heading[1]), heading[2].strip()
            if hidden and level > hidden:
                continue
            hidden = level if name.lower() in _APPARATUS else 0
            pending = [above for above in pending if above[0] < level]
            pending += [] if hidden else [(level, f"{'#' * level} {name}")]
        elif line and not hidden:
            for _, above in pending:
                kept += ["", above, ""] if kept and kept[-1] else [above, ""]
            pending = []
            item = _LIST.match(line)
            if item:
                said = line[item.end() :]
                kept += [f"- {said}" if item[1][-1] in "*#" else said] if said else []
            else:
                kept.append(line)
        elif not hidden and kept and kept[-1]:
            kept.append("")
    return kept
