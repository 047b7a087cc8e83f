"""Losses of preference training: those of TRL by their names, and the soft loss of SPPO."""

import math
from typing import Any

import torch
from trl import DPOTrainer

from kyara_kedro.errors import UserError
from kyara_kedro.training.options import DPOOptions, SPPOOptions

PROBABILITIES = ("p_chosen", "p_rejected")
"""What a row of preference pairs has beside token ids when the soft loss is to learn from it."""


def loss_arguments(recipe: DPOOptions | SPPOOptions) -> dict[str, Any]:
    """What TRL's ``DPOConfig`` is told of a recipe's loss."""
    if isinstance(recipe, SPPOOptions):
        return {"beta": recipe.beta, "loss_type": ["sppo_hard"]}
    return {
        "beta": recipe.beta,
        "loss_type": list(recipe.losses),
        "loss_weights": list(recipe.losses.values()),
        "label_smoothing": recipe.label_smoothing,
        "discopop_tau": recipe.discopop_tau,
    }


def soft_sppo(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    p_chosen: torch.Tensor,
    p_rejected: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """The loss of SPPO with soft win probabilities (arXiv:2405.00675, eq. 4.7; uclaml/SPPO).

    ``((D_w - (p_w - 1/2) / beta)^2 + (D_l - (p_l - 1/2) / beta)^2) / 2``. With probabilities of 1
    and 0 it is half of TRL's ``sppo_hard``.

    Args:
        chosen: D_w, the logarithm of how many times as probable as at the start the chosen answers
            are, shape [pairs].
        rejected: D_l, likewise of the rejected answers.
        p_chosen: p_w, the probability that the chosen answer wins, shape [pairs].
        p_rejected: p_l, likewise of the rejected answer.
        beta: Inverse of the step that is asked for.

    Returns:
        The mean over the pairs, a scalar.
    """
    won, lost = chosen - (p_chosen - 0.5) / beta, rejected - (p_rejected - 0.5) / beta
    return (won.square() + lost.square()).mean() / 2


class SoftSPPO(DPOTrainer):  # type: ignore[misc]
    """TRL's trainer with the soft loss of SPPO; its metrics are those of DPO.

    Rows need the columns :data:`PROBABILITIES` and precomputed reference log-probabilities.
    """

    data_collator: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        collate = self.data_collator
        self.data_collator = lambda rows: collate(rows) | _probabilities(rows)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """Let TRL compute its metrics, and look at the log-probabilities on their way."""
        seen = []

        def observed(**named: Any) -> Any:
            seen.append(model(**named))
            return seen[-1]

        known = {name: value for name, value in inputs.items() if name not in PROBABILITIES}
        super()._compute_loss(observed, known, return_outputs=False)
        chosen, rejected = seen[0].log_probs.sum(dim=1).chunk(2)
        loss = soft_sppo(
            chosen - inputs["ref_chosen_logps"],
            rejected - inputs["ref_rejected_logps"],
            inputs["p_chosen"],
            inputs["p_rejected"],
            self.beta,
        )
        return (loss, seen[0]) if return_outputs else loss


def _probabilities(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The win probabilities of a batch, each of shape [pairs]."""
    columns = {name: [row[name] for row in rows] for name in PROBABILITIES}
    if unknown := sum(map(_unknown, zip(*columns.values(), strict=True))):
        raise UserError(
            f"sppo: {unknown} of {len(rows)} pairs of a batch have no win probabilities; keep "
            "to train.pair_sources that have them (sppo, rlaif), or take kind: dpo"
        )
    return {name: torch.tensor(values) for name, values in columns.items()}


def _unknown(probabilities: tuple[float | None, ...]) -> bool:
    return any(value is None or math.isnan(value) for value in probabilities)
