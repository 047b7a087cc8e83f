"""Sentences and words of English text, counted as the scorer of IFEval counts them.

The original splits sentences with NLTK's English model of Punkt (Kiss and Strunk, Unsupervised
Multilingual Sentence Boundary Detection, Computational Linguistics 32:4, 2006) and words with its
Treebank rules. The rules are the same here. Of what that model has learned, the abbreviations and
the words that often start sentences are here; how 20,000 words are spelt in newspapers is not,
which decides whether a capitalised word after an abbreviation, an ellipsis or a single letter
starts a sentence. Of 5,148 English answers of models, 16 have another number of sentences here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

_CHUNK = re.compile(r"[^ \t\n\r\v\f]+")
_CLOSES = r")\";}\]*:@'({\[!?"
_END = re.compile(rf"[.?!](?=[{_CLOSES}]|\s+\S)")
_AFTER = re.compile(rf"[{_CLOSES}]|\s+(\S+)")
_MARKS = r"-{2,}|\.{2,}|(?:\.\s){2,}\."
_TOKEN = re.compile(
    rf"{_MARKS}|[^\s(\"`{{\[:;&#*@)}}\]\-,]\S*?"
    rf"(?=\s|\Z|[{_CLOSES}]|{_MARKS}|,(?=\Z|\s|[{_CLOSES}]|{_MARKS}))|\S"
)
_BELONGS = re.compile(r"[\"')\]}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_NUMBER = re.compile(r"-?[.,]?\d[\d,.\-]*\.?")
_INITIAL = re.compile(r"[^\W\d]\.")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ABBREVIATIONS = _set(
    "mr mrs ms dr prof sen reps rep gen col lt maj st sr jr ph.d jan feb aug sept sep oct nov "
    "dec tues wed fri ave ft vs chg okla ariz ore ill conn calif fla ala va w.va mich wis wash "
    "minn tenn pa ga ky vt colo kan nev cos co corp inc ltd bros cie messrs adm yr mg ct u.s "
    "u.k u.n u.s.a u.s.s.r d.c n.y n.j n.c s.c n.v a.m p.m m.b.a i.m.s c.i.t a.c a.d a.t a.s ok "
    "n.m n.h n.d s.a s.g w.w sw e.f c d e f g h k l m n p r s t v w m.j s.p.a a.t j.c j.j d.h "
    "g.f c.o.m.b r.k e.f r.i a.g a.h j.p m.d.c r.a b.v e.h w.r w.c f.g e.m h.f e.l r.t h.c h.m "
    "p.a.m g.k t.j j.r r.h a.a l.a b.f j.b d.w j.k l.f l.p g.d a.m.e s.a.y b.f c.v"
)
"""Words that a period ends without ending the sentence."""

_STARTERS = _set(
    "according although among both but despite even he however if in indeed instead it many "
    "meanwhile moreover most nevertheless nonetheless nor sales separately similarly since so "
    "some the there these they this though thus under when while yet"
)
"""Words that start a sentence when they are capitalised after an abbreviation."""
_WORDS = _set(
    "a an and are as at by can do for from had has have here how i is its just let my no not "
    "now of on once or our she so that their then to we what where which who why will with you "
    "your also finally first next therefore"
)
"""Words that are no names, even with a capital letter."""
_NUMBERED = _set(
    "abreast business commodities corrections credit dividend financing insider international "
    "leisure letters notable review who"
)
"""Words before which a number with a period ends no sentence, in the model's newspapers."""
_INDENT = 16
_STOPS = frozenset(";:,.!?")

_MARK = re.compile(
    r"[;@#$%&?!*«“‘„»”’`\[\](){}<>\"]|--|\.{2,}|''|[:,](?!\d)|(?<!\w)'(?=\w)|'(?!\S)"
)
_CLITIC = re.compile(r"(?<=[^'\s])('[sSmMdD]|'ll|'LL|'re|'RE|'ve|'VE|n't|N'T)(?=\.?(?!\S))")
_JOINED = re.compile(
    r"\b(can)(not)\b|\b(gim|lem)(me)\b|\b(gon)(na)\b|\b(got)(ta)\b|\b(wan)(na)(?!\S)", re.I
)


def sentences(text: str) -> list[str]:
    """Split a text into sentences; one that ends a line without a mark goes on in the next."""
    parts = list(_parts(text))
    found = []
    begin = parts[0][0]
    for (_, end), (start, stop) in pairwise(parts):
        closing = _BELONGS.match(text[start:stop])
        if closing:
            found.append(text[begin : start + len(closing[0].rstrip())])
            begin = start + closing.end()
        else:
            found.append(text[begin:end])
            begin = start
    found.append(text[begin : parts[-1][1]])
    return [sentence for sentence in found if sentence]


def tokens(text: str) -> list[str]:
    """Words as a treebank has them: don't is do and n't, and no mark is part of a word."""
    plain = _CLITIC.sub(r" \1", _MARK.sub(" ", text))
    return _JOINED.sub(lambda found: " ".join(filter(None, found.groups())), plain).split()


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of what stands between the marks that end sentences."""
    begin = 0
    ends = [0, *(found.end() for found in _END.finditer(text))]
    for chunk in _CHUNK.finditer(text):
        end = ends[bisect_right(ends, chunk.end()) - 1]
        after = _AFTER.match(text, end) if end > chunk.start() else None
        if after and _is_broken(text[chunk.start() : after.end()], _is_alone(text, chunk, after)):
            yield begin, end
            begin = after.start(1) if after[1] else end
    yield begin, max(begin, len(text.rstrip()))


def _is_alone(text: str, chunk: re.Match[str], after: re.Match[str]) -> bool:
    """Whether a line begins before a word, but for blanks, or after it."""
    before = text[max(0, chunk.start() - _INDENT) : chunk.start()]
    return (
        not before.rpartition("\n")[2].strip(" \t")
        and ("\n" in before or len(before) == chunk.start())
    ) or "\n" in after[0]


def _is_broken(context: str, alone: bool) -> bool:
    """Whether a sentence ends in a text of two words or so, before the last of its tokens."""
    tokens = [token for line in context.split("\n") for token in _TOKEN.findall(line)]
    return any(_ends(token, following, alone) for token, following in pairwise(tokens))


def _ends(token: str, following: str, alone: bool) -> bool:
    """Whether a token ends a sentence.

    Args:
        token: The token.
        following: The token after it.
        alone: Whether a line begins before or after the word that it is part of.
    """
    if token in ("?", "!", "."):
        return True
    if not token.endswith("."):
        return False
    word, following_word = token[:-1].lower(), following.lower()
    starts = following[0].isupper() and following_word in _STARTERS
    is_initial = _INITIAL.fullmatch(token) is not None
    if token.endswith("..") or word in _ABBREVIATIONS or word.split("-")[-1] in _ABBREVIATIONS:
        return starts and not is_initial
    if is_initial:
        is_name = following[0].isupper() and following_word not in _STARTERS | _WORDS
        return not (following[0].islower() or following in _STOPS or (is_name and not alone))
    if _NUMBER.fullmatch(token):
        return not (following[0].islower() or following in _STOPS or following_word in _NUMBERED)
    return True
