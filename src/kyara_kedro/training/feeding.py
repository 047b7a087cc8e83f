"""How stored tokens reach a trainer: sequences, their order, and the last step of an epoch."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.training.packing import Numbers, Packs
from kyara_kedro.training.tokens import Conversations, Pairs

_PAIR = ("prompt_ids", "chosen_ids", "rejected_ids")


class Rows(Protocol):
    """What a trainer learns from, row by row."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Mapping[str, Any]: ...


def dataset(rows: Rows, numbers: Numbers | None = None) -> Any:
    """Rows as a ``datasets.Dataset`` that makes each one when it is asked for.

    Args:
        rows: The rows.
        numbers: Which of them, in which order; None for all.
    """
    from datasets import Dataset

    def made(batch: Mapping[str, list[int]]) -> dict[str, list[Any]]:
        some = [rows[number] for number in batch["number"]]
        return {name: [row[name] for row in some] for name in some[0]}

    chosen = np.arange(len(rows)) if numbers is None else numbers
    return Dataset.from_dict({"number": chosen}).with_transform(made)


def whole_steps(rows: int, step: int, seed: int) -> Numbers:
    """All rows, and some of them again, so that each optimiser step of an epoch has as many.

    Then it does not matter how many processes share a step.

    Args:
        rows: Number of rows.
        step: Rows of one optimiser step, over all processes.
        seed: Seed of the choice of rows that come twice.
    """
    again = np.random.default_rng(seed).permutation(rows)
    return np.concatenate([np.arange(rows), np.resize(again, -rows % step)])


class PackedSequences:
    """Conversations as the sequences that go through the model, several in one when packed.

    Args:
        store: The tokens.
        sequences: The numbers of the rows that stand in each sequence; an array is
            [sequences, rows of each].
    """

    def __init__(self, store: Conversations, sequences: Packs | Numbers) -> None:
        self._store = store
        self._sequences = sequences

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        rows = [self._store.row(row) for row in self._sequences[number]]
        return {
            "input_ids": np.concatenate([row.input_ids for row in rows], dtype=np.int64),
            "labels": np.concatenate([row.labels for row in rows], dtype=np.int64),
            "seq_lengths": [len(row.input_ids) for row in rows],
        }


class PairRows:
    """Preference pairs, with the log-probabilities that the reference gives their answers.

    Args:
        store: The tokens.
        rows: Numbers of the rows.
    """

    def __init__(self, store: Pairs, rows: Numbers) -> None:
        self._store = store
        self._rows = rows
        self.reference: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        pair = self._store.row(int(self._rows[number]))
        row = {name: getattr(pair, name).tolist() for name in _PAIR}
        row |= {"p_chosen": pair.p_chosen, "p_rejected": pair.p_rejected}
        if self.reference is not None:
            row["ref_chosen_logps"], row["ref_rejected_logps"] = self.reference[number].tolist()
        return row


class EpochOrder:
    """The order of the rows in an epoch, which depends on the seed and the epoch alone.

    Args:
        rows: Number of rows.
        seed: Seed of the order.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is given next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._rows)
        yield from order.tolist()
