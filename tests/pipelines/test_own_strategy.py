"""A strategy of the user's own: a function and a prompt outside of the package."""

import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.pipelines.synthesis import Corpus, corpus_of, personas, synthesized

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.errors import UserError
from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore
from kyara_kedro.params import IngestParams, OwnStrategyParams, SynthesizeParams
from kyara_kedro.records import CONVERSATION, DROP
from kyara_kedro.runners.reads import plain

from support import ROOT

SAMPLE = ROOT / "data" / "01_raw" / "sample"
STRATEGY = """
from kyara_kedro.pipelines.synthesize.strategy import assistant, shown, synthetic, unsupported, user

def introduce(desk, seeds, sources, basket):
    asked = {name: f"{row['title']}是什麼？" for name, row in seeds.items()}
    replies = desk.write(
        [
            desk.ask(name, "answer_question", seeds[name]["language"], question=question,
                     documents=[shown(seeds[name])], style="brief", cite=False)
            for name, question in asked.items()
        ],
        "introductions",
    )
    for name, reply in replies.items():
        row = seeds[name]
        text, why = desk.answered(reply, row["language"])
        why = why or unsupported(text, {"text": asked[name]}, [row], 0.5)
        if not why and "玉山" not in text:
            why = "another_mountain", text
        if why:
            basket.drop(name, why)
        else:
            turns = [user(asked[name]), assistant(text)]
            basket.put(name, synthetic(turns, "introductions", row["language"], reply, [row["id"]],
                                       row["licence"], [row["passage_id"]]))

def forgetful(desk, seeds, sources, basket):
    for name in list(seeds)[1:]:
        basket.drop(name, ("other", "forgets one"))

NUMBER = 1
"""
KNOWN = {"knowledge": {"target": 0, "styles": {"none": ["brief"], "scenario": ["brief"]}}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    names = ("geography/yushan.md", "law/copyright.md")
    files = [SourceFile(SAMPLE / "documents" / "zh-TW" / name, name) for name in names]
    base: Path = tmp_path_factory.mktemp("base")
    with KnowledgeStore(KnowledgeOptions(path=base / "base")) as store:
        people = personas(SAMPLE / "personas.jsonl").head(2)
        yield corpus_of(files, people, store, IngestParams(licence="CC0-1.0"))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_strategies.py").write_text(STRATEGY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_strategies", raising=False)
    return "my_strategies"


def settings(own: dict[str, Any]) -> SynthesizeParams:
    return SynthesizeParams.model_validate(KNOWN | {"own": own})


def test_its_conversations_and_drops_join_the_others(corpus: Corpus, module: str) -> None:
    own = {"introductions": {"function": f"{module}:introduce", "seeds": "passages"}}
    tables = synthesized(corpus, settings(own))
    rows = CONVERSATION.validate(tables["own_conversations"])
    assert 0 < rows.height < corpus.passages.height
    assert "another_mountain" in set(tables["own_drops"]["reason"])
    assert set(rows["id"]) <= set(tables["synthetic_conversations"]["id"])
    flow = tables["synthesize_summary"]["introductions"]
    assert flow["in"] == corpus.passages.height == flow["out"] + sum(flow["dropped"].values())
    assert flow["out"] == rows.height
    drops = DROP.validate(tables["synthesize_drops"])
    assert set(tables["own_drops"]["record_id"]) <= set(drops["record_id"])
    assert all(calls for calls in rows["calls"].to_list())


def test_it_yields_what_is_asked_for(corpus: Corpus, module: str) -> None:
    own = {"introductions": {"function": f"{module}:introduce", "seeds": "passages", "target": 1}}
    tables = synthesized(corpus, settings(own))
    assert tables["own_conversations"].height == 1
    assert tables["synthesize_summary"]["introductions"]["dropped"]["not_needed"] > 0


def test_one_that_forgets_a_seed_is_told(corpus: Corpus, module: str) -> None:
    own = {"mine": {"function": f"{module}:forgetful", "seeds": "documents"}}
    with pytest.raises(UserError, match=r"own\.mine: .*:forgetful was given 1 documents and ended"):
        synthesized(corpus, settings(own))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nowhere:write", "nowhere:write: No module named 'nowhere'; write it as module:function"),
        ("my_strategies:write", "my_strategies has no function 'write'"),
        ("my_strategies:NUMBER", "has no function 'NUMBER'"),
        ("my_strategies", "has no function ''"),
        (":write", "write it as module:function"),
    ],
)
def test_a_function_that_is_not_there_stops_the_run_before_it_starts(
    module: str, function: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        OwnStrategyParams(function=function, seeds="passages")


def test_an_edited_function_is_another_setting(module: str, tmp_path: Path) -> None:
    def told() -> object:
        own = {"mine": {"function": f"{module}:forgetful", "seeds": "documents"}}
        return plain(settings(own).own)

    before = told()
    assert before == told()
    with (tmp_path / f"{module}.py").open("a", encoding="utf-8") as file:
        file.write("NUMBER = 2\n")
    linecache.checkcache()
    assert told() != before


@pytest.mark.parametrize("name", ["knowledge", "total", "Big", "two words"])
def test_a_name_that_is_taken_or_no_word_is_refused(module: str, name: str) -> None:
    own = {name: {"function": f"{module}:introduce", "seeds": "passages"}}
    with pytest.raises(ValidationError):
        settings(own)
