"""The embedded index: Qdrant Edge in this process, one directory on disk.

`path/CURRENT` names the directory of the shard in use. A new state is built in a directory beside
it, and `CURRENT` is replaced in one step, so a killed build leaves the old state in use. Shards
have no write-ahead log: they never change after they are built, and many processes may read one.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kyara_kedro.knowledge.bm25 import SparseVector
from kyara_kedro.knowledge.index import VECTOR, Hit, Point

_POINTER = "CURRENT"
_PAGE = 10_000


class EdgeIndex:
    """Points in a Qdrant Edge shard under a directory."""

    def __init__(self, path: Path) -> None:
        """Open the shard under `path`; without one, the index is empty until the first update."""
        self._path = path
        self._shard = self._load()

    def ids(self) -> set[str]:
        """Ids of all points."""
        import qdrant_edge as edge

        found: set[str] = set()
        offset, more = None, self._shard is not None
        while more:
            records, offset = self._shard.scroll(
                edge.ScrollRequest(
                    offset=offset, limit=_PAGE, with_payload=False, with_vector=False
                )
            )
            found.update(str(record.id) for record in records)
            more = offset is not None
        return found

    def count(self) -> int:
        """Number of points."""
        import qdrant_edge as edge

        return 0 if self._shard is None else int(self._shard.count(edge.CountRequest(exact=True)))

    def update(self, batches: Iterable[list[Point]], removed: Sequence[str]) -> None:
        """Build the new state beside the old one and put it in its place."""
        import qdrant_edge as edge

        building = self._path / f"building.{os.getpid()}"
        shutil.rmtree(building, ignore_errors=True)
        shard = self._start(building)
        if removed:
            shard.update(edge.UpdateOperation.delete_points(list(removed)))
        for batch in batches:
            points = [_edge_point(point) for point in batch]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()
        self.close()
        self._publish(building)
        self._shard = self._load()

    def search(self, queries: Sequence[SparseVector], limit: int) -> list[list[Hit]]:
        """Best hits of each query."""
        import qdrant_edge as edge

        if self._shard is None:
            return [[] for _ in queries]
        requests = [
            edge.QueryRequest(
                limit=limit,
                query=edge.Query.Nearest(_edge_vector(query), using=VECTOR),
                with_payload=["passage_id"],
            )
            for query in queries
        ]
        found = self._shard.query_batch(edge.QueryBatchRequest(requests))
        return [[Hit(hit.payload["passage_id"], hit.score) for hit in hits] for hits in found]

    def close(self) -> None:
        """Release the shard's files."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def _current(self) -> Path | None:
        pointer = self._path / _POINTER
        return self._path / pointer.read_text("utf-8") if pointer.exists() else None

    def _load(self) -> Any:
        import qdrant_edge as edge

        current = self._current()
        return None if current is None else edge.EdgeShard.load(str(current))

    def _start(self, building: Path) -> Any:
        """A shard to write to: a copy of the current one, or an empty one."""
        import qdrant_edge as edge

        current = self._current()
        if current is not None:
            shutil.copytree(current, building)
            return edge.EdgeShard.load(str(building))
        building.mkdir(parents=True)
        sparse = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
        # Vacuum whatever is deleted, since deleted points would still count in the IDF.
        vacuum = edge.EdgeOptimizersConfig(deleted_threshold=1e-9, vacuum_min_vector_number=1)
        config = edge.EdgeConfig(
            sparse_vectors={VECTOR: sparse}, optimizers=vacuum, wal_enabled=False
        )
        return edge.EdgeShard.create(str(building), config)

    def _publish(self, building: Path) -> None:
        """Make the built shard the current one; what else lies there is removed."""
        current = self._current()
        number = 0 if current is None else int(current.suffix[1:]) + 1
        target = self._path / f"shard.{number}"
        shutil.rmtree(target, ignore_errors=True)
        building.rename(target)
        pointer = self._path / f"{_POINTER}.new"
        with pointer.open("w", encoding="utf-8") as file:
            file.write(target.name)
            file.flush()
            os.fsync(file.fileno())
        pointer.replace(self._path / _POINTER)
        for other in [*self._path.glob("shard.*"), *self._path.glob("building.*")]:
            if other != target:
                # Where files in use cannot go, a reader may hold them: the next build tries again.
                shutil.rmtree(other, ignore_errors=True)


def _edge_point(point: Point) -> Any:
    import qdrant_edge as edge

    return edge.Point(point.id, {VECTOR: _edge_vector(point.vector)}, point.payload)


def _edge_vector(vector: SparseVector) -> Any:
    import qdrant_edge as edge

    return edge.SparseVector(vector.indices.tolist(), vector.values.tolist())
