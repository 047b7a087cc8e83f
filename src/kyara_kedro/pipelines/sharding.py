"""Heavy nodes in shards: nodes that do a share each, so that any runner can fan them out.

How many there are is told by the parameter ``shards`` when a session begins, before Kedro asks for
the pipelines; with one, which is the default, there are no further nodes.
"""

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any

from kedro.pipeline import Node

from kyara_kedro.params import ShardsParams
from kyara_kedro.shards import Shard

_wanted = ShardsParams()


def want_shards(params: ShardsParams) -> bool:
    """Let pipelines that are made from now on have as many shards; whether that is a change."""
    global _wanted
    changed, _wanted = params != _wanted, params
    return changed


def wanted_shards() -> ShardsParams:
    """How many shards pipelines have."""
    return _wanted


def share_out(
    func: Callable[..., Any],
    inputs: Sequence[str],
    output: str,
    name: str,
    tag: str,
    total: int,
    own: str | None = None,
) -> list[Node]:
    """Nodes that do a share of some work each; none where it is not shared out.

    Args:
        func: Takes the inputs, and its share as ``shard``.
        inputs: What each of them reads.
        output: What each of them makes, in shards of this name.
        name: What they are called, in shards as well.
        tag: What they need.
        total: How many there are.
        own: A further input that each has a shard of.

    Returns:
        The nodes; what they make is called as :func:`shares` says.
    """
    if total == 1:
        return []
    return [
        Node(
            update_wrapper(partial(func, shard=shard), func),
            [*inputs, *([shard.named(own)] if own else [])],
            shard.named(output),
            name=shard.named(name),
            tags=tag,
        )
        for shard in _all(total)
    ]


def shares(output: str, total: int) -> list[str]:
    """What the nodes of :func:`share_out` make, for the one that puts it together."""
    return [] if total == 1 else [shard.named(output) for shard in _all(total)]


def _all(total: int) -> list[Shard]:
    return [Shard(number, total) for number in range(1, total + 1)]
