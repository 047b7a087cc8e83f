"""Lexical near-duplicates: recall, speed and memory beside rensa and datasketch.

No large set of conversations may be fetched here, and real texts at hand are some 20,000. So
conversations are composed: stretches of real text (alpaca in Chinese and English, DRCD, the
baseline answers of AlpacaEval) follow one another, and one token in three is exchanged for another
of the same language, drawn as often as it is in those texts. Unrelated rows then share as few
n-grams as real ones do. Half are Chinese (Simplified and Traditional), half English, 1,350
characters on average; a tenth are short ones of 30 to 200 characters. A tenth of the rows are
altered copies of earlier ones: 1 to 3 % of characters edited, other punctuation, something put
before, a sentence dropped or added, Traditional script by OpenCC's s2t, s2tw and s2hk, and another
number, which makes no duplicate.

The truth is every pair of rows whose n-gram sets have a Jaccard similarity of 0.7 or more (3-grams,
or 2-grams if the shorter has fewer than 60 tokens) and whose numbers and negations agree, by an
exact join that shares nothing with the code under test but the tokens; it is itself compared with
all pairs of 500 rows in every run. A pair counts as found when it is listed, or when both are
copies of one text, or when the texts that they are copies of are listed. Two of which one has fewer
than 20 tokens and that are a slip apart (a letter more, two neighbours swapped) are listed by
design and are neither missed nor false.

Everything measured runs in a process of its own with one thread; rates are a CPU second, for the
machine may be shared. Ours gets the texts from a file, 500 rows at a time; the peers hold them all.
Neither reading nor decoding of the file is on a clock, nor are imports; the tables that ours makes
once are counted in a column of their own. The peers' own pairs are what their index lists, without
a check of each pair, which would cost them more; they do not fold scripts.

Set ``KYARA_BENCH_ROWS`` (to 10,000,000, say) to measure instead memory and speed of ours alone on
that many rows of 200 characters on average, one in twenty an altered copy, composed on the fly.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import multiprocessing
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
import opencc
import polars as pl
from harness import Benchmark, ProgramError, execute, median, scratch, table
from numpy.typing import NDArray
from peers import Peer, interpreter

from kyara_kedro.similarity.guards import claims_of
from kyara_kedro.similarity.lexical import LexicalOptions, find_pairs
from kyara_kedro.text.fold import is_cjk, tokens

DATA = Path(
    os.environ.get(
        "KYARA_CONFORMANCE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"
    )
)
ROWS = int(os.environ.get("KYARA_BENCH_ROWS", "0"))
PEER = Peer("lexical_dedup", ("rensa==0.5.0", "datasketch==2.0.0"))
OPTIONS = LexicalOptions()
THRESHOLD = OPTIONS.threshold
BRIEF_TOKENS = 20
CHARACTERS, SHORT_CHARACTERS, MANY_CHARACTERS = 1_350, 65, 200
FRAME = 500
SECONDS_LEFT_FOR_MORE = 300
SCRIPTS = ("s2t", "s2tw", "s2hk")
_EXCHANGED, _SHORT_SHARE, _STRETCHES = 1 / 3, 0.1, 3
_COMPOSED_AT_ONCE = 2_000
_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
    ),
    "1",
)

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]


# --- texts


def _column(path: str, *fields: str) -> list[str]:
    with gzip.open(DATA / path, "rt", encoding="utf-8-sig") as lines:
        return [json.loads(line)[field] for line in lines for field in fields]


class Source:
    """Real text of one language to compose others from.

    Attributes:
        units: Characters of Chinese, or words and what is between them.
        starts: Where sentences begin.
        drawn: Places of units that may be exchanged and drawn.
        mean: Characters of a unit on average.
    """

    def __init__(self, texts: Sequence[str], unit: str) -> None:
        words: list[str] = []
        starts, drawn = [], []
        for text in texts:
            begins = True
            for word in re.findall(unit, text):
                if begins and word[0].isalnum():
                    starts.append(len(words))
                if word.isalpha():
                    drawn.append(len(words))
                begins = word[0] in "。！？!?\n" or word.startswith(". ")
                words.append(word)
            words.append("\n")
        self.units = np.array(words, object)
        self.starts, self.drawn = np.array(starts), np.array(drawn)
        self.changeable = np.zeros(len(words), np.bool_)
        self.changeable[self.drawn] = True
        self.mean = sum(map(len, words)) / len(words)

    def compose(self, rng: np.random.Generator, characters: NDArray[np.float64]) -> list[str]:
        """Texts of about the given numbers of characters."""
        texts: list[str] = []
        for first in range(0, len(characters), _COMPOSED_AT_ONCE):
            texts += self._some(rng, characters[first : first + _COMPOSED_AT_ONCE])
        return texts

    def _some(self, rng: np.random.Generator, characters: NDArray[np.float64]) -> list[str]:
        length = np.maximum(characters / self.mean / _STRETCHES, 3).astype(np.int64)
        lengths = np.repeat(length, _STRETCHES)
        ends = np.cumsum(lengths)
        begin = rng.choice(self.starts, len(lengths))
        place = np.arange(ends[-1]) + np.repeat(begin - (ends - lengths), lengths)
        place %= len(self.units) - 1
        exchanged = self.changeable[place] & (rng.random(len(place)) < _EXCHANGED)
        place[exchanged] = rng.choice(self.drawn, int(exchanged.sum()))
        place[ends - 1] = len(self.units) - 1
        units: list[str] = self.units[place].tolist()
        bounds = [0, *ends[_STRETCHES - 1 :: _STRETCHES].tolist()]
        return ["".join(units[a:b]).strip() for a, b in itertools.pairwise(bounds)]


@cache
def sources() -> tuple[Source, Source]:
    """Chinese and English."""
    chinese = _column("instructions/alpaca_zh_0-3252.jsonl.gz", "instruction", "output")
    chinese += _column("corpora/drcd_dev_paragraphs.jsonl.gz", "text")
    english = _column("instructions/alpaca_en_0-3252.jsonl.gz", "instruction", "output")
    english += _column("alpaca_eval/baseline_gpt4_1106_preview.jsonl.gz", "output")
    return Source(chinese, r"[^\W_\u3400-\u9fff]+|[\s\S]"), Source(english, r"[^\W_]+|[\W_]+")


Alteration = Callable[[str, random.Random], str]
_BESIDE = re.compile(r"(?<=[^\W\d])[，。？！、：；,.?!;:](?=[^\W\d]|\s|$)")
_SENTENCE = re.compile(r"[^。！？!?.\n]+[。！？!?.\n]*\s*")


@cache
def _plain() -> str:
    """Characters of Chinese that claim nothing, as often as they are."""
    source = sources()[0]
    letters = [word for word in source.units[source.drawn[::7]].tolist() if is_cjk(word[0])]
    kinds = sorted(set(letters))
    nothing = claims_of([""])[0]
    harmless = {
        c for c, claim in zip(kinds, claims_of(kinds), strict=True) if claim == nothing
    } - set("点點分百特常洲別别非")
    return "".join(letter for letter in letters if letter in harmless)


def _edited(share: float) -> Alteration:
    """Exchanges letters, drops or doubles them, but not those that count or deny."""

    def edit(text: str, rng: random.Random) -> str:
        letters = list(text)
        harmless = _harmless()
        places = [n for n, letter in enumerate(letters) if letter in harmless]
        for place in rng.sample(places, min(len(places), max(1, round(share * len(text))))):
            kind = rng.randrange(4)
            other = rng.choice(_plain() if letters[place] > "\u3000" else "etaoinshrdlu")
            letters[place] = "" if kind == 2 else letters[place] * (kind == 3) + other
        return "".join(letters)

    return edit


@cache
def _harmless() -> frozenset[str]:
    return frozenset(_plain()) | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _punctuated(text: str, rng: random.Random) -> str:
    chinese = any(letter > "\u3000" for letter in text[:20])
    marks = "，。、；！" if chinese else ",.;!"
    return _BESIDE.sub(lambda _: rng.choice(marks), text) + rng.choice(["", "。", "!", "~", "……"])


def _prefixed(text: str, rng: random.Random) -> str:
    chinese = any(letter > "\u3000" for letter in text[:20])
    heads = ("請問", "问题：", "我想知道，") if chinese else ("Question: ", "Please: ", "So, ")
    return rng.choice(heads) + text


def _dropped(text: str, rng: random.Random) -> str:
    sentences = _SENTENCE.findall(text)
    if len(sentences) > 2:
        del sentences[rng.randrange(len(sentences))]
    return "".join(sentences)


def _added(text: str, rng: random.Random) -> str:
    sentences = _SENTENCE.findall(text)
    source = sources()[not any(letter > "\u3000" for letter in text[:20])]
    start = int(rng.choice(source.starts))
    more = "".join(source.units[start : start + round(25 / source.mean)].tolist())
    sentences.insert(rng.randrange(len(sentences) + 1), more + ("。" if more > "\u3000" else ". "))
    return "".join(sentences)


def _numbered(text: str, rng: random.Random) -> str:
    found = list(re.finditer(r"\d", text))
    if not found:
        return f"{text} 37"
    place = rng.choice(found).start()
    return text[:place] + rng.choice("123456789".replace(text[place], "")) + text[place + 1 :]


@cache
def _converter(name: str) -> opencc.OpenCC:
    return opencc.OpenCC(name)


def _converted(name: str) -> Alteration:
    return lambda text, _: _converter(name).convert(text)


ALTERATIONS: dict[str, Alteration] = {
    "1 % edited": _edited(0.01),
    "2 % edited": _edited(0.02),
    "3 % edited": _edited(0.03),
    "punctuation": _punctuated,
    "prefix": _prefixed,
    "sentence dropped": _dropped,
    "sentence added": _added,
    "another number": _numbered,
    **{name: _converted(name) for name in SCRIPTS},
}
_FOR_ALL = [kind for kind in ALTERATIONS if kind not in SCRIPTS]


class Corpus(NamedTuple):
    """Composed texts.

    Attributes:
        texts: The texts.
        kinds: How rows were altered, by row.
        originals: What altered rows are copies of, by row.
    """

    texts: list[str]
    kinds: dict[int, str]
    originals: dict[int, int]


def compose(seed: int, rows: int, characters: int, planted: float) -> Corpus:
    """Texts half Chinese, half English, some of them altered copies of earlier ones."""
    rng, chance = np.random.default_rng(seed), random.Random(seed)
    lengths = np.clip(rng.gamma(3, characters / 2.75, rows), min(characters, 210) // 2, 8_000)
    if characters == CHARACTERS:
        lengths *= 1.02 / (1 - _SHORT_SHARE) / 1.09
        short = rng.random(rows) < _SHORT_SHARE
        lengths[short] = rng.integers(30, 201, int(short.sum()))
    english = rng.random(rows) < 0.5
    texts = [""] * rows
    for source, mine in zip(sources(), (~english, english), strict=True):
        made = source.compose(rng, lengths[mine])
        for row, text in zip(np.flatnonzero(mine).tolist(), made, strict=True):
            texts[row] = text
    is_copy = rng.random(rows) < planted
    is_copy[:2] = False
    first = np.flatnonzero(~is_copy)
    kinds, originals = {}, {}
    for row in np.flatnonzero(is_copy).tolist():
        own = int(first[chance.randrange(int(np.searchsorted(first, row)))])
        kind = chance.choice(_FOR_ALL if english[own] else list(ALTERATIONS))
        texts[row] = ALTERATIONS[kind](texts[own], chance)
        kinds[row], originals[row] = kind, own
    return Corpus(texts, kinds, originals)


def write(texts: Sequence[str], path: Path) -> None:
    """Texts as JSON lines."""
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


# --- truth


class Sets(NamedTuple):
    """Sets of n-gram hashes, flat; set i is ``grams[bounds[i]:bounds[i + 1]]``, ascending."""

    rows: Rows
    grams: Hashes
    bounds: Rows


class Tokenised(NamedTuple):
    """What the truth knows of texts: tokens, a hash of all letters, n-gram sets by n."""

    lengths: Rows
    letters: Rows
    sets: dict[int, Sets]


_GRAM_LIMIT = math.floor((OPTIONS.short_tokens - 1) / THRESHOLD)
"""No text with more distinct 2-grams can be like one that is compared by 2-grams."""


def _mixed(values: Hashes) -> Hashes:
    """Murmur's finaliser."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ values >> np.uint64(33)) * np.uint64(factor)
    return values ^ values >> np.uint64(33)


def _gram_set(words: Hashes, n: int) -> Hashes:
    runs = len(words) - n + 1
    value = np.zeros(runs, np.uint64)
    for place in range(n):
        value = _mixed(value * np.uint64(31) + words[place : place + runs])
    return np.unique(value)


def _token_sets(texts: Sequence[str]) -> Tokenised:
    lengths, letters = [], []
    found: dict[int, list[tuple[int, Hashes]]] = {2: [], 3: []}
    for row, text in enumerate(texts):
        words = tokens(text)
        lengths.append(len(words))
        letters.append(hash("".join(words)))
        hashes = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
        if len(words) >= OPTIONS.short_tokens:
            found[3].append((row, _gram_set(hashes, 3)))
        if len(words) >= OPTIONS.minimum_tokens and len(set(words)) <= _GRAM_LIMIT + 1:
            grams = _gram_set(hashes, 2)
            if len(grams) <= _GRAM_LIMIT:
                found[2].append((row, grams))
    return Tokenised(
        np.array(lengths, np.int64),
        np.array(letters, np.int64),
        {n: _flat(some) for n, some in found.items()},
    )


def _flat(found: Sequence[tuple[int, Hashes]]) -> Sets:
    rows = np.array([row for row, _ in found], np.int64)
    sizes = [len(grams) for _, grams in found]
    grams = np.concatenate([np.empty(0, np.uint64), *(grams for _, grams in found)])
    return Sets(rows, grams, np.cumsum([0, *sizes]))


def tokenised(texts: Sequence[str]) -> Tokenised:
    """Tokenise in two processes, which share the seed of Python's hashes."""
    step = 4_000
    starts = range(0, len(texts), step)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = list(pool.imap(_token_sets, [texts[start : start + step] for start in starts]))
    sets = {}
    for n in (2, 3):
        each = [part.sets[n] for part in parts]
        rows = [one.rows + start for one, start in zip(each, starts, strict=True)]
        sizes = np.concatenate([np.diff(one.bounds) for one in each])
        sets[n] = Sets(
            np.concatenate(rows),
            np.concatenate([one.grams for one in each]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        )
    lengths, letters = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return Tokenised(lengths, letters, sets)


_BUCKETS = 27
_FREQUENCY, _REST = 13, 40
_SETS_AT_ONCE = 1 << (64 - _FREQUENCY - _REST)
_DIVISIONS = 8


def join(sets: Sets) -> dict[tuple[int, int], float]:
    """All pairs of sets of Jaccard similarity THRESHOLD or more, exactly.

    Two such sets share at least k of the first size - ceil(THRESHOLD size) + k n-grams of each,
    rarest first. Whoever shares so many is compared in full.
    """
    sizes = np.diff(sets.bounds)
    enough = 1 + sizes // 50
    owners, keys = _prefixes(sets, sizes, enough)
    pairs, shared = _counted(owners, keys)
    left, right = (pairs >> np.uint64(32)).astype(np.int64), pairs.astype(np.uint32)
    right = right.astype(np.int64)
    likely = shared >= np.minimum(enough[left], enough[right])
    smaller, larger = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    likely &= smaller >= THRESHOLD * larger - 1e-9
    found = {}
    for one, other in zip(left[likely].tolist(), right[likely].tolist(), strict=True):
        value = _jaccard(*(sets.grams[sets.bounds[n] : sets.bounds[n + 1]] for n in (one, other)))
        if value >= THRESHOLD:
            found[int(sets.rows[one]), int(sets.rows[other])] = value
    return found


def _jaccard(one: Hashes, other: Hashes) -> float:
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def _prefixes(sets: Sets, sizes: Rows, enough: Rows) -> tuple[Rows, Hashes]:
    """The rarest n-grams of each set that others have too, as (set, rarity and hash)."""
    buckets = np.zeros(1 << _BUCKETS, np.uint16)
    shift = np.uint64(64 - _BUCKETS)
    for start in range(0, len(sets.grams), 1 << 22):
        np.add.at(buckets, sets.grams[start : start + (1 << 22)] >> shift, np.uint16(1))
    length = np.minimum(sizes - np.ceil(THRESHOLD * sizes - 1e-9).astype(np.int64) + enough, sizes)
    owners, keys = [], []
    for start in range(0, len(sizes), _SETS_AT_ONCE):
        some = sizes[start : start + _SETS_AT_ONCE]
        grams = sets.grams[sets.bounds[start] : sets.bounds[start + len(some)]]
        frequency = np.minimum(buckets[grams >> shift], (1 << _FREQUENCY) - 1).astype(np.uint64)
        own = np.repeat(np.arange(len(some), dtype=np.uint64), some)
        key = own << np.uint64(_FREQUENCY + _REST)
        key |= frequency << np.uint64(_REST) | grams & np.uint64((1 << _REST) - 1)
        key.sort()
        place = np.arange(len(key)) - np.repeat(np.cumsum(some) - some, some)
        key &= np.uint64((1 << _FREQUENCY + _REST) - 1)
        chosen = place < np.repeat(length[start : start + len(some)], some)
        chosen &= key >> np.uint64(_REST) > 1
        owners.append((own[chosen] + np.uint64(start)).astype(np.uint32))
        keys.append(key[chosen])
    return np.concatenate(owners), np.concatenate(keys)


def _counted(owners: Rows, keys: Hashes) -> tuple[Hashes, Rows]:
    """Pairs of owners of equal keys, packed, and how many keys they share."""
    found = [np.empty(0, np.uint64)]
    division = (keys % np.uint64(_DIVISIONS)).astype(np.uint8)
    for number in range(_DIVISIONS):
        mine = np.flatnonzero(division == number)
        order = mine[np.argsort(keys[mine], kind="stable")]
        ordered, own = keys[order], owners[order].astype(np.uint64)
        place, distance = np.arange(len(order)), 1
        while len(place := place[place + distance < len(order)]):
            place = place[ordered[place + distance] == ordered[place]]
            one, other = own[place], own[place + distance]
            found.append(np.minimum(one, other) << np.uint64(32) | np.maximum(one, other))
            distance += 1
    pairs = np.sort(np.concatenate(found))
    firsts = np.flatnonzero(np.diff(pairs, prepend=~pairs[:1]))
    return pairs[firsts], np.diff(firsts, append=len(pairs))


class Truth(NamedTuple):
    """What is to be found.

    Attributes:
        pairs: Similarity by pair of rows.
        opposed: Pairs that are alike and claim other things.
        brief: Pairs that are one slip apart and alike in nothing else.
        copies: Hash of letters and claims of each row whose letters another row has, by row.
    """

    pairs: dict[tuple[int, int], float]
    opposed: set[tuple[int, int]]
    brief: set[tuple[int, int]]
    copies: dict[int, int]


def find_truth(texts: Sequence[str]) -> Truth:
    """The exact answer."""
    known = tokenised(texts)
    alike = join(known.sets[3])
    for (one, other), value in join(known.sets[2]).items():
        if min(known.lengths[one], known.lengths[other]) < OPTIONS.short_tokens:
            alike[one, other] = value
    brief = _one_slip_apart(texts, known.lengths)
    held = Counter(known.letters.tolist())
    shared = [row for row, letters in enumerate(known.letters.tolist()) if held[letters] > 1]
    read = sorted({*shared, *itertools.chain(*alike), *itertools.chain(*brief)})
    said = dict(zip(read, claims_of([texts[row] for row in read]), strict=True))
    agree = {pair for pair in {*alike, *brief} if said[pair[0]] == said[pair[1]]}
    return Truth(
        {pair: value for pair, value in alike.items() if pair in agree},
        alike.keys() - agree,
        {pair for pair in brief if pair in agree and pair not in alike},
        {
            row: hash((int(known.letters[row]), said[row]))
            for row in shared
            if known.lengths[row] > 0
        },
    )


def _one_slip_apart(texts: Sequence[str], lengths: Rows) -> set[tuple[int, int]]:
    """Pairs of brief texts of which one has a letter more, or two neighbours swapped."""
    holders: dict[str, list[int]] = {}
    keys = {
        row: "".join(tokens(texts[row])) for row in np.flatnonzero(lengths <= BRIEF_TOKENS).tolist()
    }
    for row, key in keys.items():
        for part in {key, *_without_one(key)}:
            holders.setdefault(part, []).append(row)
    return {
        (one, other)
        for rows in holders.values()
        for one, other in itertools.combinations(rows, 2)
        if min(lengths[one], lengths[other]) < BRIEF_TOKENS and _slip(keys[one], keys[other])
    }


def _without_one(key: str) -> set[str]:
    return {key[:n] + key[n + 1 :] for n in range(len(key))}


def _slip(one: str, other: str) -> bool:
    if len(one) != len(other):
        return one in _without_one(other) or other in _without_one(one)
    apart = [n for n in range(len(one)) if one[n] != other[n]]
    return len(apart) == 2 and one[apart[0] : apart[1] + 1] == other[apart[0] : apart[1] + 1][::-1]


def check_truth(corpus: Corpus, truth: Truth, rows: int = 500) -> int:
    """Compare the truth among some rows with all their pairs, and count those.

    Raises:
        AssertionError: they differ.
    """
    copies = sorted(corpus.originals)[: rows // 3]
    chosen = {*copies, *(corpus.originals[row] for row in copies)}
    chosen |= set(itertools.islice(itertools.count(), rows - len(chosen)))
    words = {row: tokens(corpus.texts[row]) for row in sorted(chosen)}
    grams = {
        (row, n): set(zip(*(some[k:] for k in range(n)), strict=False))
        for row, some in words.items()
        for n in (2, 3)
    }
    said = dict(
        zip(sorted(chosen), claims_of([corpus.texts[row] for row in sorted(chosen)]), strict=True)
    )
    expected = {}
    for one, other in itertools.combinations(sorted(chosen), 2):
        shorter = min(len(words[one]), len(words[other]))
        if shorter >= OPTIONS.minimum_tokens and said[one] == said[other]:
            n = 2 if shorter < OPTIONS.short_tokens else 3
            both = grams[one, n], grams[other, n]
            common = len(both[0] & both[1])
            value = common / (len(both[0]) + len(both[1]) - common)
            if value >= THRESHOLD:
                expected[one, other] = value
    found = {pair: value for pair, value in truth.pairs.items() if chosen.issuperset(pair)}
    assert found == expected, found.keys() ^ expected.keys()
    return len(expected)


# --- programs


def environment() -> dict[str, str]:
    """Of measured processes: one thread, and no settings of another machine's libraries."""
    plain = {name: value for name, value in os.environ.items() if "OPENBLAS" not in name}
    return {**plain, **_ONE_THREAD}


def memory(what: str) -> float:
    """MB of this process: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


class Clock:
    """CPU and wall seconds since it was made, without those of a generator it is given."""

    def __init__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def without(self, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Pass frames on, and take off what it cost to make them."""
        while True:
            cpu, wall = time.process_time(), time.perf_counter()
            frame = next(frames, None)
            self.cpu += time.process_time() - cpu
            self.wall += time.perf_counter() - wall
            if frame is None:
                return
            yield frame

    def read(self) -> dict[str, float]:
        """The seconds."""
        return {
            "cpu": time.process_time() - self.cpu,
            "seconds": time.perf_counter() - self.wall,
        }


def _frame(start: int, texts: Sequence[str]) -> pl.DataFrame:
    ids = [f"{number:08}" for number in range(start, start + len(texts))]
    return pl.DataFrame(
        {"id": ids, "text": texts, "quality": [0.5] * len(ids), "label": [0] * len(ids)}
    )


def frames_of_file(path: Path, rows: int) -> Iterator[pl.DataFrame]:
    """The first rows of a file, some at a time."""
    with path.open(encoding="utf-8") as lines:
        for start in range(0, rows, FRAME):
            some = itertools.islice(lines, min(FRAME, rows - start))
            yield _frame(start, [json.loads(line)["text"] for line in some])


def composed_frames(rows: int) -> Iterator[pl.DataFrame]:
    """Composed texts, some at a time; copies are of texts at most 5,000 rows before."""
    step = 5_000
    for start in range(0, rows, step):
        texts = compose(start, min(step, rows - start), MANY_CHARACTERS, 0.05).texts
        for place in range(0, len(texts), FRAME):
            yield _frame(start + place, texts[place : place + FRAME])


def program(rows: int, source: str, target: str) -> None:
    """Find pairs among the texts of a file, or among composed ones, and print the figures."""
    figures: dict[str, float] = {"rows": rows, "imported_mb": memory("VmRSS")}
    start = Clock()
    find_pairs([_frame(0, ["一二三四五六七八九十", "one two three"])], OPTIONS)
    figures["start_cpu"] = start.read()["cpu"]
    if source == "composed":
        compose(0, 100, MANY_CHARACTERS, 0.05)
        frames = composed_frames(rows)
    else:
        frames = frames_of_file(Path(source), rows)
    figures["started_mb"] = memory("VmRSS")
    clock = Clock()
    found = find_pairs(clock.without(frames), OPTIONS)
    figures |= clock.read()
    figures["peak_rss_mb"] = memory("VmHWM")
    figures["pairs"] = found.height
    if target:
        found.select("first_id", "second_id", "method", "similarity").write_parquet(target)
    print(json.dumps(figures))


class Found(NamedTuple):
    """Pairs of rows that a program lists, and groups of copies by the row that stands for them."""

    near: set[tuple[int, int]]
    best: dict[int, int]
    figures: dict[str, Any]


def run_ours(rows: int, source: Path | str, target: Path | None = None) -> Found:
    """Measure ours in a process of its own."""
    command = [sys.executable, __file__, "--program", str(rows), str(source), str(target or "")]
    figures = execute(command, environment())
    if target is None:
        return Found(set(), {}, figures)
    pairs = pl.read_parquet(target).with_columns(pl.col("first_id", "second_id").cast(pl.Int64))
    near = pairs.filter(method="lexical").filter(pl.col("similarity") >= THRESHOLD)
    copies = pairs.filter(method="exact").select("second_id", "first_id")
    return Found(
        _ordered(near.select("first_id", "second_id").rows()), dict(copies.rows()), figures
    )


def run_peer(which: str, rows: int, source: Path, target: Path) -> Found | None:
    """Measure a peer; None, and a line, when it cannot be had or breaks down."""
    python = interpreter(PEER)
    if python is None:
        return None
    quiet = {**PEER.environment(), **environment()}
    try:
        figures = execute(
            [python, PEER.runner, which, source, str(rows), target],
            {name: value for name, value in quiet.items() if "OPENBLAS_C" not in name},
        )
    except ProgramError as error:
        print(f"SKIPPED {which}: {error}", flush=True)
        return None
    with target.open() as lines:
        return Found(_ordered(map(json.loads, lines)), {}, figures)


def _ordered(pairs: Iterable[Sequence[int]]) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in pairs}


class Verdict(NamedTuple):
    """How good a list of pairs is.

    Attributes:
        true: Pairs that are to be found.
        recall: Share of them that is.
        unlike: Listed pairs below the threshold.
        opposed: Listed pairs that are alike but say other numbers or the opposite.
        missed: Pairs that are not found.
    """

    true: int
    recall: float
    unlike: int
    opposed: int
    missed: list[tuple[int, int]]


def judge(found: Found, truth: Truth, rows: int) -> Verdict:
    """Compare listed pairs of the first rows with the truth."""
    due = [pair for pair in truth.pairs if pair[1] < rows]
    missed = [pair for pair in due if not _holds(found, pair)]
    listed = {*found.near, *_ordered(found.best.items())}
    same = {pair for pair in listed if truth.copies.get(pair[0], 0) == truth.copies.get(pair[1], 1)}
    wrong = listed - truth.pairs.keys() - truth.brief - same
    opposed = len(wrong & truth.opposed)
    recall = 1 - len(missed) / max(len(due), 1)
    return Verdict(len(due), recall, len(wrong) - opposed, opposed, missed)


def _holds(found: Found, pair: tuple[int, int]) -> bool:
    one, other = (found.best.get(row, row) for row in pair)
    return one == other or (min(one, other), max(one, other)) in found.near


def by_kind(found: Found, corpus: Corpus, rows: int) -> dict[str, float]:
    """Share of altered copies that are found, whatever their similarity."""
    hits: dict[str, list[bool]] = {}
    for row, kind in corpus.kinds.items():
        if row < rows:
            hits.setdefault(kind, []).append(_holds(found, (corpus.originals[row], row)))
    return {kind: sum(each) / len(each) for kind, each in sorted(hits.items())}


# --- the script


def compare(
    bench: Benchmark, corpus: Corpus, truth: Truth, rows: int, folder: Path
) -> dict[str, Found | None]:
    """Ours beside the peers at one size, bars and table."""
    source, rounds = folder / "texts.jsonl", 1 if bench.quick else 5
    runs: dict[str, list[Found | None]] = {"ours": [], "rensa": [], "datasketch": []}
    for number in range(rounds):
        for name, results in runs.items():
            if name == "ours":
                results.append(run_ours(rows, source, folder / "ours.parquet"))
            elif name == "rensa" or number == 0:
                results.append(run_peer(name, rows, source, folder / f"{name}.jsonl"))
    cpu = {
        name: median(run.figures["cpu"] for run in results if run) for name, results in runs.items()
    }
    shown = []
    for name, results in runs.items():
        if results[0]:
            verdict = judge(results[0], truth, rows)
            false = verdict.unlike, verdict.opposed
            speed = cpu[name], rows / cpu[name], cpu[name] / cpu["ours"]
            shown.append((name, *speed, verdict.true, verdict.recall, *false))
            bench.figure(f"{name}: CPU s at {rows}", cpu[name])
            bench.figure(f"{name}: recall at {rows}", verdict.recall)
            bench.figure(f"{name}: false pairs at {rows}", sum(false))
    head = (f"{rows:,} rows", "CPU s", "rows/CPU s", "ours is", "true pairs", "recall")
    table((*head, "below 0.7", "other claims"), shown)
    for name, bar in (("rensa", 3.0), ("datasketch", 7.0)):
        # of runs next to each other, for a shared machine is quick now and slow then
        ratios = [
            run.figures["cpu"] / ours.figures["cpu"]
            for run, ours in zip(runs[name], runs["ours"], strict=False)
            if run and ours
        ]
        if ratios:
            bench.figure(f"speed over {name}: least", min(ratios))
            bench.figure(f"speed over {name}: most", max(ratios))
            bench.at_least(f"speed_over_{name}", median(ratios), bar)
        else:
            bench.skipped(f"speed_over_{name}", bar, "no peer")
    return {name: results[0] for name, results in runs.items()}


def growth(
    bench: Benchmark, corpus: Corpus, truth: Truth, sizes: Sequence[int], folder: Path
) -> None:
    """Ours at several sizes, with memory, and rensa at the last one if there is time."""
    shown = []
    for rows in sizes:
        found = run_ours(rows, folder / "texts.jsonl", folder / "ours.parquet")
        verdict, figures = judge(found, truth, rows), found.figures
        false = verdict.unlike + verdict.opposed
        shown.append(
            (
                rows,
                figures["cpu"],
                rows / figures["cpu"],
                figures["start_cpu"],
                figures["imported_mb"],
                figures["started_mb"],
                figures["peak_rss_mb"],
                verdict.true,
                verdict.recall,
                false,
            )
        )
        bench.figure(f"ours: CPU s at {rows}", figures["cpu"])
        bench.figure(f"ours: peak MB at {rows}", figures["peak_rss_mb"])
        bench.at_least(f"recall_at_{rows}", verdict.recall, 0.999)
        bench.at_most(f"false_pairs_at_{rows}", false, 0)
        for one, other in verdict.missed[:3]:
            print(f"missed: {corpus.texts[one][:60]!r} | {corpus.texts[other][:60]!r}")
    head = ("rows", "CPU s", "rows/CPU s", "start-up CPU s", "imports MB", "tables MB", "peak MB")
    table((*head, "true pairs", "recall", "false"), shown)
    bench.at_most(f"peak_gb_at_{sizes[-1]}", shown[-1][6] / 1000, 1.2)
    peer = None
    if time.perf_counter() - bench.started < SECONDS_LEFT_FOR_MORE:
        peer = run_peer("rensa", sizes[-1], folder / "texts.jsonl", folder / "rensa.jsonl")
    if peer:
        verdict, cpu = judge(peer, truth, sizes[-1]), peer.figures["cpu"]
        speed = cpu, cpu / found.figures["cpu"]
        columns = (f"rensa, {sizes[-1]:,} rows", "CPU s", "ours is", "recall", "false")
        table(columns, [("", *speed, verdict.recall, verdict.unlike + verdict.opposed)])
        bench.figure(f"speed over rensa at {sizes[-1]}", speed[1])
    kinds = by_kind(found, corpus, sizes[-1])
    table(("altered by", "found, whatever the similarity"), kinds.items())
    for name in SCRIPTS:
        bench.at_least(f"{name}_copies_found", kinds.get(name, math.nan), 1)


def short_texts(bench: Benchmark, rows: int, folder: Path) -> None:
    """Instructions of some 65 characters."""
    corpus = compose(2, rows, SHORT_CHARACTERS, 0.1)
    write(corpus.texts, folder / "texts.jsonl")
    found = run_ours(rows, folder / "texts.jsonl", folder / "ours.parquet")
    verdict, figures = judge(found, find_truth(corpus.texts), rows), found.figures
    mean = sum(map(len, corpus.texts)) / rows
    false = verdict.unlike + verdict.opposed
    head = (
        "short texts",
        "characters",
        "CPU s",
        "rows/CPU s",
        "peak MB",
        "true",
        "recall",
        "false",
    )
    speed = figures["cpu"], rows / figures["cpu"], figures["peak_rss_mb"]
    table(head, [(rows, mean, *speed, verdict.true, verdict.recall, false)])
    bench.figure("short texts: CPU s", figures["cpu"])
    bench.figure("short texts: recall", verdict.recall)
    bench.figure("short texts: false pairs", false)


def many(bench: Benchmark) -> None:
    """Ours alone on very many rows."""
    harness.PROGRAM_SECONDS = 24 * 3_600
    figures = run_ours(ROWS, "composed").figures
    per_row = (figures["peak_rss_mb"] - figures["started_mb"]) * 2**20 / ROWS
    head = ("rows", "CPU s", "rows/CPU s", "rows/s", "pairs", "start MB", "peak MB", "bytes/row")
    speed = figures["cpu"], ROWS / figures["cpu"], ROWS / figures["seconds"]
    sizes = figures["started_mb"], figures["peak_rss_mb"], per_row
    table(head, [(ROWS, *speed, figures["pairs"], *sizes)])
    for name in ("cpu", "seconds", "peak_rss_mb", "pairs"):
        bench.figure(name, figures[name])
    bench.at_most(
        "peak_gb_for_10_million", (figures["started_mb"] + per_row * 1e7 / 2**20) / 1024, 16
    )
    bench.finish()


def main() -> None:
    """Measure and print."""
    bench = Benchmark.start("dedup_lexical", __doc__.splitlines()[0])
    if ROWS:
        many(bench)
    sizes = (1_000, 5_000) if bench.quick else (10_000, 50_000, 200_000)
    beside = 5_000 if bench.quick else 50_000
    corpus = compose(1, sizes[-1], CHARACTERS, 0.1)
    mean = sum(map(len, corpus.texts)) / len(corpus.texts)
    print(f"{len(corpus.texts):,} texts of {mean:,.0f} characters, {len(corpus.kinds):,} planted")
    truth = find_truth(corpus.texts)
    checked = check_truth(corpus, truth)
    print(
        f"{len(truth.pairs):,} true pairs, {len(truth.opposed):,} with other claims, "
        f"{len(truth.brief):,} one slip apart only; {checked:,} agree with brute force "
        f"({time.perf_counter() - bench.started:.0f} s)\n",
        flush=True,
    )
    with scratch() as folder:
        write(corpus.texts, folder / "texts.jsonl")
        compare(bench, corpus, truth, beside, folder)
        growth(bench, corpus, truth, sizes, folder)
        short_texts(bench, 8_000 if bench.quick else 80_000, folder)
    bench.finish()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--program"]:
        program(int(sys.argv[2]), *sys.argv[3:5])
    else:
        main()
