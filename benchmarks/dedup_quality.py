"""Duplicates: which altered copies are found, and what else is merged with them.

DRCD's questions and paragraphs (people's Traditional Chinese) and the sentences of MRPC are altered
in one way at a time and put among the unaltered ones. A copy counts as found when it is removed for
its own original, or for what its original is removed for. Questions that people asked about the
same paragraph, and the two sentences of a pair that people call different in MRPC (which are
compared within their pair, for the same news is there many times), are the hard neighbours: an
original that is removed for another one is a false merge, and what says another number or the
opposite must never be removed. Simplified copies are made by
zhconv (MediaWiki's tables), not by the converter that folding is built on.

"Edited" changes, drops, adds or swaps one Chinese character or English letter at a random place. A
change that alters what is said (a numeral, a negation) is not counted among them.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
from harness import Benchmark, execute, scratch, table
from peers import Peer, interpreter

from kyara_kedro.similarity.guards import claims
from kyara_kedro.similarity.lexical import LexicalOptions, find_pairs
from kyara_kedro.similarity.resolve import resolve
from kyara_kedro.text.fold import match_key

DATA = Path(
    os.environ.get(
        "KYARA_CONFORMANCE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"
    )
)
ZHCONV = Peer("zhconv", ("zhconv==1.4.3",))
OPTIONS = LexicalOptions()
_GLYPHS = (
    "臺台裡裏為爲群羣峰峯床牀線綫眾衆啟啓麵麪污汙秘祕恆恒鉤鈎嘆歎遊游週周佔占佈布煙菸卻却強强"
    "產産戶户內内歲歳說説溫温絕絶錄録黃黄偽僞著着擡抬脫脱稅税閱閲鑑鑒村邨鄰隣牆墻冊册涼凉減减"
    "淨净況况沖冲決决別别梁樑泪淚灾災炮砲猪豬猫貓真眞研硏窗窓粮糧虛虚衛衞軟輭逃迯鎖鎻陰隂顏顔"
    "鬥鬭兇凶匯彙回迴跡蹟吳呉聽聼教敎青靑每毎晚晩"
)
"""Each first character is written as the second."""
GLYPHS = str.maketrans(_GLYPHS[::2], _GLYPHS[1::2])
VERB = re.compile(r"是|有|在|會|能|可以|\b(?:is|are|was|were|has|have|will|can)\b(?!['’])")
MARKS = re.compile(r"(?<!\d)[，。？！、：；,.?!;]|[，。？！、：；]")
NUMERALS = "一二三四五六七八九"


def lines(path: str) -> list[str]:
    with gzip.open(DATA / path, "rt", encoding="utf-8-sig") as file:
        return file.read().splitlines()


def corpus(name: str) -> list[str]:
    """Texts of a corpus, each key once."""
    if name == "questions":
        texts = [json.loads(row)["query"] for row in lines("corpora/drcd_dev_questions.jsonl.gz")]
    elif name == "paragraphs":
        texts = [json.loads(row)["text"] for row in lines("corpora/drcd_dev_paragraphs.jsonl.gz")]
    else:
        cells = [row.split("\t") for row in lines("near_dup/mrpc_train.tsv.gz")[1:]]
        return [text for row in cells if len(row) == 5 and row[0] == "0" for text in row[3:]]
    return list({match_key(text): text for text in texts}.values())


def wide(text: str) -> str:
    """Full-width letters, digits and signs; Chinese ones half-width."""
    marks = dict(zip("，。？！：；（）", ",.?!:;()", strict=True))
    return "".join(marks.get(c) or (chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c) for c in text)


def edited(text: str, rng: random.Random) -> str:
    letters = list(text)
    place = rng.choice([n for n, c in enumerate(letters) if c.isalpha()])
    other = "的是在有人這中大來上為和國地到" if letters[place] > "\u3000" else "etaoinshrd"
    kind = rng.randrange(4)
    if kind == 0:
        letters[place] = rng.choice(other.replace(letters[place], ""))
    elif kind == 1:
        letters[place] = ""
    elif kind == 2:
        letters[place] += rng.choice(other)
    elif place + 1 < len(letters):
        letters[place : place + 2] = letters[place + 1], letters[place]
    return "".join(letters)


def numbered(text: str, rng: random.Random) -> str:
    """Another number where there is one."""
    places = [
        m.start() for m in re.finditer(rf"[0-9]|[{NUMERALS}](?=[年月日個十百千萬次位])", text)
    ]
    if not places:
        return text
    place = rng.choice(places)
    pool = "123456789" if text[place].isdigit() and text[place] < "\u3000" else NUMERALS
    return text[:place] + rng.choice(pool.replace(text[place], "")) + text[place + 1 :]


def denied(text: str, rng: random.Random) -> str:
    """The opposite: a verb is denied."""
    found = list(
        re.finditer(r"是|有|在|會|能|可以|\b(?:is|are|was|were|has|have|will|can)\b(?!['’])", text)
    )
    if not found:
        return text
    match = rng.choice(found)
    if match[0] == "有":
        return f"{text[: match.start()]}沒有{text[match.end() :]}"
    chinese = match[0][0] > "\u3000"
    return (
        f"{text[: match.start()]}不{match[0]}{text[match.end() :]}"
        if chinese
        else f"{text[: match.end()]} not{text[match.end() :]}"
    )


Alteration = Callable[[str, random.Random], str]
FOUND: dict[str, Alteration] = {
    "punctuation": lambda text, rng: MARKS.sub(" ", text) + "。",
    "width and case": lambda text, rng: wide(text).swapcase(),
    "glyphs": lambda text, rng: text.translate(GLYPHS),
    "prefix": lambda text, rng: rng.choice(["請問", "問題：", "Q: ", "我想知道，"]) + text,
    "edited": edited,
}
BARS = dict.fromkeys(("punctuation", "width and case", "glyphs", "simplified"), 0.99) | {
    "edited": 0.92
}
APART: dict[str, Alteration] = {"another number": numbered, "denied": denied}


def simplified(texts: Sequence[str]) -> list[str] | None:
    """The texts as an independent converter simplifies them; None when it cannot be had."""
    python = interpreter(ZHCONV)
    if python is None:
        return None
    with scratch() as folder:
        (folder / "in.json").write_text(json.dumps(list(texts)), "utf-8")
        execute([python, ZHCONV.runner, folder / "in.json", folder / "out.json"])
        found: list[str] = json.loads((folder / "out.json").read_text("utf-8"))
    return found


def removed(
    originals: Sequence[str], copies: dict[int, str], paired: bool
) -> tuple[set[int], list[tuple[str, str]]]:
    """Which copies are removed for their own originals, and which originals for another one."""
    ids = [f"o{n}" for n in range(len(originals))] + [f"c{n}" for n in copies]
    texts = [*originals, *copies.values()]
    labels = [n // 2 if paired else 0 for n in [*range(len(originals)), *copies]]
    quality = [1.0] * len(originals) + [0.5] * len(copies)
    frame = pl.DataFrame({"id": ids, "text": texts, "quality": quality, "label": labels})
    found = resolve(find_pairs([frame], OPTIONS), {"lexical": OPTIONS.threshold})
    kept = dict(found.select("removed_id", "kept_id").iter_rows())
    by_id = dict(zip(ids, texts, strict=True))
    gone = {n for n in copies if f"c{n}" in kept and kept[f"c{n}"] == kept.get(f"o{n}", f"o{n}")}
    return gone, [(by_id[one], by_id[other]) for one, other in kept.items() if one[0] == "o"]


def copies_of(name: str, texts: Sequence[str]) -> dict[str, dict[int, str]]:
    """For each way to alter texts the altered ones by number, those that it changes."""
    alterations = FOUND | APART
    if name == "mrpc":
        del alterations["glyphs"]
    found = {}
    for kind, alter in alterations.items():
        rng = random.Random(f"{name} {kind}")
        found[kind] = {n: alter(text, rng) for n, text in enumerate(texts)}
    if name != "mrpc" and (converted := simplified(texts)):
        found["simplified"] = dict(enumerate(converted))
    same = {n for n, copy in found["edited"].items() if claims(copy) == claims(texts[n])}
    found["edited"] = {n: found["edited"][n] for n in same}
    return {
        kind: {n: copy for n, copy in copies.items() if copy != texts[n]}
        for kind, copies in found.items()
    }


def main() -> None:
    """Measure and print."""
    bench = Benchmark.start("dedup_quality", __doc__.splitlines()[0])
    rows: list[tuple[object, ...]] = []
    recall, merged = {}, {}
    for name in ("questions", "paragraphs", "mrpc"):
        texts = corpus(name)[: 300 if bench.quick and name == "paragraphs" else None]
        _, among = removed(texts, {}, name == "mrpc")
        merged[name] = len(among) / len(texts)
        shown = " | ".join(among[0])[:90] if among else ""
        rows.append((name, "nothing", len(texts), merged[name], shown))
        for kind, copies in copies_of(name, texts).items():
            gone, _ = removed(texts, copies, name == "mrpc")
            recall[name, kind] = len(gone) / len(copies)
            odd = gone if kind in APART else copies.keys() - gone
            shown = next((f"{copies[n]} | {texts[n]}"[:90] for n in sorted(odd)), "")
            rows.append((name, kind, len(copies), recall[name, kind], shown))
    table(("corpus", "altered by", "texts", "removed", "one that should not be, or should"), rows)

    for name, share in merged.items():
        bench.at_most(f"{name}: merged with others", share, 0.003)
    for (name, kind), share in recall.items():
        if kind in APART:
            bench.at_most(f"{name}: {kind}", share, 0)
        elif kind in BARS:
            bench.at_least(f"{name}: {kind}", share, BARS[kind])
        else:
            bench.figure(f"{name}: {kind}", share)
    if ("questions", "simplified") not in recall:
        bench.skipped("simplified", BARS["simplified"], "zhconv cannot be had")
    bench.finish()


if __name__ == "__main__":
    main()
