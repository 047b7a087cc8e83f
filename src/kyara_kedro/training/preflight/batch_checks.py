"""What can be wrong on the way from the store into the network: looked at in the first batch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from kyara_kedro.training.chat import IGNORED
from kyara_kedro.training.options import DPOOptions, SFTOptions, SPPOOptions
from kyara_kedro.training.preflight.flight import Document, Flight

_COLUMNS = {
    "conversations": {"input_ids", "labels", "seq_lengths"},
    "pairs": {
        "prompt_ids", "chosen_ids", "rejected_ids", "ref_chosen_logps", "ref_rejected_logps",
        "p_chosen", "p_rejected",
    },
}  # fmt: skip
_SEARCHED = 4
"""Rows of the first batch that are looked up in the store or sent through the network alone."""
_LEAK = 1e-3
"""Change of a loss, in nats a token, when rows beside it change; without a leak the very same
numbers are computed, whatever the precision."""
_EXACT = 1e-4
"""Difference, in nats a token, between two ways to compute the same in float32, which is 1e-6."""
_BIASED, _SCATTERED = 0.02, 0.15
"""The same in 16 bits, where each logit is rounded (to multiples of 0.06 above 8): what remains of
it in the mean over many tokens, and over one, falling with the root of their number. Another model
differs by tenths."""
_FIRST_LOSS = {False: 1e-3, True: 0.3}
"""Relative difference of a preference loss from its formula at the reference. In 16 bits the
rounding of an answer's tokens adds up, to a nat for some hundreds, and is multiplied by beta."""
_FRESH = 1.5
"""Nats a token by which a random model may be off a uniform guess; its logits have some spread."""
_WORSE = 1.0
"""Nats a token by which a trained model may be worse than a uniform guess, on other rows."""
_LN2 = math.log(2)
_AT_REFERENCE: Mapping[str, Callable[[float, float], float]] = {
    "sigmoid": lambda beta, smoothing: _LN2,
    "sigmoid_norm": lambda beta, smoothing: _LN2,
    "hinge": lambda beta, smoothing: 1.0,
    "ipo": lambda beta, smoothing: (0.5 / beta) ** 2,
    "exo_pair": lambda beta, smoothing: -_LN2 - math.log(smoothing * (1 - smoothing)) / 2,
    "nca_pair": lambda beta, smoothing: 2 * _LN2,
    "robust": lambda beta, smoothing: _LN2,
    "bco_pair": lambda beta, smoothing: 2 * _LN2,
    "sppo_hard": lambda beta, smoothing: 2 * (0.5 / beta) ** 2,
    "aot": lambda beta, smoothing: _LN2,
    "aot_unpaired": lambda beta, smoothing: _LN2,
    "apo_zero": lambda beta, smoothing: 1.0,
    "apo_down": lambda beta, smoothing: 1.0,
    "discopop": lambda beta, smoothing: (_LN2 + 1) / 2,
}
"""Preference losses where the policy is its reference, by beta and label smoothing."""


def check_columns(flight: Flight) -> str | None:
    """A column beside the tokens, such as ``messages``, can take their place."""
    known = _COLUMNS[flight.job.data.kind]
    if unknown := sorted(set(flight.trainer.train_dataset[0]) - known):
        return (
            f"rows come with {', '.join(unknown)}; hand the trainer {', '.join(sorted(known))} only"
        )
    return None


def check_rows_arrive(flight: Flight) -> str | None:
    """What reaches the network must be rows of the store, whole and with their labels."""
    for item in flight.items(flight.batch)[:_SEARCHED]:
        number = flight.find(item)
        if number is None:
            text = flight.text(item[0].tokens.input_ids[:12])
            return (
                f"'{text}...' in the first batch is not in {flight.tokens.ref.path} like that; "
                "rows must reach the trainer as they are stored"
            )
        if flight.tokens.held_out[number]:
            return f"row {flight.tokens.ids[number]} is held out, but is in the first batch"
    return None


def check_boundaries(flight: Flight) -> str | None:
    """A batch must say where one row ends and the next begins."""
    bos = flight.tokenizer.bos_token_id
    for document in flight.documents(flight.batch):
        if bos is not None and (document.tokens.input_ids[1:] == bos).any():
            return "packed rows come without position_ids; pack whole rows, as 'bfd' does"
    return None


def check_packing(flight: Flight) -> str | None:
    """Rows in one sequence must not see each other.

    What stands beside the last row of a sequence is replaced: its loss must stay what it was. It
    does not where the batch has a mask of ones or the network keeps a cache, since then nothing
    tells the rows apart.
    """
    batch = flight.packed
    if batch is None:
        return None
    last = flight.documents(batch)[-1]
    loss, beside = (
        flight.loss(made) for made in (_only(batch, last), _beside(flight, batch, last))
    )
    if abs(loss - beside) > _LEAK:
        return (
            f"packed rows see each other: the last row's loss goes from {loss:.4f} to {beside:.4f} "
            "when the others change; pass position_ids, no attention_mask and use_cache=False"
        )
    return None


def check_row_alone(flight: Flight) -> str | None:
    """A row must have the loss in its batch that it has alone."""
    batch = flight.packed or flight.batch
    last = flight.documents(batch)[-1]
    together, alone = flight.loss(_only(batch, last)), -float(flight.log_probs(last.tokens).mean())
    if abs(together - alone) > _tolerance(flight, last.learned):
        return (
            f"a row's loss is {together:.4f} in its batch and {alone:.4f} alone; is a label "
            "shifted, a position wrong or the padding seen?"
        )
    return None


def check_first_loss(flight: Flight) -> str | None:
    """The first loss must be that of a guess for a fresh model, and a better one for a trained."""
    loss, guess = flight.first_loss, _uniform(flight)
    fresh = flight.job.start.stage == "embedded"
    if not math.isfinite(loss):
        return f"the first loss is {loss}; weights are broken, fetch or train the model again"
    if fresh and abs(loss - guess) > _FRESH:
        return f"the first loss of a fresh model is {loss:.3f}, a uniform guess has {guess:.3f}"
    if not fresh and loss > guess + _WORSE:
        return (
            f"the first loss is {loss:.3f}, worse than the {guess:.3f} of a uniform guess; "
            "are model and tokenizer of one kind?"
        )
    return None


def check_reference(flight: Flight) -> str | None:
    """The reference of a preference stage must be the model that it starts from.

    Its log-probabilities are compared with those of the network before the first step, each row
    going through it alone.
    """
    if "ref_chosen_logps" not in flight.batch:
        return "the first batch has no log-probabilities of the reference; precompute them"
    batch = _few_pairs(flight)
    items = flight.items(batch)
    for side, key in enumerate(("ref_chosen_logps", "ref_rejected_logps")):
        own = [flight.log_probs(item[side].tokens) for item in items]
        tokens = sum(map(len, own))
        found = (sum(float(one.sum()) for one in own) - float(batch[key].sum())) / tokens
        if not abs(found) <= _tolerance(flight, tokens):
            return (
                f"{key} differ by {found:.4f} a token from those of the model that "
                "the stage starts from; the reference is another model or was computed with dropout"
            )
    return None


def check_preference_loss(flight: Flight) -> str | None:
    """The first loss of a preference stage must be the value of its formula at the reference."""
    batch = _few_pairs(flight)
    expected = _at_reference(flight, batch)
    loss, beta = flight.loss(batch), flight.trainer.beta
    allowed = _FIRST_LOSS[flight.half] * max(1.0, expected) * max(1.0, 10 * beta)
    if not abs(loss - expected) <= allowed:
        return (
            f"the first loss is {loss:.4f}, not the {expected:.4f} of its formula at the reference"
        )
    return None


def expected_loss(flight: Flight) -> float:
    """What the first loss is to be compared with, in nats."""
    if isinstance(flight.job.recipe, SFTOptions):
        return _uniform(flight)
    return _at_reference(flight, flight.batch)


def _tolerance(flight: Flight, tokens: int) -> float:
    """How far the means over so many tokens may be apart, in nats."""
    return _BIASED + _SCATTERED / math.sqrt(tokens) if flight.half else _EXACT


def _uniform(flight: Flight) -> float:
    """Loss of a model that finds all tokens equally probable."""
    return math.log(flight.network.get_input_embeddings().weight.shape[0])


def _only(batch: Mapping[str, Any], document: Document) -> dict[str, Any]:
    """A batch of which one document alone is learned."""
    labels = batch["labels"].clone().fill_(IGNORED)
    place = (document.sequence, slice(document.start, document.end))
    labels[place] = batch["labels"][place]
    return {**batch, "labels": labels}


def _beside(flight: Flight, batch: Mapping[str, Any], document: Document) -> dict[str, Any]:
    """The same with other tokens beside the document."""
    vocabulary = flight.network.get_input_embeddings().weight.shape[0]
    ids = (batch["input_ids"] + 1) % vocabulary
    place = (document.sequence, slice(document.start, document.end))
    ids[place] = batch["input_ids"][place]
    return {**_only(batch, document), "input_ids": ids}


def _few_pairs(flight: Flight) -> dict[str, Any]:
    """The shortest pairs of the first batch, as a batch."""
    items = flight.items(flight.batch)
    few = sorted(range(len(items)), key=lambda i: sum(doc.end for doc in items[i]))[:_SEARCHED]
    size = len(items)
    return {
        name: column[[*few, *(size + i for i in few)]] if len(column) == 2 * size else column[few]
        for name, column in flight.batch.items()
    }


def _at_reference(flight: Flight, batch: Mapping[str, Any]) -> float:
    """A preference loss where the policy is its reference."""
    recipe = flight.job.recipe
    if isinstance(recipe, SPPOOptions):
        asked = [(batch[name] - 0.5) / recipe.beta for name in ("p_chosen", "p_rejected")]
        return float(sum(each.square() for each in asked).mean()) / 2
    recipe = cast(DPOOptions, recipe)
    losses = dict(recipe.losses)
    total = 0.0
    if weight := losses.pop("sft", 0.0):
        total += weight * _mean_loss(flight, [item[0] for item in flight.items(batch)])
    for name, weight in losses.items():
        formula = _AT_REFERENCE[name]
        total += weight * formula(recipe.beta, flight.trainer.label_smoothing)
    return total


def _mean_loss(flight: Flight, documents: Sequence[Document]) -> float:
    """Negative log-likelihood a token, each document going through the network alone."""
    found = [flight.log_probs(document.tokens) for document in documents]
    return -sum(float(one.sum()) for one in found) / sum(map(len, found))
