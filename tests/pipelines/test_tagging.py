"""Tags by a teacher behind an endpoint, and a map that a person edits between two runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from kedro.io import DatasetError
from tests.teachers.loopback import Answer, Server, chat, failed, question, serving

from kyara_kedro.datasets.earlier import EarlierTagMapDataset
from kyara_kedro.datasets.tag_map import TagMapDataset
from kyara_kedro.errors import UserError
from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.curate import tagging
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.quality.tags import GROUNDED, TAGGER
from kyara_kedro.records import CONVERSATION, RAW_TAGS, TAG_EXAMPLE, TAG_MAP, TAGS
from kyara_kedro.teachers.base import Teacher
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher

from .rows import conversations

LIBRARY = PromptLibrary()
ASK = CurateParams(tagger="teacher")
DOCUMENTS = [
    {"passage_id": "id_1a2b3c4d", "title": "憲法", "text": "法院依法律審判，只有文件寫到。"}
]
GROUNDED_PROMPT = LIBRARY.render_rag(DOCUMENTS, "玉山有多高？", "zh-TW").messages[-1]["content"]
POOL = conversations(
    ("請寫一首關於玉山的詩", "好的，山很高。", "再短一點", "山高。"),
    (GROUNDED_PROMPT, "很高。"),
    ("Please write a poem about tea.", "Tea."),
    ("请翻译这个句子", "好。"),
)


def reply(*tags: tuple[str, str]) -> Answer:
    said = [{"tag": tag, "explanation": why} for tag, why in tags]
    return chat(json.dumps({"tags": said}, ensure_ascii=False))


def teacher(server: Server, folder: Path, **options: Any) -> Teacher:
    settings = EndpointOptions(
        model="tagger-1",
        base_url=server.url,
        limits={"in_flight": 4, "backoff": 0.01, "patience": 0.2},  # type: ignore[arg-type]
        **options,
    )
    return OpenAITeacher(settings, Ledger(folder / "replies.db"))


def tag(tagger: Teacher, pool: pl.DataFrame = POOL) -> tuple[pl.DataFrame, pl.DataFrame]:
    raw, examples = tagging.tag_conversations(pool, tagger, LIBRARY, ASK)
    assert raw["id"].sort().to_list() == pool["id"].sort().to_list()
    return RAW_TAGS.validate(raw), TAG_EXAMPLE.validate(examples)


def by_question(raw: pl.DataFrame, row: int) -> dict[str, Any]:
    return raw.row(by_predicate=pl.col("id") == POOL["id"][row], named=True)


def test_a_teacher_sees_what_users_say_and_nothing_else(tmp_path: Path) -> None:
    with serving(lambda n, body: reply(("寫詩", "要求寫詩"), ("玉山", ""))) as server:
        raw, examples = tag(teacher(server, tmp_path))
        again, _ = tag(teacher(server, tmp_path))
    assert len(server.seen) == POOL.height
    asked = [question(body) for body in server.seen]
    assert not any("法院" in text or "山很高" in text for text in asked)
    poem = next(body for body in server.seen if "關於玉山的詩" in question(body))
    assert question(poem).count("user:") == 2
    assert "正體中文" in poem["messages"][0]["content"]
    english = next(body for body in server.seen if "poem about tea" in question(body))
    assert "noun phrase" in english["messages"][0]["content"]
    assert again.equals(raw)
    assert set(raw["tagger"]) == {"tagger-1"} and raw["fault"].null_count() == POOL.height
    assert by_question(raw, 0)["raw_tags"] == ["寫詩", "玉山"]
    assert by_question(raw, 1)["raw_tags"] == [GROUNDED, "寫詩", "玉山"]
    assert dict(examples.select("tag", "explanation").iter_rows())["寫詩"] == "要求寫詩"


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (lambda: chat("這是一首詩"), "teacher_invalid: not_json"),
        (lambda: chat('{"tags": []}'), "teacher_invalid: schema"),
        (lambda: reply(("=", ""), (" ", "")), None),
        (lambda: reply(("=", "")), "no_tags"),
        (lambda: chat('{"tags": [', finish="length"), "teacher_truncated"),
        (lambda: failed(400), "teacher_rejected"),
    ],
)
def test_no_conversation_is_lost_for_want_of_a_tag(
    tmp_path: Path, bad: Callable[[], Answer], fault: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        return bad() if "翻译" in str(body["messages"]) else reply(("詩", "詩"))

    with serving(answer) as server:
        raw, examples = tag(teacher(server, tmp_path))
    row = by_question(raw, 3)
    assert row["tagger"] == TAGGER and "翻譯" in row["raw_tags"]
    assert row["fault"].startswith(fault or "teacher_invalid: schema")
    assert by_question(raw, 0)["tagger"] == "tagger-1"
    _, tags, summary = tagging.normalise_tags(raw, examples, TAG_MAP.frame(), None, tmp_path, ASK)
    assert TAGS.validate(tags).height == POOL.height
    assert summary["faults"] == {row["fault"].partition(":")[0]: 1}
    assert summary["taggers"] == {"tagger-1": 3, TAGGER: 1}
    assert "the rules tagged what the teacher did not" in caplog.text


def test_a_spent_budget_stops_and_the_next_run_asks_for_the_rest_alone(tmp_path: Path) -> None:
    with serving(lambda n, body: reply(("詩", ""))) as server:
        with pytest.raises(UserError, match=r"tag_conversations: .* run again to go on"):
            tag(teacher(server, tmp_path, budget={"requests": 2}))
        assert len(server.seen) == 2
        tag(teacher(server, tmp_path))
        assert len(server.seen) == POOL.height


def test_the_embedded_teacher_tags_as_the_rules_do() -> None:
    rules, _ = tagging.tag_conversations(POOL, ExtractiveTeacher(), LIBRARY, CurateParams())
    asked, _ = tag(ExtractiveTeacher())
    assert asked.select("id", "raw_tags").equals(rules.select("id", "raw_tags"))
    assert set(asked["tagger"]) == {"extractive-rules-v1"} and set(rules["tagger"]) == {TAGGER}


class Encoder:
    """Tells by the first letter, and counts what it is given."""

    identity = "first letter"

    def __init__(self) -> None:
        self.given: list[str] = []

    def passages(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        self.given += texts
        return np.array([[len(text), 1.0] for text in texts], np.float32)


def test_near_meanings_come_from_the_encoder_and_vectors_are_kept(tmp_path: Path) -> None:
    raw = RAW_TAGS.frame(
        {"id": str(n), "raw_tags": [name], "tagger": "t", "fault": None}
        for n, name in enumerate(["煮飯", "煮飯", "烹飪", "烹飪", "語", "語"])
    )
    encoder = Encoder()
    maps = [
        tagging.normalise_tags(
            raw,
            TAG_EXAMPLE.frame(),
            TAG_MAP.frame(),
            encoder,
            tmp_path,
            CurateParams(),  # type: ignore[arg-type]
        )[0]
        for _ in range(2)
    ]
    assert maps[0].equals(maps[1])
    finals = dict(maps[0].select("raw", "final").iter_rows())
    assert finals == {"煮飯": "烹飪", "烹飪": "烹飪", "語": "語"}
    assert sorted(encoder.given) == ["烹飪", "煮飯", "語"]


def test_a_map_that_a_person_edits_decides_in_the_runs_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tag_map.csv"
    written = TagMapDataset(filepath=str(file))
    earlier = EarlierTagMapDataset(filepath=str(file))
    pool = conversations(
        *((f"請翻譯第{n}句", "好。") for n in range(4)), ("嗯", "好"), ("喔", "好")
    )
    raw, examples = tagging.tag_conversations(pool, ExtractiveTeacher(), LIBRARY, CurateParams())

    def run() -> tuple[pl.DataFrame, dict[str, Any]]:
        found = earlier.load()
        tag_map, tags, summary = tagging.normalise_tags(
            raw, examples, found, None, tmp_path, CurateParams()
        )
        written.save(TAG_MAP.validate(tag_map))
        return tags, summary

    tags, summary = run()
    assert summary["edits"] == {"in_force": 0, "without_tag": 0, "named": []}
    assert "翻譯" in tags["tags"].explode().to_list()
    text = file.read_text("utf-8-sig")
    assert text.startswith("raw,final,") and "「翻譯」" in text
    edited = text.replace("翻譯,翻譯,", "翻譯,語言轉換,") + "沒有的標籤,別的\n"
    file.write_bytes(edited.replace("\n", "\r\n").encode("utf-8-sig"))
    for _ in range(2):
        with caplog.at_level("INFO"):
            tags, summary = run()
        assert "語言轉換" in tags["tags"].explode().to_list()
        assert summary["edits"] == {"in_force": 1, "without_tag": 1, "named": ["沒有的標籤"]}
        said = "edits by hand in force: 1; of tags that nobody gives now: 1 (沒有的標籤)"
        assert said in caplog.text
        caplog.clear()
    before = file.read_bytes()
    run()
    assert file.read_bytes() == before
    file.write_bytes(edited.encode("big5"))
    with pytest.raises(DatasetError, match=r"tag_map\.csv, row 2: this is not UTF-8"):
        run()


def test_nothing_in_is_nothing_out(tmp_path: Path) -> None:
    raw, examples = tagging.tag_conversations(
        CONVERSATION.frame(), ExtractiveTeacher(), LIBRARY, ASK
    )
    tag_map, tags, summary = tagging.normalise_tags(
        raw, examples, TAG_MAP.frame(), None, tmp_path, ASK
    )
    assert raw.is_empty() and tag_map.is_empty() and TAGS.validate(tags).is_empty()
    quality = pl.DataFrame(schema={"id": pl.String, "score": pl.Float64})
    figures = tagging.draw_tags(tags, summary, CONVERSATION.frame(), quality)
    assert all("<svg" in figure.svg() and figure.plotly()["data"] for figure in figures)
