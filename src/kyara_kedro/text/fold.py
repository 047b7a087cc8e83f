"""Match keys: text folded so that width, case, script and glyph variants compare equal.

Folding is for comparison only (search, duplicates, contamination); it is never written back into a
record. Chinese is folded character by character from Traditional to Simplified, the direction in
which no choice has to be made.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
import opencc
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)
Points = NDArray[np.uint32]
Offsets = NDArray[np.int64]

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_RUN = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")
_POINTS = 0x110000
_LONG = 100
"""Characters from which on a table folds faster than the string methods."""
_ALONE = 0x30000
"""Code points from here on are rare enough to be folded with the text around them."""
INTRICATE = np.uint32(1 << 31)
"""Marks what a table cannot fold: it becomes several characters, or joins to its neighbours."""
_LINE_FEED = 0x0A


_VARIANTS = (
    "著着 藉借 覆复 妳你 牠它 姪侄 甦苏 瞭了 暱昵 燄焰 窰窑 罸罚 鎗枪 砲炮 瑯琅 邨村 隣邻 "
    "韮韭 叡睿 噉啖 氷冰 効效 欵款 烱炯 皐皋 硏研 窓窗 竝并 簒篡 翺翱 虵蛇 譱善 迯逃 偪逼 "
    "徧遍 鄕乡 鉄铁 鎻锁 濶阔 隂阴 隷隶 顚颠 騐验 鬭斗 鬦斗 欝郁 衹只 揹背 搥捶 撚捻 煖暖 "
    "椀碗 盌碗 箝钳 糢模 荳豆 蔴麻 裌夹 賸剩 躭耽 遯遁 鉋刨 鞵鞋 鞾靴 頫俯 麞獐 衞卫 賬帐 "
    "账帐 咨谘 冊册 呉吴 歳岁 聼听 軟软 閒闲 眾众 綫线 敎教 靑青 黙默 晩晚 毎每 塲场 徳德 "
    "緖绪 縂总 癎痫 茘荔 逈迥 闇暗 飮饮 饑饥 鷰燕 黒黑 亀龟 囯国 卽即 旣既"
)
"""Glyphs that OpenCC does not bring together, and words that Taiwan alone writes with another
character: each first character is folded to the second."""


class FoldedTexts(NamedTuple):
    """Many folded texts as one array.

    Attributes:
        points: Code points of all texts, each text followed by a line feed.
        lengths: Number of code points of each text, its line feed not counted.
    """

    points: Points
    lengths: Offsets


@cache
def simplified() -> dict[int, str]:
    """Every character of the CJK blocks that OpenCC's t2s, or a variant, maps to another one."""
    converter = opencc.OpenCC("t2s")
    points = [*range(0x3400, 0x4DC0), *range(0x4E00, 0xA000), *range(0xF900, 0xFB00)]
    letters = [chr(point) for point in points]
    converted = converter.convert("\n".join(letters)).split("\n")
    variants = {pair[0]: pair[1] for pair in _VARIANTS.split()}
    targets = {
        old: variants.get(new, new) if len(new) == 1 else old
        for old, new in zip(letters, converted, strict=True)
    }
    return {ord(old): new for old, new in (targets | variants).items() if old != new}


def fold(text: str) -> str:
    """Fold width, case, script and glyph variants: NFKC, case fold, Traditional to Simplified."""
    if len(text) > _LONG:
        folded = fold_table().take(_points(text))
        if folded.max() < INTRICATE:
            return _text(folded)
    return _folded(text)


def _folded(text: str) -> str:
    return width_and_case(text).translate(simplified())


def width_and_case(text: str) -> str:
    """The first half of folding, which may look at neighbouring characters: NFKC and case fold."""
    return unicodedata.normalize("NFKC", text).casefold()


def fold_many(texts: Sequence[str]) -> FoldedTexts:
    """Fold many texts at once."""
    points, starts = code_points(texts)
    folded = fold_table().take(points)
    if folded.max(initial=0) >= INTRICATE:
        folded, starts = spliced(folded, starts, *fold_stretches(points, folded >= INTRICATE))
    return FoldedTexts(folded, np.diff(starts) - 1)


def code_points(texts: Sequence[str]) -> tuple[Points, Offsets]:
    """Code points of all texts, each followed by a line feed, and where each text begins."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths + 1)])
    return _points("\n".join([*texts, ""])), starts


def fold_stretches(points: Points, marked: NDArray[np.bool_]) -> tuple[Offsets, list[Points]]:
    """Fold marked characters, each with the one before it, to which it may join.

    Args:
        points: Code points of texts, each followed by a line feed.
        marked: Which of them no table folds.

    Returns:
        Where each stretch of them begins and where it ends, in turn; and its folded code points.
    """
    places = np.flatnonzero(marked)
    inside = np.unique(np.concatenate([places, places[places > 0] - 1]))
    inside = inside[points[inside] != _LINE_FEED]
    apart = np.flatnonzero(np.diff(inside) > 1)
    bounds = np.empty(2 * len(apart) + 2, np.int64)
    bounds[::2] = inside.take(np.append(0, apart + 1))
    bounds[1::2] = inside.take(np.append(apart, -1)) + 1
    taken = np.sort(np.concatenate([inside, bounds[1::2]]))
    stretches = points.take(taken)
    stretches[np.searchsorted(taken, bounds[1::2])] = _LINE_FEED
    folded = _points(_folded(_text(stretches)))
    ends = np.flatnonzero(folded == _LINE_FEED)
    begins = np.append(0, ends[:-1] + 1)
    return bounds, [
        folded[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
    ]


def spliced(
    values: NDArray[T], starts: Offsets, bounds: Offsets, stretches: Sequence[NDArray[T]]
) -> tuple[NDArray[T], Offsets]:
    """Put other values in the place of stretches.

    Args:
        values: Values of texts, one after the other.
        starts: Where each text begins, and the end.
        bounds: Where each stretch begins and where it ends, in turn.
        stretches: Their new values.

    Returns:
        All values, and where each text begins in them.
    """
    parts = np.split(values, bounds)
    parts[1::2] = stretches
    grown = np.fromiter(map(len, stretches), np.int64, len(stretches)) - np.diff(bounds)[::2]
    before = np.searchsorted(bounds[1::2], starts, "right")
    return np.concatenate(parts), starts + np.append(0, np.cumsum(grown))[before]


def _points(text: str) -> Points:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _text(points: Points) -> str:
    return points.tobytes().decode("utf-32-le", "surrogatepass")


@cache
def fold_table() -> Points:
    """Fold of every code point, marked as intricate where it depends on others or is not one."""
    points = [p for p in range(_ALONE) if p != _LINE_FEED and not 0xD800 <= p < 0xE000]
    folded = _folded("\n".join(map(chr, points))).split("\n")
    table = np.arange(_POINTS, dtype=np.uint32) | INTRICATE
    table[_LINE_FEED] = _LINE_FEED
    for point, text in zip(points, folded, strict=True):
        if len(text) == 1 and not composes(chr(point)) and not composes(text):
            table[point] = ord(text)
    return table


def composes(character: str) -> bool:
    """Whether normalisation may join a character to the one before it (marks, Hangul jamo)."""
    return unicodedata.category(character)[0] == "M" or "\u1100" <= character <= "\u11ff"


def tokens(text: str) -> list[str]:
    """Split folded text into single CJK characters and runs of other letters and digits."""
    found: list[str] = []
    for run in _RUN.findall(fold(text)):
        if is_cjk(run[0]):
            found.extend(run)
        else:
            found.append(run)
    return found


def is_cjk(character: str) -> bool:
    """Whether a character is a Chinese ideograph."""
    point = ord(character)
    return (
        0x4E00 <= point <= 0x9FFF
        or 0x3400 <= point <= 0x4DBF
        or 0xF900 <= point <= 0xFAFF
        or 0x20000 <= point <= 0x2FA1F
    )


def match_key(text: str) -> str:
    """Folded letters and digits alone: equal for texts that differ in script, width or signs."""
    return "".join(_RUN.findall(fold(text)))
