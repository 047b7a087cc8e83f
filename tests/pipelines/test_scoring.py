"""Quality as a run makes it: scorers side by side, a judge over HTTP, one score, pictures."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.teachers.loopback import Answer, Server, chat, failed, serving

from kyara_kedro.datasets.table import Frames
from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.curate import scoring, selecting
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.rubric import CRITERIA
from kyara_kedro.quality import heuristics
from kyara_kedro.quality.calibration import combine
from kyara_kedro.quality.selection import SelectionOptions
from kyara_kedro.records import DECISION, DROP, QUALITY, RAW_SCORES, SIMILAR_PAIR, TAGS
from kyara_kedro.reporting import dataset_card as card
from kyara_kedro.shards import Shard
from kyara_kedro.teachers.base import Teacher
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from reward_models import classifier

from .rows import conversations

LIBRARY = PromptLibrary()
POOL = pl.concat(
    [
        conversations(
            *(
                (f"請說明第{n}種茶的作法。", f"第{n}種茶先{'揉捻' * (n % 4 + 1)}，再烘乾。")
                for n in range(8)
            ),
            source="zh",
        ),
        conversations(
            *((f"How is tea {n} made?", f"Tea {n} is rolled, then dried.") for n in range(4)),
            source="en",
        ),
        conversations(("这种茶怎么制作？请说说。", "这种茶先晒干，再烘干，最后装箱。")),
    ]
)


def params(**scorers: Any) -> CurateParams:
    return CurateParams.model_validate({"quality": {"scorers": scorers}} if scorers else {})


def scored(
    settings: CurateParams, folder: Path, judge: Teacher | None = None, pool: pl.DataFrame = POOL
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    made = scoring.score_conversations(
        pool, settings, judge or ExtractiveTeacher(), LIBRARY, folder
    )
    assert isinstance(made, Frames)
    raw = RAW_SCORES.validate(pl.concat(made))
    assert raw.equals(pl.concat(made))
    assert raw["id"].to_list() == pool["id"].to_list()
    table, summary, _ = scoring.combine_scores(raw.lazy(), settings)
    quality = QUALITY.validate(pl.concat(table))
    assert quality["id"].to_list() == pool["id"].to_list()
    return raw, quality, summary


def aspects(quality: pl.DataFrame) -> list[dict[str, float]]:
    return [{one["aspect"]: one["value"] for one in row} for row in quality["aspects"].to_list()]


def test_by_default_the_heuristics_score_alone(tmp_path: Path) -> None:
    _, quality, summary = scored(params(), tmp_path)
    alone = heuristics.score(POOL)
    assert quality["score"].to_list() == pytest.approx(alone["score"].to_list())
    assert set(quality["scorer"]) == {heuristics.SCORER}
    parts = aspects(quality)[0]
    assert parts["heuristics"] == quality["score"][0]
    assert "heuristics.completeness" in parts
    assert summary["conversations"]["scored_by_all"] == POOL.height
    assert not list(tmp_path.iterdir())


def test_rules_that_do_not_apply_say_so(tmp_path: Path) -> None:
    only = {"kind": "heuristics", "weights": {"script": 1.0}}
    _, quality, summary = scored(params(rules=only), tmp_path)
    assert quality.filter(pl.col("score").is_null())["id"].to_list() == POOL["id"][8:].to_list()
    assert summary["scorers"]["rules"]["without"] == {"no_aspect": 5}


def test_no_conversations(tmp_path: Path) -> None:
    model = classifier(tmp_path / "rm")
    settings = params(
        heuristics={"kind": "heuristics"},
        reward={"kind": "reward_model", "model": str(model)},
        judge={"kind": "judge"},
    )
    _, quality, summary = scored(settings, tmp_path / "values", pool=POOL.clear())
    assert quality.is_empty()
    assert summary["conversations"]["total"] == 0


def grades(*values: Any, reason: str = "沒有缺失。") -> str:
    return json.dumps({"reason": reason, **dict(zip(CRITERIA, values, strict=True))})


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[Server], Teacher]:
    ledger = Ledger(tmp_path / "replies.db")

    def make(server: Server) -> Teacher:
        return OpenAITeacher(
            EndpointOptions(model="judge-1", base_url=server.url, role="judge"), ledger
        )

    return make


def number(body: dict[str, Any]) -> tuple[str, int]:
    said = body["messages"][1]["content"]  # asked once more, it is followed by other turns
    found = re.search(r"第(\d)種茶|tea (\d)", said)
    if found is None:
        return "zh-CN", 0
    return ("zh-TW", int(found[1])) if found[1] else ("en", int(found[2]))


def test_a_judge_grades_over_http_and_is_paid_once(
    tmp_path: Path, judged: Callable[[Server], Teacher]
) -> None:
    def answer(_: int, body: dict[str, Any]) -> Answer:
        language, n = number(body)
        odd = {
            2: chat(grades(6, 5, 5, 5)),
            3: chat("我給滿分！"),
            4: chat(grades(-1, 0, 5, 5)),
            5: chat("<reason>無</reason>" + "".join(f"<{c}>4</{c}>" for c in CRITERIA)),
            6: chat(grades(4.5, True, 5, 5)),
            7: failed(400, "context_length_exceeded"),
        }
        good = chat(f"```json\n{grades(1 + n, 5, 4, 3)}\n```")
        return odd.get(n, good) if language == "zh-TW" else good

    settings = params(heuristics={"kind": "heuristics"}, judge={"kind": "judge", "weight": 3})
    with serving(answer) as server:
        raw, quality, summary = scored(settings, tmp_path / "values", judged(server))
        asked = len(server.seen)
        assert scored(settings, tmp_path / "values", judged(server))[1].equals(quality)
        refused = len(server.seen) - asked
        edited = POOL.with_row_index().with_columns(
            id=pl.when(pl.col("index") == 0).then(pl.lit("f" * 32)).otherwise("id")
        )
        scored(settings, tmp_path / "values", judged(server), edited.drop("index"))
        assert len(server.seen) == asked + 2 * refused  # another id, the same content
    told = {"zh-TW": "臺灣的用字", "en": "whole grade", "zh-CN": "评委"}
    for body in server.seen:
        assert told[number(body)[0]] in body["messages"][0]["content"]
    # whatever is no reply in its form is asked for once more; refusals (400) are not kept
    assert asked == POOL.height + 4
    assert refused <= 1
    judge = raw["scores"].list.get(1).struct.unnest()
    assert set(judge["name"]) == {"judge:judge-1"}
    reasons = dict(zip(POOL["id"], judge["reason"], strict=True))
    chinese = [reasons[name] for name in POOL["id"][:8]]
    assert chinese[:2] == [None, None]
    assert chinese[2:5] == ["teacher_invalid"] * 3
    assert chinese[5:] == [None, "teacher_invalid", "teacher_rejected"]
    assert judge["value"].to_list() == [
        *((1 + 5 + 4 + 3) / 4, (2 + 5 + 4 + 3) / 4, None, None, None, 4.0, None, None),
        *((1 + n + 5 + 4 + 3) / 4 for n in range(4)),
        (1 + 5 + 4 + 3) / 4,
    ]
    first = aspects(quality)[0]
    assert first["judge.raw"] == 3.25
    assert first["judge"] == (3.25 - 1) / 4
    assert [first[f"judge.{name}"] for name in CRITERIA] == [1, 5, 4, 3]
    assert quality["score"][0] == pytest.approx((first["heuristics"] + 3 * first["judge"]) / 4)
    third = aspects(quality)[2]
    assert quality["score"][2] == third["heuristics"]
    assert not [name for name in third if name.startswith("judge")]
    assert quality["scorer"][2] == heuristics.SCORER
    assert summary["scorers"]["judge"]["without"] == {"teacher_invalid": 4, "teacher_rejected": 1}
    assert summary["conversations"] == {
        "total": 13,
        "scored_by_all": 8,
        "scored_by_some": 5,
        "scored_by_none": 0,
    }
    mean = [one["mean"] for one in summary["scorers"]["judge"]["languages"].values()]
    assert min(mean) >= 1


def test_a_conversation_that_nobody_scored_is_dropped_with_a_reason(
    tmp_path: Path, judged: Callable[[Server], Teacher]
) -> None:
    def answer(_: int, body: dict[str, Any]) -> Answer:
        return failed(400) if number(body) == ("en", 3) else chat(grades(5, 5, 5, 5))

    with serving(answer) as server:
        _, quality, summary = scored(
            params(judge={"kind": "judge"}), tmp_path / "values", judged(server)
        )
    lost = POOL["id"][11]
    assert quality.filter(pl.col("score").is_null())["id"].to_list() == [lost]
    assert summary["conversations"]["scored_by_none"] == 1
    settings = CurateParams(selection=SelectionOptions(budget=1.0))
    tags = TAGS.frame(
        {"id": name, "raw_tags": [], "tags": ["茶"], "complexity": 1, "tagger": "test"}
        for name in POOL["id"]
    )
    pairs = SIMILAR_PAIR.frame()
    refined, dropped, _ = selecting.select_conversations(
        POOL, tags, quality, DECISION.frame(), pairs, pairs, settings
    )
    DROP.validate(dropped)
    assert lost not in refined["id"]
    assert dropped.filter(record_id=lost)["reason"].to_list() == ["unscored"]


def test_a_reward_model_and_rules_side_by_side(tmp_path: Path) -> None:
    settings = params(
        heuristics={"kind": "heuristics"},
        reward={"kind": "reward_model", "model": str(classifier(tmp_path / "rm")), "weight": 2},
        judge={"kind": "judge", "weight": 0},
    )
    raw, quality, summary = scored(settings, tmp_path / "values")
    assert summary["conversations"]["scored_by_all"] == POOL.height
    for language in POOL["language"].unique():
        here = [
            parts["reward"]
            for parts, said in zip(aspects(quality), POOL["language"], strict=True)
            if said == language
        ]
        assert sum(here) / len(here) == pytest.approx(0.5)
    assert {tuple(one["scorers"]) for one in summary["agreement"]} == {
        ("heuristics", "reward"),
        ("heuristics", "judge"),
        ("reward", "judge"),
    }
    *_, distributions = scoring.combine_scores(raw.lazy(), settings)
    assert "<svg" in distributions.svg()
    assert len(distributions.series) == POOL["language"].n_unique()
    reward = combine(raw.lazy(), settings.quality.scorers).raw["reward"]
    for line in distributions.series:
        assert line.x == ("heuristics", "reward", "judge")
        code = next(key for key, name in card.LANGUAGE_NAMES.items() if name == line.name)
        median = reward.filter(POOL["language"] == code).median()
        span = reward.max() - reward.min()  # type: ignore[operator]
        assert line.y[1] == pytest.approx((median - reward.min()) / span, abs=1e-4)  # type: ignore[operator]
        assert all(a <= b <= c for a, b, c in zip(line.low, line.y, line.high, strict=True))  # type: ignore[operator]


def test_what_shards_have_scored_is_not_scored_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kyara_kedro.quality.rewards._AT_ONCE", 1)
    monkeypatch.setattr("kyara_kedro.datasets.table._BATCH_ROWS", 3)
    settings = params(reward={"kind": "reward_model", "model": str(classifier(tmp_path / "rm"))})
    alone, _, _ = scored(settings, tmp_path / "alone")
    counts = [
        scoring.score_rewards(POOL.lazy(), settings, tmp_path / "shared", shard=Shard(number, 3))
        for number in (1, 2, 3)
    ]
    assert sum(counts) == POOL.height
    caplog.clear()
    with caplog.at_level("INFO", "kyara_kedro"):
        shared, _, _ = scored(settings, tmp_path / "shared")
    assert ": 0 conversations scored anew" in caplog.text
    assert shared.equals(alone)


def test_the_embedded_judge_says_that_it_is_rules(tmp_path: Path) -> None:
    good = ("請說明茶葉的烘乾作法。", "茶葉的烘乾作法是先揉捻，再以熱風烘乾茶葉。")
    pool = conversations(
        good,
        (good[0], "抱歉，我無法回答。"),
        (good[0], "茶叶的烘干作法是先揉捻，再烘干这些茶叶，让它变干"),
    )
    raw, quality, _ = scored(params(judge={"kind": "judge"}), tmp_path, pool=pool)
    assert set(quality["scorer"]) == {"judge:extractive-rules-v1"}
    first, second, third = raw["scores"].list.get(0).struct.field("value")
    assert first > second
    assert first > third
    assert aspects(quality)[2]["judge.language"] < aspects(quality)[0]["judge.language"]
