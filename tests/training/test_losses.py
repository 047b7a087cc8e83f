"""What preference stages minimise, against formulae that are written out here once more."""

import gc
import math
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import pytest

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.training.chat import PreferencePair
from kyara_kedro.training.loading import quiet
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import DPOOptions, PreferenceLoss, SPPOOptions
from training.trainers import preference_stage

PAIRS = [
    PreferencePair(
        prompt=[Message(role="user", content=f"玉山{n}的海拔是多少公尺？")],
        chosen=f"{n * 111}公尺" * (1 + n % 3),
        rejected="彰化",
        prefix=None,
    )
    for n in range(1, 9)
]
PROBABILITIES = [(0.5 + n / 20, 0.5 - n / 30) for n in range(1, 9)]
Recipe = DPOOptions | SPPOOptions
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def make(embedded: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make a trainer of a recipe that takes two steps over all pairs."""
    gc.collect()
    gc.freeze()  # each training collects garbage, a third of a second among all that is imported

    def build(recipe: Recipe, probabilities: Sequence[tuple[float | None, ...]] = ()) -> Any:
        workspace = tmp_path_factory.mktemp("work")
        return preference_stage(
            embedded, PAIRS, recipe, workspace, probabilities=probabilities, max_steps=2
        )

    return build


def losses_of(trainer: Any) -> list[float]:
    with quiet(threads=1):
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def log_ratios(trainer: Any, start: Any) -> np.ndarray[Any, Any]:
    """D of the chosen and the rejected answers in float64, row by row without padding; [2, 8]."""
    import torch

    def said(network: Any, row: dict[str, list[int]], side: str) -> float:
        ids = torch.tensor([row["prompt_ids"] + row[side]])
        with torch.no_grad():
            logits = network(input_ids=ids, use_cache=False).logits[0, :-1].double()
        scores = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        return float(scores[len(row["prompt_ids"]) - 1 :].sum())

    rows = trainer.train_dataset
    return np.array(
        [
            [said(trainer.model, row, side) - said(start, row, side) for row in rows]
            for side in ("chosen_ids", "rejected_ids")
        ]
    )


BETA, EPSILON = 0.1, 0.1
LN2 = math.log(2)
AT_START = {
    "sigmoid": LN2,
    "sigmoid_norm": LN2,
    "hinge": 1.0,
    "ipo": (1 / (2 * BETA)) ** 2,
    "exo_pair": -LN2 - math.log(EPSILON * (1 - EPSILON)) / 2,
    "nca_pair": 2 * LN2,
    "robust": LN2,
    "bco_pair": 2 * LN2,
    "sppo_hard": 2 * (1 / (2 * BETA)) ** 2,
    "aot": LN2,
    "aot_unpaired": LN2,
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "discopop": (LN2 + 1) / 2,
}


@pytest.mark.parametrize("name", get_args(PreferenceLoss))
def test_every_loss_starts_at_its_formula_and_trains(make: Make, name: PreferenceLoss) -> None:
    smoothing = EPSILON if name in {"exo_pair", "robust"} else 0.0
    names = {name: 1.0, "sigmoid": 1.0} if name == "sft" else {name: 1.0}
    trainer = make(DPOOptions(losses=names, label_smoothing=smoothing))
    first, second = losses_of(trainer)
    if name == "sft":
        chosen = trainer.state.log_history[0]["logps/chosen"] * len(PAIRS)
        tokens = sum(len(row["chosen_ids"]) for row in trainer.train_dataset)
        assert first == pytest.approx(LN2 - chosen / tokens, abs=1e-4)
    else:
        assert first == pytest.approx(AT_START[name], rel=1e-5)
    assert second < first


def test_soft_sppo_is_its_formula_before_and_after_a_step(make: Make, embedded: ModelRef) -> None:
    from transformers import AutoModelForCausalLM

    recipe = SPPOOptions(beta=0.05, learning_rate=3e-3)
    trainer = make(recipe, PROBABILITIES)
    first, second = losses_of(trainer)
    asked = (np.array(PROBABILITIES).T - 0.5) / recipe.beta
    assert first == pytest.approx((asked**2).sum(axis=0).mean() / 2, rel=1e-6)
    assert second < first

    start = AutoModelForCausalLM.from_pretrained(embedded.path, attn_implementation="eager")
    batch = trainer._prepare_inputs(trainer.data_collator(list(trainer.train_dataset)))
    found = trainer.compute_loss(trainer.model, batch).item()
    ratios = log_ratios(trainer, start)
    assert np.abs(ratios).min() > 1e-3
    expected = ((ratios - asked) ** 2).sum(axis=0).mean() / 2
    assert found == pytest.approx(expected, rel=1e-5)
    trainer.model.train()
    trainer.log({})
    rewards = trainer.state.log_history[-1]["rewards/chosen"]
    assert rewards == pytest.approx(recipe.beta * ratios[0].mean(), rel=1e-4)


def test_certain_wins_are_half_of_the_hard_loss_with_its_gradients(make: Make) -> None:
    import torch

    soft = make(SPPOOptions(beta=0.02), [(1.0, 0.0)] * len(PAIRS))
    hard = make(DPOOptions(beta=0.02, losses={"sppo_hard": 1.0}))
    found = []
    for trainer in (soft, hard):
        with torch.no_grad():
            for weight in trainer.model.parameters():
                weight.add_(torch.arange(weight.numel()).sin().reshape(weight.shape), alpha=0.01)
        batch = trainer._prepare_inputs(trainer.data_collator(list(trainer.train_dataset)))
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        found.append((loss.item(), [weight.grad for weight in trainer.model.parameters()]))
    (soft_loss, soft_gradients), (hard_loss, hard_gradients) = found
    assert soft_loss == hard_loss / 2
    for mine, theirs in zip(soft_gradients, hard_gradients, strict=True):
        torch.testing.assert_close(mine, theirs / 2, rtol=1e-5, atol=1e-6 * theirs.abs().max())


def test_a_small_beta_makes_a_huge_loss_and_steps_of_bounded_size(make: Make) -> None:
    trainer = make(SPPOOptions(beta=0.001), [(1.0, 0.0)] * len(PAIRS))
    first, second = losses_of(trainer)
    assert first == pytest.approx(500**2, rel=1e-6)
    assert second < first
    norm = trainer.state.log_history[0]["grad_norm"]
    assert norm > 1e3 * trainer.args.max_grad_norm


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_a_pair_without_probabilities_is_one_clear_line(make: Make, unknown: float | None) -> None:
    trainer = make(SPPOOptions(), [(unknown, 0.2), *PROBABILITIES[1:]])
    with pytest.raises(UserError, match=r"^sppo: 1 of 8 pairs .* train.pair_sources"):
        losses_of(trainer)
