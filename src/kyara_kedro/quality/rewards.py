"""Reward models over a table of any size: by content, by length, and never twice.

Values are kept on disk by the hash of a conversation's messages, in a folder for each model and
its settings. A killed run goes on where it was, and a changed conversation costs itself alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray
from tqdm import tqdm

from kyara_kedro.checkpoints import (
    choose_device,
    fingerprint,
    load_network,
    load_tokenizer,
    locate,
)
from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.quality.armorm import ATTRIBUTES, ArmoRM
from kyara_kedro.quality.padding import padded
from kyara_kedro.quality.scorers import SCORED, RewardOptions
from kyara_kedro.shards import WHOLE, Shard
from kyara_kedro.vector_store import Vectors, VectorStore

logger = logging.getLogger("kyara_kedro")

_AT_ONCE = 1_024
"""Conversations that are tokenised, sorted by length, scored and stored together."""
_LONGEST = 4_096
"""What ArmoRM was published with, and a bound for models whose context is longer."""
FAULTS = ("", "too_long", "control_token", "chat_template", "not_finite")
"""Why a conversation has no value, as the store numbers it."""


class Network(Protocol):
    """A reward model in memory."""

    def __call__(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Score token ids; shape [rows, 1 + aspects], the value first."""


class Encoded(NamedTuple):
    """A conversation as token ids, or what is wrong with it.

    Attributes:
        tokens: None when there is a fault.
        rounds_left_out: Rounds at the beginning that were too much.
        fault: One of :data:`FAULTS`.
    """

    tokens: list[int] | None
    rounds_left_out: int = 0
    fault: str = ""


class SequenceClassifier:
    """Any sequence classifier of transformers.

    It is asked as a batch of one would be: a decoder reads its score at the last token that is not
    padding, and where a model names no token for padding one is taken that no text ends with.

    Args:
        directory: The model's folder.
        device: ``cpu`` (float32) or an accelerator (bfloat16).
        label: Number of the label that is the value.

    Raises:
        UserError: the folder holds no classifier, or its head's weights are missing.
    """

    def __init__(self, directory: Path, device: str, label: int) -> None:
        from transformers import AutoModelForSequenceClassification

        self._network = load_network(
            AutoModelForSequenceClassification, directory, device, "sequence classifier"
        )
        self._config = self._network.config.get_text_config()
        self._padding: int | None = self._config.pad_token_id
        self._device, self._label = device, label

    def __call__(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Score token ids; the aspects are all labels when there are several."""
        import torch

        padding = self._padding
        if padding is None:
            lasts = {row[-1] for row in rows}
            padding = next(token for token in range(len(rows) + 1) if token not in lasts)
            self._config.pad_token_id = padding
        ids, mask = padded(rows, padding, self._device)
        with torch.inference_mode():
            logits = self._network(input_ids=ids, attention_mask=mask).logits
            found: NDArray[np.float32] = logits.float().cpu().numpy()
        value = found[:, self._label : self._label + 1]
        return value if found.shape[1] == 1 else np.hstack([value, found])


class RewardScorer:
    """A reward model as a scorer, see :class:`kyara_kedro.quality.scorers.Scorer`.

    In float32 the same conversation gets the same value up to rounding in the last digits, which
    depends on what it is scored together with; in bfloat16 the third digit may differ. What is
    stored stays as it is, and a resumed run forms the batches that the killed one would have.

    Args:
        options: The model, and how it is asked.
        folder: Where values are stored.

    Raises:
        UserError: there is no such model, or the settings do not fit it.
    """

    def __init__(self, options: RewardOptions, folder: Path) -> None:
        self._options = options
        self._directory = locate(options.model, options.revision)
        content = fingerprint(self._directory)
        self._config = _read_config(self._directory)
        self._labels = self._read_labels()
        self._max_tokens = self._read_max_tokens()
        self._device = choose_device(options.device)
        self.name = f"{options.kind}:{Path(options.model).name}@{content[:8]}"
        identity = json.dumps(
            [
                *(options.kind, content, options.label, self._max_tokens, options.too_long),
                "float32" if self._device == "cpu" else "bfloat16",
            ]
        )
        self._folder = folder / xxhash.xxh3_64_hexdigest(identity.encode())
        self._budget = options.batch_tokens
        self._vectors: Vectors = np.empty((0, 0), np.float32)

    def _read_labels(self) -> tuple[str, ...]:
        """What the model gives beside or instead of a single value."""
        if self._options.kind == "armorm":
            if self._options.label is not None:
                raise UserError(f"{self._directory}: ArmoRM's score is gated; leave out 'label'")
            return ATTRIBUTES
        names = self._config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
        labels = tuple(names[key] for key in sorted(names, key=int))
        if self._options.label is None and len(labels) > 1:
            raise UserError(
                f"{self._directory}: the model has the labels {', '.join(labels)}; say by 'label' "
                "which is the reward"
            )
        if self._options.label not in (None, *labels):
            there = ", ".join(labels)
            raise UserError(f"{self._directory}: no label '{self._options.label}' among {there}")
        return labels if len(labels) > 1 else ()

    def _read_max_tokens(self) -> int:
        context = self._config.get("max_position_embeddings", _LONGEST)
        wanted = self._options.max_tokens or min(_LONGEST, context)
        if wanted > context:
            raise UserError(
                f"{self._directory}: max_tokens is {wanted:,}, but the model takes {context:,}"
            )
        return wanted

    def prepare(self, frames: Iterable[pl.DataFrame]) -> None:
        """Score the conversations whose values are not stored."""
        store = VectorStore(self._folder)
        self._vectors = store.gather(self._fill(frames, store, WHOLE), self._folder)

    def fill(self, frames: Iterable[pl.DataFrame], shard: Shard) -> int:
        """Score one shard of a table, for :meth:`prepare` to find all values stored.

        Shards have whole groups of conversations that are scored together, since a value is the
        same to the last bit only among the same others.

        Returns:
            How many conversations the shard has.
        """
        return len(self._fill(frames, VectorStore(self._folder), shard))

    def score(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Give the stored values, frame by frame."""
        start = 0
        for frame in frames:
            yield self._table(self._vectors[start : start + frame.height])
            start += frame.height

    def _fill(
        self, frames: Iterable[pl.DataFrame], store: VectorStore, shard: Shard
    ) -> NDArray[np.int64]:
        """Score what is missing; where each conversation's values are."""
        model: _Loaded | None = None
        keys: list[NDArray[np.int64]] = []
        fresh = 0
        with tqdm(None, self.name, unit=" conversations", disable=None, leave=False) as bar:
            for some in islice(_gathered(frames), shard.number - 1, None, shard.total):
                hashed = [_key(messages) for messages in some]
                missing = {
                    key: messages
                    for key, messages in zip(hashed, some, strict=True)
                    if key not in store
                }
                if missing:
                    model = model or self._load()
                    store.add(list(missing), self._values(model, list(missing.values())))
                    store.flush()
                keys.append(np.fromiter(map(store.place, hashed), np.int64, len(hashed)))
                fresh += len(missing)
                bar.update(len(some))
        logger.info("%s: %s conversations scored anew", self.name, f"{fresh:,}")
        return np.concatenate([np.empty(0, np.int64), *keys])

    def _load(self) -> _Loaded:
        tokenizer = load_tokenizer(self._directory)
        network: Network
        if self._options.kind == "armorm":
            network = ArmoRM(self._directory, self._device, tokenizer)
        else:
            label = self._labels.index(self._options.label) if self._options.label else 0
            network = SequenceClassifier(self._directory, self._device, label)
        return _Loaded(network, tokenizer)

    def _values(
        self, model: _Loaded, conversations: Sequence[Sequence[Message]]
    ) -> NDArray[np.float32]:
        """Value, aspects, rounds left out and number of the fault of each conversation."""
        encoded = model.encode(conversations, self._max_tokens, self._options.too_long)
        found = np.full((len(encoded), len(self._labels) + 3), np.nan, np.float32)
        found[:, -2] = [one.rounds_left_out for one in encoded]
        found[:, -1] = [FAULTS.index(one.fault) for one in encoded]
        rows = [one.tokens for one in encoded]
        order = sorted(
            (number for number, row in enumerate(rows) if row),
            key=lambda number: (-len(rows[number] or ()), number),
        )
        while order:
            longest = len(rows[order[0]] or ())
            batch = order[: max(1, self._budget // longest)]
            scored = self._scored(model.network, [rows[number] or [] for number in batch])
            if scored is not None:
                found[batch, :-2] = scored
                order = order[len(batch) :]
        broken = (found[:, -1] == 0) & ~np.isfinite(found[:, :-2]).all(1)
        found[broken, -1] = FAULTS.index("not_finite")
        found[found[:, -1] != 0, :-2] = np.nan
        return found

    def _scored(self, network: Network, rows: list[list[int]]) -> NDArray[np.float32] | None:
        """Values of a batch; None when it was too large for the accelerator, and the next is less.

        Raises:
            UserError: not even one conversation fits.
        """
        import torch

        try:
            return network(rows)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise UserError(
                    f"{self.name}: out of memory with one conversation of {len(rows[0]):,} tokens; "
                    "set a smaller max_tokens"
                ) from None
        self._budget = len(rows[0]) * (len(rows) // 2)
        torch.cuda.empty_cache()
        logger.warning("%s: out of memory, going on with %d tokens", self.name, self._budget)
        return None

    def _table(self, vectors: Vectors) -> pl.DataFrame:
        """Values as :data:`SCORED`; aspects only where there is a value."""
        if not len(vectors):
            return pl.DataFrame(schema=dict(SCORED))
        details = {
            "too_long": f"more than {self._max_tokens:,} tokens",
            "control_token": "a text spells one of the model's control tokens",
            "chat_template": "the model's chat template does not take these turns",
            "not_finite": "the model's score is no finite number",
        }
        names = list(self._labels)
        if self._options.too_long == "last_rounds":
            names.append("rounds_left_out")
        columns = {str(number): vectors[:, number] for number in range(1 + len(names))}
        faults = [FAULTS[int(number)] or None for number in vectors[:, -1]]
        wide = (
            pl.DataFrame(columns)
            .cast(pl.Float64)
            .with_columns(pl.Series("fault", faults, pl.String))
        )
        parts = [
            pl.struct(aspect=pl.lit(name), value=pl.col(str(number)))
            for number, name in enumerate(names, 1)
        ]
        aspects = pl.concat_list(parts) if parts else pl.lit([], SCORED["aspects"])
        good = pl.col("fault").is_null()
        return wide.select(
            value=pl.when(good).then("0"),
            reason="fault",
            detail=pl.col("fault").replace_strict(details, default=None, return_dtype=pl.String),
            aspects=pl.when(good).then(aspects).otherwise(pl.lit([], SCORED["aspects"])),
        )


class _Loaded:
    """A network with its tokenizer."""

    def __init__(self, network: Network, tokenizer: Any) -> None:
        self.network, self._tokenizer = network, tokenizer
        added = tokenizer.added_tokens_decoder.values()
        control = {str(token) for token in added if token.special} | {*tokenizer.all_special_tokens}
        self._control = tuple(sorted(token for token in control if token.strip()))

    def encode(
        self, conversations: Sequence[Sequence[Message]], max_tokens: int, too_long: str
    ) -> list[Encoded]:
        """Render and tokenise conversations, those that are too long without their first rounds."""
        found: list[Encoded] = [Encoded(None)] * len(conversations)
        left = [(number, list(messages)) for number, messages in enumerate(conversations)]
        rounds = 0
        while left:
            rendered: list[tuple[int, list[Message], str]] = []
            for number, messages in left:
                text, fault = self._render(messages)
                if fault:
                    found[number] = Encoded(None, rounds, fault)
                else:
                    rendered.append((number, messages, text))
            texts = [text for *_, text in rendered]
            ids = self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
            left = []
            for (number, messages, _), tokens in zip(rendered, ids, strict=True):
                if len(tokens) <= max_tokens:
                    found[number] = Encoded(tokens, rounds)
                elif too_long == "last_rounds" and (shorter := _without_first_round(messages)):
                    left.append((number, shorter))
                else:
                    found[number] = Encoded(None, 0, "too_long")
            rounds += 1
        return found

    def _render(self, messages: list[Message]) -> tuple[str, str]:
        """The text that the model reads, and what is wrong; one of them is empty."""
        from jinja2 import TemplateError

        if any(token in turn["content"] for turn in messages for token in self._control):
            return "", "control_token"
        try:
            text: str = self._tokenizer.apply_chat_template(messages, tokenize=False)
        except TemplateError:
            return "", "chat_template"
        return text, ""


def _without_first_round(messages: list[Message]) -> list[Message] | None:
    """A conversation without its first round, its system prompt kept; None if it is the last."""
    begin = int(messages[0]["role"] == "system")
    rest = messages[begin + 2 :]
    return [*messages[:begin], *rest] if rest else None


def _gathered(frames: Iterable[pl.DataFrame]) -> Iterator[list[list[Message]]]:
    """Messages of the conversations in a table, some at a time."""
    held: list[list[Message]] = []
    for frame in frames:
        held += frame["messages"].to_list()
        if len(held) >= _AT_ONCE:
            yield held
            held = []
    if held:
        yield held


def _key(messages: Sequence[Message]) -> bytes:
    said = [[turn["role"], turn["content"]] for turn in messages]
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((directory / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{directory}/config.json: no JSON ({error})") from error
    return found
