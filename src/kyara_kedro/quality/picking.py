"""Best first, one cluster after the other, and what is new before what is there already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

_Queue = list[tuple[float, int]]


class Room(NamedTuple):
    """How many rows of each group may still be taken.

    Attributes:
        groups: Group of each row.
        left: Places left in each group; picking fills them.
    """

    groups: Sequence[int]
    left: list[int]


class Pool(NamedTuple):
    """The rows that can be picked, numbered from the best on.

    Attributes:
        scores: Score of each row.
        clusters: Cluster of each row.
        tags: Tags of each row beside the one that its cluster is named by.
    """

    scores: Sequence[float]
    clusters: Sequence[int]
    tags: Sequence[Sequence[int]]


def pick(
    pool: Pool,
    rows: Iterable[int],
    size: int,
    *,
    given: Sequence[int],
    rooms: Sequence[Room],
    new_tag_bonus: float,
) -> list[int]:
    """Let clusters take turns, and take the row of each that adds most to what is taken already.

    A row adds its score and, for each of its tags, ``new_tag_bonus / (1 + rows taken with it)``.
    That is the greedy maximisation of a submodular sum (Nemhauser, Wolsey and Fisher, 1978; the
    concave coverage of Lin and Bilmes, ACL 2011), evaluated lazily (Minoux, 1978): what a row adds
    only falls, so a row that still leads its queue after its value is computed anew is the best.

    Args:
        pool: The rows' scores, clusters and tags.
        rows: Rows that may be picked.
        size: Number of rows to pick, the given ones included.
        given: Rows that are taken whatever the rooms say.
        rooms: Bounds that every picked row has to find a place in.
        new_tag_bonus: What a tag that no taken row has adds to the score.

    Returns:
        The rows taken, in the order of taking; fewer than ``size`` where the rooms are full.
    """
    scores, clusters, tags = pool
    times: defaultdict[int, int] = defaultdict(int)
    bonus: defaultdict[int, float] = defaultdict(lambda: new_tag_bonus)
    taken: list[int] = []

    def value(row: int) -> float:
        return -scores[row] - sum(map(bonus.__getitem__, tags[row]))

    def take(row: int) -> None:
        taken.append(row)
        for tag in tags[row]:
            times[tag] += 1
            bonus[tag] = new_tag_bonus / (1 + times[tag])
        for groups, left in rooms:
            left[groups[row]] -= 1

    def fits(row: int) -> bool:
        for groups, left in rooms:  # noqa: SIM110 - half the time of any()
            if left[groups[row]] <= 0:
                return False
        return True

    def leads(queue: _Queue) -> bool:
        """Bring the queue's best row to its head; false when no row of it finds a place."""
        while queue:
            known, row = queue[0]
            if not fits(row):
                heappop(queue)
            elif (now := value(row)) > known:
                heapreplace(queue, (now, row))
            else:
                return True
        return False

    for row in given:
        take(row)
    queues: defaultdict[int, _Queue] = defaultdict(list)
    there = set(given)
    for row in rows:
        if row not in there:
            queues[clusters[row]].append((value(row), row))
    waiting = list(queues.values())
    for queue in waiting:
        heapify(queue)
    while len(taken) < size:
        waiting = sorted(filter(leads, waiting), key=lambda queue: queue[0])
        if not waiting:
            break
        for queue in waiting[: size - len(taken)]:
            if leads(queue):
                take(heappop(queue)[1])
    return taken
