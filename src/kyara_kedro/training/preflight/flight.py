"""The very objects that a stage will train with, and what can be asked of them before it does."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from kyara_kedro.training.chat import IGNORED, Encoded
from kyara_kedro.training.estimate import Estimate, estimate
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.tokens import Conversations, Pairs

_SAMPLE = 500
"""Rows that are looked at token by token; a store of as many or fewer is looked at as a whole."""
_SEARCH = 64
"""Sequences among which one that packs several rows is looked for."""

_AT_ONCE = 256
"""Tokens over whose logits the softmax is taken at once; of a large vocabulary they are many."""


class Document(NamedTuple):
    """A row on its way into the network.

    Attributes:
        tokens: Its ids and labels.
        sequence: The sequence of the batch that it stands in.
        start: Where it begins there.
        end: Where it ends, exclusive.
    """

    tokens: Encoded
    sequence: int
    start: int
    end: int

    @property
    def learned(self) -> int:
        """How many of its tokens are learned."""
        return int((self.tokens.labels != IGNORED).sum())


@dataclass(frozen=True)
class Flight:
    """A stage before its first step.

    Attributes:
        job: What the stage is told.
        tokens: What it learns from.
        trainer: Trainer of TRL, complete but not started.
    """

    job: StageJob
    tokens: Conversations | Pairs
    trainer: Any

    @property
    def network(self) -> Any:
        """The model that is trained."""
        return self.trainer.model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that is saved with the model."""
        return self.trainer.processing_class

    def text(self, ids: Any) -> str:
        """Tokens as one line, with the control tokens."""
        return str(self.tokenizer.decode(ids)).replace("\n", "⏎")

    @property
    def half(self) -> bool:
        """Whether the network computes in 16 bits."""
        return bool(self.trainer.accelerator.mixed_precision != "no")

    @cached_property
    def sampled(self) -> list[tuple[int, Encoded]]:
        """Rows evenly over the store and the longest one, by number; pairs as both their rows."""
        spread = np.linspace(0, len(self.tokens) - 1, min(len(self.tokens), _SAMPLE)).astype(int)
        numbers = np.unique([*spread, np.argmax(self.tokens.lengths)]).tolist()
        return [(number, row) for number in numbers for row in self.rows(number)]

    def rows(self, number: int) -> list[Encoded]:
        """A row of the store as the network sees it: of a pair, the prompt with each answer."""
        if isinstance(self.tokens, Conversations):
            return [self.tokens.row(number)]
        pair = self.tokens.row(number)
        unlearned = np.full_like(pair.prompt_ids, IGNORED)
        return [
            Encoded(np.concatenate([pair.prompt_ids, answer]), np.concatenate([unlearned, answer]))
            for answer in (pair.chosen_ids, pair.rejected_ids)
        ]

    def find(self, documents: Sequence[Document]) -> int | None:
        """The number of the row that a document, or the two of a pair, was made of."""
        length = max(document.end - document.start for document in documents)
        for number in np.flatnonzero(self.tokens.lengths == length).tolist():
            rows = self.rows(number)
            if all(_same(*both) for both in zip(rows, documents, strict=True)):
                return int(number)
        return None

    @cached_property
    def loader(self) -> Any:
        """The trainer's own loader, from which only its parts are used: nothing is drawn."""
        return self.trainer.get_train_dataloader()

    @cached_property
    def batch(self) -> dict[str, Any]:
        """The first batch as the network will be given it."""
        return self._collated(next(iter(self.loader.batch_sampler)))

    @cached_property
    def packed(self) -> dict[str, Any] | None:
        """A sequence in which several rows stand, if there is one among the first."""
        for number in range(min(_SEARCH, len(self.loader.dataset))):
            batch = self._collated([number])
            if len(self.documents(batch)) > 1:
                return batch
        return None

    @cached_property
    def rows_a_sequence(self) -> float:
        """Rows of the store that stand in a sequence, in the mean over some."""
        sequences = self.loader.dataset
        every = -(-len(sequences) // _SEARCH)
        lengths = [sequences[n].get("seq_lengths", [0]) for n in range(0, len(sequences), every)]
        return float(np.mean([len(of_rows) for of_rows in lengths]))

    def _collated(self, numbers: Sequence[int]) -> dict[str, Any]:
        rows = [self.loader.dataset[number] for number in numbers]
        return dict(self.trainer._prepare_inputs(self.loader.collate_fn(rows)))

    def documents(self, batch: Mapping[str, Any]) -> list[Document]:
        """The rows of a batch; of pairs, first all chosen ones, then all rejected ones.

        Places that fill a packed sequence up are no rows, though each has a position 0.
        """
        ids = batch["input_ids"].cpu().numpy()
        if "labels" in batch:
            labels = batch["labels"].cpu().numpy()
        else:
            labels = np.where(batch["completion_mask"].cpu().numpy() == 1, ids, IGNORED)
        return [
            Document(
                Encoded(ids[sequence, start:end], labels[sequence, start:end]),
                sequence,
                start,
                end,
            )
            for sequence in range(len(ids))
            for start, end in _spans(batch, sequence)
            if (ids[sequence, start:end] != self.tokenizer.pad_token_id).any()
        ]

    def items(self, batch: Mapping[str, Any]) -> list[list[Document]]:
        """The documents of each row of the store that stands in a batch."""
        documents = self.documents(batch)
        if self.job.data.kind == "conversations":
            return [[document] for document in documents]
        half = len(documents) // 2
        return [list(both) for both in zip(documents[:half], documents[half:], strict=True)]

    @cached_property
    def first_loss(self) -> float:
        """The loss of the first batch."""
        return self.loss(self.batch)

    def loss(self, batch: Mapping[str, Any]) -> float:
        """The loss that the trainer computes, as it will when it trains."""
        import torch

        with torch.no_grad(), self.trainer.accelerator.autocast():
            return float(self.trainer.compute_loss(self.network, dict(batch)))

    def log_probs(self, row: Encoded) -> Any:
        """Log-probabilities of a row's learned tokens when it goes through the network alone.

        Computed from the network's own logits, beside all that the trainer does.

        Returns:
            A float32 tensor of shape [learned tokens].
        """
        import torch

        device = self.network.device
        ids = torch.as_tensor(np.asarray(row.input_ids, np.int64), device=device)
        places = torch.as_tensor(np.flatnonzero(row.labels != IGNORED), device=device)
        with torch.no_grad(), self.trainer.accelerator.autocast():
            logits = self.network(
                input_ids=ids[None],
                attention_mask=torch.ones_like(ids)[None],
                use_cache=False,
                logits_to_keep=places - 1,
            ).logits[0]
        return torch.cat(
            [
                torch.log_softmax(some.float(), dim=-1).gather(1, said[:, None])[:, 0]
                for some, said in zip(
                    logits.split(_AT_ONCE), ids[places].split(_AT_ONCE), strict=True
                )
            ]
        )

    @cached_property
    def learned_share(self) -> float:
        """Share of the sampled rows' tokens that are learned."""
        learned = [row.labels != IGNORED for _, row in self.sampled]
        return float(np.concatenate(learned).mean())

    @cached_property
    def cost(self) -> Estimate:
        """What the stage needs, calculated; of a pair as if both answers were as long."""
        lengths = self.tokens.lengths[~self.tokens.held_out]
        if self.job.data.kind == "pairs":
            lengths = np.repeat(lengths, 2)
        return estimate(self.network.config, self.job, lengths, self.learned_share)

    @cached_property
    def memory_gb(self) -> float:
        """Memory of the device that a process trains on."""
        import torch

        device = self.trainer.args.device
        if device.type == "cuda":
            return float(torch.cuda.get_device_properties(device).total_memory) / 1e9
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of the whole stage."""
        return int(self.trainer.set_initial_training_values(self.trainer.args, self.loader)[-1])


def _same(row: Encoded, document: Document) -> bool:
    return np.array_equal(row.input_ids, document.tokens.input_ids) and np.array_equal(
        row.labels, document.tokens.labels
    )


def _spans(batch: Mapping[str, Any], sequence: int) -> list[tuple[int, int]]:
    """Where the documents of a sequence begin and end."""
    if "position_ids" in batch:
        positions = batch["position_ids"][sequence].cpu().numpy()
        starts = np.flatnonzero(positions == 0).tolist()
        return list(zip(starts, [*starts[1:], len(positions)], strict=True))
    return [(0, int(batch["attention_mask"][sequence].sum()))]


@contextmanager
def untouched(trainer: Any) -> Iterator[None]:
    """Look at a trainer and leave it as it was: random numbers, mode, metrics and compilations.

    Compiled layers run as they are written, for they would be compiled once for looking and, having
    seen other shapes, once more and slower for training. What libraries compile unasked, such as
    flex attention, is forgotten for the same reason.
    """
    import torch

    network = trainer.model
    training = network.training
    compiled = [module for module in network.modules() if module._compiled_call_impl is not None]
    calls = [module._compiled_call_impl for module in compiled]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            network.eval()
            for module in compiled:
                module._compiled_call_impl = None
            yield
        finally:
            network.train(training)
            for module, call in zip(compiled, calls, strict=True):
                module._compiled_call_impl = call
            torch.compiler.reset()
            trainer._metrics["eval"].clear()
