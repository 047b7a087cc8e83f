"""Rows of token ids as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def padded(rows: Sequence[Sequence[int]], padding: int, device: str) -> tuple[Any, Any]:
    """Pad token ids on the right, so that positions count from the first token.

    Returns:
        Ids and mask, shape [rows, longest].
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.tensor(row) for row in rows]
    tokens = pad_sequence(ids, batch_first=True, padding_value=padding)
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    return tokens.to(device), mask.to(device)
