"""ArmoRM against an implementation of its own in loops, from the same tensors."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from kyara_kedro.checkpoints import load_tokenizer
from kyara_kedro.errors import UserError
from kyara_kedro.quality.armorm import ATTRIBUTES, ArmoRM
from kyara_kedro.quality.rewards import RewardScorer
from kyara_kedro.quality.scorers import RewardOptions
from reward_models import (
    HEADER,
    WEIGHTS,
    armorm,
    armorm_reference,
    conversation,
    table,
    tokenizer,
)

CONVERSATIONS = (
    conversation("玉山多高？", "3,952公尺。"),
    conversation("Hi", "Hello there, how can I help you today?"),
    conversation("一", "二", "三？", "四。", system="你是助理。"),
    conversation("  留白  ", "\n前後都有空白。\n"),
    conversation("?", "!"),
    conversation("第一題", "第一答，這個答案長一些。" * 3, "第二題", "第二答", "第三題", "好。"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return armorm(tmp_path_factory.mktemp("armorm") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> ArmoRM:
    return ArmoRM(folder, "cpu", load_tokenizer(folder))


def encoded(row: dict[str, Any]) -> list[int]:
    made = tokenizer()
    text = made.apply_chat_template(row["messages"], tokenize=False)
    tokens: list[int] = made(text, add_special_tokens=False)["input_ids"]
    return tokens


ROWS = [encoded(row) for row in CONVERSATIONS]


def test_the_tokens_are_those_of_llama_3() -> None:
    made = tokenizer()
    header = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    assert made(header, add_special_tokens=False)["input_ids"] == HEADER
    assert ROWS[0][:2] == [128000, 128006]
    assert ROWS[0][-1] == 128009
    for row in ROWS:
        assert any(row[i : i + 5] == HEADER for i in range(len(row)))


def test_it_is_what_the_loops_say(folder: Path, model: ArmoRM) -> None:
    found = model(ROWS)
    assert found.shape == (len(ROWS), 20)
    for row, values in zip(ROWS, found, strict=True):
        score, rewards = armorm_reference(folder, row)
        assert values[0] == pytest.approx(score, abs=1e-5)
        np.testing.assert_allclose(values[1:], rewards, atol=1e-5)
    assert np.ptp(found[:, 0]) > 0.1


def test_neither_batch_nor_padding_nor_order_changes_a_value(model: ArmoRM) -> None:
    together = model(ROWS)
    alone = np.concatenate([model([row]) for row in ROWS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(model(ROWS[::-1])[::-1], together, atol=1e-5)
    beside_longer = model([ROWS[4], ROWS[0] * 4])[0]
    np.testing.assert_allclose(beside_longer, alone[4], atol=1e-5)


def test_the_gate_sees_the_last_prompt_and_no_answer(folder: Path) -> None:
    model = ArmoRM(folder, "cpu", load_tokenizer(folder))
    seen = []
    weigh = model._weigh
    model._weigh = lambda prompt: seen.append(prompt) or weigh(prompt)  # type: ignore[method-assign, func-returns-value]
    model(
        [
            encoded(conversation("問", "甲", "再問", one))
            for one in ("好。", "不好，這是另一個長得多的答案。")
        ]
    )
    model([encoded(conversation("問", "甲", "他問", "好。"))])
    (first, second), (third,) = seen
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert abs(first - third).max() > 1e-2


def changed(folder: Path, target: Path, change: Any) -> Path:
    shutil.copytree(folder, target)
    tensors = load_file(target / WEIGHTS)
    change(tensors)
    save_file(tensors, target / WEIGHTS)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("gating.layers.1.bias"), r"gating\.layers\.1\.bias is missing"),
        (lambda t: t.pop("reward_transform_matrix"), "reward_transform_matrix is missing"),
        (lambda t: t.pop("regression_layer.weight"), r"regression_layer\.weight is missing"),
        (
            lambda t: t.pop("model.layers.0.self_attn.q_proj.weight"),
            r"model\.layers\.0\.self_attn\.q_proj\.weight is missing",
        ),
        (
            lambda t: t.update({"score.weight": t["regression_layer.weight"][:1].clone()}),
            r"score\.weight is unknown",
        ),
        (
            lambda t: t.update({"gating.layers.4.weight": t["gating.layers.3.weight"].clone()}),
            r"gating\.layers\.4\.weight is unknown",
        ),
        (
            lambda t: t.update({"gating.logit_scale": t["gating.layers.0.bias"].clone()}),
            r"gating\.logit_scale has shape \(12,\), not \(1,\)",
        ),
    ],
)
def test_a_tensor_too_few_or_too_many_is_named(
    folder: Path, tmp_path: Path, change: Any, message: str
) -> None:
    broken = changed(folder, tmp_path / "broken", change)
    with pytest.raises(UserError, match=message) as caught:
        ArmoRM(broken, "cpu", load_tokenizer(broken))
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_numbers_of_objectives_are_refused(folder: Path, tmp_path: Path) -> None:
    other = changed(folder, tmp_path / "other", lambda tensors: None)
    said = json.loads((other / "config.json").read_text()) | {"num_objectives": 20}
    (other / "config.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="num_objectives is 20"):
        ArmoRM(other, "cpu", load_tokenizer(other))


def test_another_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    other = changed(folder, tmp_path / "other", lambda tensors: None)
    tokenizer("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}").save_pretrained(
        other
    )
    with pytest.raises(UserError, match="ArmoRM needs Llama 3's"):
        ArmoRM(other, "cpu", load_tokenizer(other))


def test_as_a_scorer_it_gives_the_gated_score_and_nineteen_aspects(
    folder: Path, tmp_path: Path
) -> None:
    scorer = RewardScorer(RewardOptions(kind="armorm", model=str(folder)), tmp_path / "store")
    frames = list(table(*CONVERSATIONS).iter_slices(4))
    scorer.prepare(frames)
    scored = pl.concat(scorer.score(frames))
    assert scorer.name.startswith("armorm:tiny@")
    for row, found in zip(ROWS, scored.iter_rows(named=True), strict=True):
        score, rewards = armorm_reference(folder, row)
        assert found["value"] == pytest.approx(score, abs=1e-5)
        assert [one["aspect"] for one in found["aspects"]] == list(ATTRIBUTES)
        np.testing.assert_allclose([one["value"] for one in found["aspects"]], rewards, atol=1e-5)


def test_a_label_is_not_for_armorm(folder: Path, tmp_path: Path) -> None:
    options = RewardOptions(kind="armorm", model=str(folder), label="prometheus-score")
    with pytest.raises(UserError, match="leave out 'label'"):
        RewardScorer(options, tmp_path)
