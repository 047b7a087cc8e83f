"""A tiny real model plays against its corpus: here, over HTTP, killed and started again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tokenizers.processors import TemplateProcessing

from kyara_kedro.decoding import Decoder
from kyara_kedro.errors import UserError
from kyara_kedro.judging.self_play import SPIN, SPPO
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.asking import assistant, user
from kyara_kedro.pipelines.balance import Flow
from kyara_kedro.pipelines.preference import contest, selfplay
from kyara_kedro.pipelines.tuned import tuned_request
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import DROP, GENERATION, PREFERENCE
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.serving import served
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef, ModelRefError
from kyara_kedro.training.options import DPOOptions, EmbeddedModelOptions, SFTOptions
from training.stores import learn, prefer

from .rows import conversations, prompts

FACTS = [(f"第{number}號公園種了幾棵樹？", f"一共種了{number * 7}棵樹。") for number in range(24)]
ROWS = conversations(*FACTS).with_columns(
    parents=pl.Series([[f"d{number}"] for number in range(len(FACTS))])
)
RULES = JUDGE = ExtractiveTeacher()
LIBRARY = PromptLibrary()


def params(**more: Any) -> PreferenceParams:
    settings = {"held_out": 0.25, "batch_size": 4} | more
    return PreferenceParams.model_validate({"self_play": settings})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(store: Path) -> ModelRef:
    """A model that has half learned its corpus."""
    shape = EmbeddedModelOptions(hidden=64, intermediate=128, window=16)
    texts = [text for fact in FACTS for text in fact] * 2
    base = build_embedded_base(texts, shape, store / "base" / "tiny")
    options = SFTOptions(epochs=24, warmup_steps=2)
    rows = ROWS["messages"].to_list()
    return learn(base, rows, options, store, "sft_refine").model


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "self_play.db") as opened:
        yield opened


def play(model: ModelRef, ledger: Ledger, earlier: Any = None, **more: Any) -> pl.DataFrame:
    before = GENERATION.frame() if earlier is None else earlier
    found = selfplay.play_against_itself(ROWS, model, before, RULES, ledger, params(**more))
    return GENERATION.validate(found)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that a model writes."""
    sizes: list[int] = []
    draw = Decoder._draw

    def noting(self: Decoder, prompts: Any, *more: Any) -> Any:
        sizes.append(len(prompts))
        return draw(self, prompts, *more)

    monkeypatch.setattr(Decoder, "_draw", noting)
    return sizes


def test_the_model_answers_what_it_has_learned(model: ModelRef, ledger: Ledger) -> None:
    found = play(model, ledger)
    assert found["conversation_id"].to_list() == ROWS["id"].to_list()
    assert set(found["model"]) == {model.fingerprint}
    assert set(found["method"]) == {SPIN}
    assert set(found["max_tokens"]) == {64}, "as long as the longest answer, in steps of 64"
    assert found["fault"].null_count() == found.height
    assert found["output"].str.contains("棵樹").sum() > 12


def test_every_answer_makes_a_pair_or_a_drop(model: ModelRef, ledger: Ledger) -> None:
    found = play(model, ledger)
    pairs, dropped, played = selfplay.pair_self_play(ROWS, found, params())
    Flow("self_play", played, PREFERENCE.validate(pairs).height, DROP.validate(dropped)).counts()
    reasons = set(dropped["reason"])
    assert "held_out" in reasons
    assert pairs.height > 5
    truth = dict(FACTS)
    for row in pairs.iter_rows(named=True):
        assert row["chosen"] == truth[row["prompt"][0]["content"]] != row["rejected"]


def test_a_killed_run_goes_on_with_what_is_missing(
    model: ModelRef, tmp_path: Path, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(tmp_path / "whole.db") as ledger:
        whole = play(model, ledger)
    assert sum(written) == len(FACTS)
    written.clear()
    noting = Decoder._draw

    def dying(self: Decoder, prompts: Any, *more: Any) -> Any:
        if sum(written) >= 12:
            raise KeyboardInterrupt
        return noting(self, prompts, *more)

    with monkeypatch.context() as patch, Ledger(tmp_path / "killed.db") as ledger:
        patch.setattr(Decoder, "_draw", dying)
        with pytest.raises(KeyboardInterrupt):
            play(model, ledger)
    with Ledger(tmp_path / "killed.db") as ledger:
        again = play(model, ledger)
        assert sum(written) == len(FACTS), "nothing is written twice"
        assert again.equals(whole)
        written.clear()
        assert play(model, ledger).equals(whole)
    assert written == []


def test_a_sequence_is_begun_once(model: ModelRef) -> None:
    tokenizer = load_tokenizer(model)
    sampling = {"sample": 0, "temperature": 1.0, "top_p": 1.0, "max_tokens": 8}

    def raw() -> str:
        return tuned_request("r", tokenizer, [user("玉山？")], "contest", **sampling).raw

    turns = "<start_of_turn>user\n玉山？<end_of_turn>\n<start_of_turn>model\n"
    assert raw() == f"<bos>{turns}"
    begins = [("<bos>", tokenizer.bos_token_id)]  # as Gemma's own tokenizer and its servers do
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<bos> $A", None, begins)
    assert raw() == turns
    whole = tokenizer(turns)["input_ids"]
    assert whole == tokenizer(f"<bos>{turns}", add_special_tokens=False)["input_ids"]


def test_a_tuned_contestant_is_not_asked_twice(
    model: ModelRef, ledger: Ledger, written: list[int]
) -> None:
    asked = prompts(*(question for question, _ in FACTS[:6]))

    def answered(**sampling: Any) -> list[contest._Attempt]:
        settings = PreferenceParams.model_validate({"sampling": {"temperature": 1.5} | sampling})
        return list(contest._generated("sft_refine", model, asked, ledger, settings))

    first = answered()
    assert [one.prompt_id for one in first] == asked["id"].to_list()
    assert (sum(written), answered() == first, sum(written)) == (6, True, 6)
    assert answered(seed=1) != first
    assert sum(written) == 12
    assert {one.failure[0] for one in answered(max_new_tokens=1) if one.failure} == {
        "teacher_truncated"
    }


def test_a_server_of_the_model_says_the_same(
    model: ModelRef, ledger: Ledger, tmp_path: Path
) -> None:
    with (
        served(Path(model.path), device="cpu") as where,
        Ledger(tmp_path / "http.db") as replies,
    ):
        options = {"base_url": where.base_url, "dialect": "transformers", "role": "self_player"}
        teacher = OpenAITeacher(
            EndpointOptions.model_validate(options | {"model": where.model}), replies
        )
        settings = params(served=True)
        none = GENERATION.frame()
        found = selfplay.play_against_itself(ROWS, model, none, teacher, ledger, settings)
        GENERATION.validate(found)
        assert found["output"].str.contains("棵樹").sum() > 12
        other = replace(model, path=str(Path(model.path).parent / "ffff"))
        with pytest.raises(UserError, match=f"it serves '{Path(model.path).name}@.*is 'ffff'"):
            selfplay._player(other, teacher, ledger, settings.self_play)
    with pytest.raises(UserError, match="answers by rules"):
        selfplay._player(model, RULES, ledger, settings.self_play)


def test_conversations_of_one_prompt_are_held_out_together() -> None:
    options = params(held_out=0.5).self_play
    again = ROWS.with_columns(id=pl.col("id") + "-2", parents=pl.concat_list("id"))
    once = selfplay.held_out(ROWS, options)
    both = selfplay.held_out(pl.concat([ROWS, again]), options)
    assert len(once) < len(both) / 2 < ROWS.height
    assert all((one in both) == (f"{one}-2" in both) for one in ROWS["id"])


def test_a_judge_sees_a_dialogue_whole() -> None:
    turns = [user("最高的山？"), assistant("玉山。"), user("多高？")]
    assert selfplay._asked(turns[:1]) == "最高的山？"
    assert selfplay._asked(turns) == "user: 最高的山？\n\nassistant: 玉山。\n\nuser: 多高？"


def test_several_samples_are_ranked(model: ModelRef, ledger: Ledger, tmp_path: Path) -> None:
    sppo = {"samples": 3, "temperature": 1.5, "top_p": 1.0, "margin": 0.0}
    settings = {"sppo": sppo, "rows": 8, "held_out": 0.0}
    found = play(model, ledger, **settings)
    samples = found.filter(pl.col("method") == SPPO)
    assert samples.height == 24
    assert (
        samples.group_by("conversation_id").agg(pl.col("sample").sort())["sample"].to_list()
        == [[0, 1, 2]] * 8
    )
    assert samples["output"].n_unique() > 8, "samples differ"

    def rank(**more: Any) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        asked = params(**settings | {"sppo": sppo | more})
        return selfplay.rank_self_play(ROWS, found, JUDGE, LIBRARY, tmp_path, asked)

    for ranker in ("heuristics", "judge"):
        pairs, dropped, tried = rank(ranker={"kind": ranker})
        Flow("sppo", tried, PREFERENCE.validate(pairs).height, DROP.validate(dropped)).counts()
        assert tried == 8
        assert pairs.height > 0
        for row in pairs.iter_rows(named=True):
            assert row["p_chosen"] > 0.5 > row["p_rejected"]
            assert row["margin"] == pytest.approx(row["p_chosen"] - row["p_rejected"])
    off = selfplay.rank_self_play(ROWS, found, JUDGE, LIBRARY, tmp_path, params(rows=8))
    assert (off[0].height, off[1].height, off[2]) == (0, 0, 0)


def test_iterations_follow_each_other(model: ModelRef, ledger: Ledger, store: Path) -> None:
    def choose(generations: pl.DataFrame, trained: list[ModelRef], iteration: int) -> ModelRef:
        settings = params(iteration=iteration)
        return selfplay.choose_player(model, generations, trained, store, settings)

    nothing = GENERATION.frame()
    assert choose(nothing, [], 0) == model
    with pytest.raises(UserError, match="begin with iteration 0"):
        choose(nothing, [], 1)
    first = play(model, ledger)
    with pytest.raises(UserError, match="run `kedro run --pipelines=train` first"):
        choose(first, [], 1)

    pairs, _, _ = selfplay.pair_self_play(ROWS, first, params())
    rows = pairs.select("prompt", "prefix", "chosen", "rejected").to_dicts()
    options = DPOOptions(epochs=4, learning_rate=5e-4)
    trained = prefer(model, rows, options, store).model
    assert choose(first, [trained], 1) == trained
    for stale in (model, replace(trained, start="d" * 32)):
        with pytest.raises(UserError, match="trained on the pairs of iteration 0"):
            choose(first, [stale], 1)

    second = play(trained, ledger, earlier=first, iteration=1)
    assert second.filter(pl.col("iteration") == 0).equals(first)
    assert set(second.filter(pl.col("iteration") == 1)["model"]) == {trained.fingerprint}
    later, dropped, played = selfplay.pair_self_play(ROWS, second, params(iteration=1))
    assert played == 2 * len(FACTS)
    assert played == later.height + dropped.height
    assert set(pairs["rejected"]) & set(later["rejected"]), "pairs of both are trained on"
    assert later.height > pairs.height

    newer = replace(trained, fingerprint="f" * 32)
    assert choose(second, [newer], 1) == trained, "the iteration that is run again has its player"
    other = replace(model, fingerprint="e" * 32)
    with pytest.raises(UserError, match="of this sft_refine_model has not been played"):
        selfplay.choose_player(other, second, [newer], store, params(iteration=1))
    lost = pl.when(pl.col("iteration") == 1).then(pl.lit("0")).otherwise("model")
    with pytest.raises(ModelRefError, match="begin with iteration 0"):
        choose(second.with_columns(model=lost), [newer], 1)

    report = selfplay.assess_self_play(ROWS, trained, second, store, params(iteration=1))
    assert report["measure"] == "implicit_reward"
    assert 0 <= report["low"] <= report["accuracy"] <= report["high"] <= 1


def as_generations(outputs: list[str], model: ModelRef) -> pl.DataFrame:
    return GENERATION.frame(
        {
            "id": f"g{number}",
            "conversation_id": row_id,
            "method": SPIN,
            "iteration": 0,
            "sample": 0,
            "model": model.fingerprint,
            "max_tokens": 64,
            "output": output,
            "tokens": 9,
            "stopped": True,
            "fault": None,
        }
        for number, (row_id, output) in enumerate(zip(ROWS["id"], outputs, strict=True))
    )


def test_when_to_stop(model: ModelRef, store: Path) -> None:
    def assess(outputs: list[str], **more: Any) -> dict[str, Any]:
        played = as_generations(outputs, model)
        settings = params(held_out=0.99, **more)
        return selfplay.assess_self_play(ROWS, model, played, store, settings)

    same = assess([answer for _, answer in FACTS], tolerance=0.3)
    assert (same["accuracy"], same["verdict"]) == (0.5, "stop")
    assert same["equal"] == same["held_out"] > 20
    strange = assess(["Zzz zzz qqq."] * len(FACTS))
    assert (strange["accuracy"], strange["verdict"]) == (1.0, "continue")
    few = assess([answer for _, answer in FACTS], tolerance=0.01)
    assert few["verdict"] == "undecided"
    blank = assess([" "] * len(FACTS))
    assert (blank["accuracy"], blank["unusable"]) == (None, blank["held_out"])
