"""Pairs at the margin of a threshold, side by side: one web page that needs nothing but itself.

What records say is text to the page, never markup: everything is escaped, signs that cannot be seen
are written out, and the content security policy allows the page's own script and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal, NamedTuple

import polars as pl
from markupsafe import Markup, escape

from kyara_kedro.reporting.pages import environment
from kyara_kedro.text.fold import fold

MARGIN_PAIR: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "method": pl.String,
    "similarity": pl.Float64,
    "first_id": pl.String,
    "second_id": pl.String,
    "first_text": pl.String,
    "second_text": pl.String,
    "first_quality": pl.Float64,
    "second_quality": pl.Float64,
    "first_kept_id": pl.String,
    "second_kept_id": pl.String,
    "group_id": pl.String,
    "group_size": pl.UInt32,
    "group_pairs": pl.UInt32,
}
"""A pair with what the page shows of it, the better record first: ``*_kept_id`` is the record that
stands for one that goes (null for one that stays), ``group_*`` what the stored pairs connect."""

_Block = tuple[str, int, int, int, int]
Kind = Literal["same", "variant", "differs", "gap", "cut"]

_READ = 20_000
"""Characters of a text that are compared."""
_COMPARED = 600
"""Tokens of the stretch that differs that are aligned."""
_MOST_MATCHES = 20_000
"""Pairs of equal tokens above which an exact alignment takes too long."""
_SHOWN = 1_500
"""Characters of a text that are shown."""
_CONTEXT = 40
"""Characters on each side of what differs that stay when equal ones are left out."""
_LONG_CHANGE = 3
_PAGE_BYTES, _CARD_BYTES = 2_500_000, 2_000
_LONGEST_ID = 80

_BY_CHARACTER = "\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[^\W{_BY_CHARACTER}]+|\s+|.", re.DOTALL)
_UNSEEN = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f])\\1*"
)


class Stretch(NamedTuple):
    """A piece of one of two texts that are compared.

    Attributes:
        kind: ``same`` in both texts; ``variant``: the same but for script, width, case or glyph;
            ``differs``; ``gap``: equal text left out; ``cut``: text that was not compared or not
            shown.
        text: The piece; of ``gap`` and ``cut`` the number of characters.
    """

    kind: Kind
    text: str


@dataclass(frozen=True)
class _Card:
    """A pair as the template shows it."""

    row: Mapping[str, Any]
    texts: tuple[Markup, Markup]
    reason: tuple[str, str]


def duplicates_page(
    pairs: pl.DataFrame,
    ladder: pl.DataFrame,
    spread: pl.DataFrame,
    thresholds: Mapping[str, float],
    *,
    records: int,
    copies: int,
) -> str:
    """Write the page.

    Args:
        pairs: Pairs with the columns of :data:`MARGIN_PAIR`, those nearest to the threshold first.
            So many are shown as the page holds.
        ladder: What each threshold removes: columns method, threshold, chosen, removed, a column a
            method, groups, largest, newly_removed, newly_kept.
        spread: How similar the stored pairs are: columns method, low, high, pairs; one row a bin,
            in order, from the floor on.
        thresholds: The chosen ones, by method.
        records: Number of records compared.
        copies: Number of exact copies among them.

    Returns:
        HTML of 3 MB at most.
    """
    templates = environment()
    templates.filters |= {"seen": _seen_id}
    cards = list(_cards(pairs))
    return templates.get_template("duplicates_page.html.jinja").render(
        groups=_grouped(cards),
        shown=len(cards),
        stored=int(spread["pairs"].sum()),
        ladder=ladder.to_dicts(),
        methods=["exact", *thresholds],
        chosen=ladder.filter("chosen").row(0, named=True),
        histograms=[_histogram(spread, method, limit) for method, limit in thresholds.items()],
        thresholds=thresholds,
        records=records,
        copies=copies,
    )


def differences(left: str, right: str) -> tuple[list[Stretch], list[Stretch]]:
    """Compare two texts, by character where writing has no blanks and by word elsewhere.

    Beginnings and ends that are equal are recognised at any length up to 20,000 characters; what
    stands between them is aligned up to 600 tokens. Of long equal stretches only the ends stay.

    Returns:
        The pieces of the left and of the right text. What one lacks is an empty piece that differs.
    """
    tokens = [_TOKEN.findall(text[:_READ]) for text in (left, right)]
    sides: tuple[list[tuple[Kind, str]], ...] = ([], [])
    for tag, a, b, c, d in _blocks(*([_key(token) for token in side] for side in tokens)):
        pieces = tokens[0][a:b], tokens[1][c:d]
        if tag == "equal":
            for pair in zip(*pieces, strict=True):
                kind: Kind = "same" if pair[0] == pair[1] or pair[0].isspace() else "variant"
                for side, token in zip(sides, pair, strict=True):
                    side.append((kind, token))
            continue
        for side, piece in zip(sides, pieces, strict=True):
            if tag != "cut":
                side.extend(("differs", token) for token in piece or [""])
            elif piece:
                side.append(("cut", str(sum(map(len, piece)))))
    found = [_bounded(_merged(side)) for side in sides]
    for stretches, text in zip(found, (left, right), strict=True):
        if len(text) > _READ:
            stretches.append(Stretch("cut", str(len(text) - _READ)))
    return found[0], found[1]


def visible(text: str) -> str:
    """Write out signs that cannot be seen or that turn the direction of writing: ``⟨U+202E⟩``."""
    return _UNSEEN.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    times = f"×{len(match[0])}" if len(match[0]) > 1 else ""
    return f"⟨U+{ord(match[1]):04X}{times}⟩"


@lru_cache(maxsize=1 << 16)
def _key(token: str) -> str:
    return " " if token.isspace() else fold(token)


def _blocks(left: Sequence[str], right: Sequence[str]) -> Iterator[_Block]:
    """What tokens of two texts stand for one another, in order.

    Yields:
        Blocks as difflib's, and one with the tag ``cut`` for what is not aligned.
    """
    head = _common(left, right)
    tail = _common(left[head:][::-1], right[head:][::-1])
    ends = len(left) - tail, len(right) - tail
    stops = min(ends[0], head + _COMPARED), min(ends[1], head + _COMPARED)
    yield "equal", 0, head, 0, head
    for tag, a, b, c, d in _without_chance(_aligned(left[head : stops[0]], right[head : stops[1]])):
        yield tag, head + a, head + b, head + c, head + d
    yield "cut", stops[0], ends[0], stops[1], ends[1]
    yield "equal", ends[0], len(left), ends[1], len(right)


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Number of tokens that both begin with."""
    for number, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return number
    return min(len(left), len(right))


def _aligned(left: Sequence[str], right: Sequence[str]) -> Sequence[_Block]:
    """Align tokens; blanks and, where texts repeat themselves, frequent tokens begin no match."""
    times = Counter(left)
    matches = sum(times[key] for key in right if not key.isspace())
    matcher = SequenceMatcher(" ".__eq__, left, right, autojunk=matches > _MOST_MATCHES)
    return matcher.get_opcodes()


def _without_chance(blocks: Sequence[_Block]) -> list[_Block]:
    """Count single tokens that are equal between two long changes as changed: that is chance."""
    long = [tag != "equal" and max(b - a, d - c) >= _LONG_CHANGE for tag, a, b, c, d in blocks]
    around = [before and after for before, after in zip(long, long[2:], strict=False)]
    return [
        ("replace" if chance and b - a == 1 else tag, a, b, c, d)
        for (tag, a, b, c, d), chance in zip(blocks, [False, *around, False], strict=False)
    ]


def _merged(tokens: Sequence[tuple[Kind, str]]) -> Iterator[Stretch]:
    """Neighbours of a kind as one stretch, the middle of long equal ones left out."""
    stretches = [
        Stretch(kind, "".join(text for _, text in run))
        for kind, run in groupby(tokens, key=lambda token: token[0])
    ]
    for kind, text in stretches:
        if kind == "same" and len(text) > 3 * _CONTEXT:
            yield Stretch("same", text[:_CONTEXT])
            yield Stretch("gap", str(len(text) - 2 * _CONTEXT))
            yield Stretch("same", text[-_CONTEXT:])
        else:
            yield Stretch(kind, text)


def _bounded(stretches: Iterator[Stretch]) -> list[Stretch]:
    """As many characters as are shown, then the number of the others."""
    kept, room, left_out = [], _SHOWN, 0
    for kind, text in stretches:
        if kind in ("gap", "cut"):
            left_out += int(text) if not room else 0
            kept.extend([Stretch(kind, text)] if room else [])
            continue
        kept.extend([Stretch(kind, text[:room])] if room else [])
        left_out += max(len(text) - room, 0)
        room = max(room - len(text), 0)
    return [*kept, Stretch("cut", str(left_out))] if left_out else kept


def _cards(pairs: pl.DataFrame) -> Iterator[_Card]:
    """Pairs as long as there is room on the page."""
    room = _PAGE_BYTES
    for row in pairs.iter_rows(named=True):
        left, right = differences(row["first_text"], row["second_text"])
        texts = _marked(left), _marked(right)
        room -= _CARD_BYTES + sum(len(text.encode()) for text in texts)
        if room < 0:
            return
        yield _Card(row, texts, _reason(row))


def _grouped(cards: Sequence[_Card]) -> list[list[_Card]]:
    """Pairs by group; the groups, and the pairs of each, in the order in which they come."""
    groups: dict[str, list[_Card]] = {}
    for card in cards:
        groups.setdefault(card.row["group_id"], []).append(card)
    return list(groups.values())


def _reason(row: Mapping[str, Any]) -> tuple[str, str]:
    """Why the first of a pair is the better one, in Chinese and in English."""
    first, second = row["first_quality"], row["second_quality"]
    lengths = len(row["first_text"]), len(row["second_text"])
    if first is not None and (second is None or first > second):
        compared = f"{first:.6g} > {'–' if second is None else f'{second:.6g}'}"
        return f"品質較高 {compared}", "higher quality"
    if lengths[0] > lengths[1]:
        return f"較長 {lengths[0]:,} > {lengths[1]:,}", "longer"
    return "識別碼在前", "smaller id"


def _marked(stretches: Sequence[Stretch]) -> Markup:
    """Pieces of a text as markup."""
    tags = {"same": "{}", "variant": "<i>{}</i>", "differs": "<mark>{}</mark>"}
    notes = {"gap": ("相同", "equal"), "cut": ("未顯示", "not shown")}
    parts = [
        Markup('<span class="left-out">⋯ {} 字{} {} ⋯</span>').format(
            f"{int(text):,}", *notes[kind]
        )
        if kind in notes
        else Markup(tags[kind]).format(_seen(text))  # noqa: S704 - one of three constants
        for kind, text in stretches
    ]
    return Markup().join(parts)


def _seen(text: str) -> Markup:
    """Text as markup, with what cannot be seen written out."""
    return Markup(  # noqa: S704 - escaped before anything is put in
        _UNSEEN.sub(lambda m: f"<b>{_written_out(m)}</b>", str(escape(text)))
    )


def _seen_id(text: str) -> Markup:
    return _seen(text if len(text) <= _LONGEST_ID else text[:_LONGEST_ID] + "…")


def _histogram(spread: pl.DataFrame, method: str, threshold: float) -> dict[str, Any]:
    """Bars of one method's similarities; positions and heights are shares of the picture."""
    bins = spread.filter(pl.col("method") == method)
    floor = float(bins["low"][0])
    highest = max(1, *bins["pairs"].to_list())
    width = 1 / len(bins)
    return {
        "method": method,
        "floor": floor,
        "threshold": threshold,
        "highest": highest,
        "place": (threshold - floor) / (1 - floor) if floor < 1 else 0.0,
        "bars": [
            {
                "x": number * width,
                "width": width,
                "height": row["pairs"] / highest,
                "low": row["low"],
                "high": row["high"],
                "pairs": row["pairs"],
            }
            for number, row in enumerate(bins.iter_rows(named=True))
        ],
    }
