"""The embedded model learns: three stages on the kind of data that the sample corpus gives."""

import json
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from kyara_kedro.content import Message
from kyara_kedro.training.chat import PreferencePair
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import (
    REFINE,
    DPOOptions,
    EmbeddedModelOptions,
    GenerationOptions,
    SFTOptions,
)

from .stores import learn, prefer
from .writing import generate

MOUNTAINS = re.findall(
    r"\w+", "玉山 雪山 大霸尖山 合歡山 奇萊山 南湖大山 秀姑巒山 北大武山 能高山 關山 塔關山 向陽山"
)
RIVERS = re.findall(
    r"\w+", "濁水溪 高屏溪 淡水河 大甲溪 曾文溪 秀姑巒溪 蘭陽溪 卑南溪 大安溪 北港溪"
)
TEMPLES = re.findall(r"\w+", "龍山寺 天后宮 保安宮 文武廟 鎮瀾宮 指南宮 城隍廟 行天宮 開元寺")
COUNTIES = re.findall(
    r"\w+", "南投縣 臺中市 花蓮縣 臺東縣 高雄市 屏東縣 嘉義縣 宜蘭縣 苗栗縣 新竹縣"
)
SURNAMES, MIDDLES, ENDS = "陳林黃張李王吳劉蔡楊", "文德永清國", "山河雄章輝"
SYSTEMS = ("你是一位熟悉臺灣的助理。", "請用繁體中文回答。", "你是導覽員，回答要簡短。")
PREFIX = "根據參考文件，"
SEEDS = range(int(os.environ.get("KYARA_SEEDS", "1")))
"""Each takes up to a minute; three are to be looked at when the training has changed."""


class Fact(NamedTuple):
    question: str
    answer: str


def facts(seed: int) -> list[Fact]:
    """62 invented facts of six kinds, asked in several wordings."""
    draw = random.Random(seed)
    found = []
    for name in MOUNTAINS:
        found.append(Fact(f"{name}主峰的海拔是多少公尺？", f"{draw.randint(2000, 3952):,}公尺"))
        found.append(Fact(f"{name}位於哪一個縣市？", draw.choice(COUNTIES)))
    for name in RIVERS:
        found.append(Fact(f"{name}全長多少公里？", f"{draw.randint(50, 187)}公里"))
        found.append(Fact(f"{name}的出海口在哪裡？", draw.choice(COUNTIES)))
    for name in TEMPLES:
        builder = draw.choice(SURNAMES) + draw.choice(MIDDLES) + draw.choice(ENDS)
        found.append(Fact(f"{name}建於哪一年？", f"西元{draw.randint(1650, 1930)}年"))
        found.append(Fact(f"{name}由誰主持興建？", builder))
    return found


PROSE = """臺灣的山高，河短，雨多。清晨的圖書館裡，小朋友翻開地圖，想知道每一座山有多高。
老師告訴他們：讀文章以前，先看題目，再看下面的段落，查資料，問問題，最後把答案寫下來。
廟口的老先生說，這裡以前是一片田，後來人們從海邊搬來，建了廟，孩子們就在樹下聽故事。
旅客上山看日出，下山喝茶；他們請導覽員介紹這裡的歷史，也請廚師說一說地方菜是怎麼來的。"""


def corpus(known: Sequence[Fact]) -> list[str]:
    """Articles that tell the facts, and some prose; the tokenizer learns from them."""
    return [PROSE, *(fact.question.rstrip("？") + "：" + fact.answer + "。" for fact in known)]


Phrasing = Callable[[Fact], tuple[str, str]]

PHRASINGS: tuple[Phrasing, ...] = (
    lambda fact: (fact.question, fact.answer),
    lambda fact: (
        f"導覽員被遊客問到：「{fact.question}」，應該怎麼回答？請只給答案。",
        fact.answer,
    ),
    lambda fact: (f"考卷上有一題：{fact.question}請直接寫出答案。", fact.answer),
    lambda fact: (f"請用一句話回答，不必解釋：{fact.question}", fact.answer),
    lambda fact: (
        f'{fact.question}請用 JSON 回答，格式是 {{"答案": "…"}}。',
        json.dumps({"答案": fact.answer}, ensure_ascii=False),
    ),
)


UNSEEN: tuple[Callable[[str], str], ...] = (
    lambda question: f"小朋友在圖書館查資料，想知道「{question}」請告訴他。",
    lambda question: f"請問{question}",
    lambda question: f"回答下面的問題。\n問題：{question}",
)


class Row(NamedTuple):
    messages: list[Message]
    noisy: bool


def rows(known: Sequence[Fact], seed: int) -> list[Row]:
    """Three or four phrasings of every fact; 30 % noisy, a quarter with a system prompt."""
    draw = random.Random(seed)
    made = []
    for fact in known:
        for phrasing in draw.sample(PHRASINGS, draw.choice((3, 4))):
            question, answer = phrasing(fact)
            noisy = draw.random() < 0.3
            messages = [
                Message(role="user", content=question),
                Message(role="assistant", content=PREFIX + answer if noisy else answer),
            ]
            if draw.random() < 0.25:
                messages.insert(0, Message(role="system", content=draw.choice(SYSTEMS)))
            made.append(Row(messages, noisy))
    return made


def refined(base: Sequence[Row], seed: int) -> list[list[Message]]:
    """Half as many rows, all of them clean."""
    clean = [row.messages for row in base if not row.noisy]
    return random.Random(seed).sample(clean, len(base) // 2)


def exact_match(model: ModelRef, known: Sequence[Fact]) -> float:
    """Share of right answers to the questions in phrasings that no training row has."""
    asked = [(phrasing(fact.question), fact.answer) for phrasing in UNSEEN for fact in known]
    conversations = [[Message(role="user", content=question)] for question, _ in asked]
    answers = generate(model, conversations, GenerationOptions(max_new_tokens=24))
    hits = [given.text == answer for given, (_, answer) in zip(answers, asked, strict=True)]
    return sum(hits) / len(hits)


def self_play(model: ModelRef, clean: Sequence[list[Message]]) -> list[PreferencePair]:
    """The data set's answers against four samples of the model, where they differ."""
    pairs: dict[tuple[str, str], PreferencePair] = {}
    sampling = GenerationOptions(max_new_tokens=32, temperature=1.0)
    asked = [(messages[:-1], messages[-1]["content"]) for messages in clean for _ in range(4)]
    own = generate(model, [prompt for prompt, _ in asked], sampling)
    for (prompt, chosen), answer in zip(asked, own, strict=True):
        if answer.stopped and answer.text not in ("", chosen):
            key = (prompt[-1]["content"], answer.text)
            pairs[key] = PreferencePair(
                prompt=prompt, chosen=chosen, rejected=answer.text, prefix=None
            )
    return list(pairs.values())


@pytest.mark.end_to_end
@pytest.mark.parametrize("seed", SEEDS)
def test_three_stages_learn_facts_that_are_asked_in_new_words(
    seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    known = facts(seed)
    table = rows(known, seed)
    clean = refined(table, seed)
    texts = [turn["content"] for row in table for turn in row.messages]
    spent = time.process_time()

    start = build_embedded_base(
        [*corpus(known), *texts], EmbeddedModelOptions(seed=seed), tmp_path / "embedded"
    )
    whole = [row.messages for row in table]
    base = learn(start, whole, SFTOptions(seed=seed), tmp_path, "sft_base")
    refine = learn(base.model, clean, REFINE, tmp_path, "sft_refine")
    pairs = self_play(refine.model, clean)
    dpo = prefer(refine.model, pairs, DPOOptions(seed=seed), tmp_path)

    scores = {
        stage: exact_match(model, known)
        for stage, model in (
            ("start", start),
            ("base", base.model),
            ("refine", refine.model),
            ("dpo", dpo.model),
        )
    }
    record_property("exact_match", scores)
    record_property("cpu_seconds", time.process_time() - spent)
    losses = [point["value"] for point in base.curve if point["metric"] == "loss"]
    assert losses[0] > 5
    assert losses[-1] < 0.5
    assert scores["start"] == 0.0
    assert 0.3 < scores["base"] < scores["refine"]
    assert scores["refine"] > 0.6
    assert scores["dpo"] >= scores["refine"] - 0.05
