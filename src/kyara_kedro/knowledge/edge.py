"""The embedded index: Qdrant Edge in this process, one directory on disk.

`path/CURRENT` names the directory of the state in use: a shard, its document frequencies and what
they were made with. A new state is built in a directory beside it, and `CURRENT` is replaced in one
step, so a killed build leaves the old state in use. Shards have no write-ahead log: they never
change after they are built, and many processes may read one. A new state starts as a copy of the
old one, for Qdrant changes the files of a segment in place when a point in it is deleted.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from kyara_kedro.errors import UserError
from kyara_kedro.knowledge.bm25 import SparseVector
from kyara_kedro.knowledge.counts import TermCounts
from kyara_kedro.knowledge.index import (
    DENSE,
    FILTERED,
    PAGE,
    SPARSE,
    Change,
    Fusion,
    Hit,
    Manifest,
    Narrow,
    Point,
    Query,
    best,
    count_out,
    counted,
    fused,
)

_POINTER, _LOCK = "CURRENT", "writer.lock"
_SHARD, _COUNTS, _MANIFEST = "shard", "terms.bin", "manifest.json"
_IDS = 10_000
_SETTLED = 32_000
"""Points written between two optimisations, which move them from memory to disk."""
_SEGMENT = 200_000
"""Kilobytes of vectors, some 40,000 passages, from which on a segment is not merged any more: to
merge takes memory in proportion, and the time of a build would grow with its square."""
_BLOCK = 1 << 26
_NAME = ["passage_id"]


class EdgeIndex:
    """Points in a Qdrant Edge shard under a directory."""

    def __init__(self, path: Path) -> None:
        """Open the state under `path`; without one, the index is empty until the first update."""
        self.name = f"the knowledge base at {path}"
        self._path = path
        self._state: Path | None = None
        self._shard: Any = None
        self._counts = TermCounts()
        self._names: dict[int, str] = {}
        self._manifest: Manifest | None = None
        self._open()

    def manifest(self) -> Manifest | None:
        """What the shard holds vectors of."""
        return self._manifest

    def counts(self) -> TermCounts:
        """Document frequencies of its terms."""
        return self._counts

    def ids(self) -> set[int]:
        """Ids of all points of the newest state, which another process may have built."""
        import qdrant_edge as edge

        if self._current() != self._state:
            self.close()
            self._open()
        found: set[int] = set()
        offset, more = None, self._shard is not None
        while more:
            records, offset = self._shard.scroll(
                edge.ScrollRequest(offset=offset, limit=_IDS, with_payload=False, with_vector=False)
            )
            found.update(record.id for record in records)
            more = offset is not None
        return found

    def count(self) -> int:
        """Number of points."""
        import qdrant_edge as edge

        return 0 if self._shard is None else int(self._shard.count(edge.CountRequest(exact=True)))

    def points(self, ids: Sequence[int] | None = None) -> Iterator[list[Point]]:
        """Points with their vectors, in pages."""
        import qdrant_edge as edge

        if self._shard is None:
            return
        if ids is not None:
            for start in range(0, len(ids), PAGE):
                yield [
                    Point.stored(record)
                    for record in self._shard.retrieve(list(ids[start : start + PAGE]), True, True)
                ]
            return
        offset, more = None, True
        while more:
            records, offset = self._shard.scroll(
                edge.ScrollRequest(offset=offset, limit=PAGE, with_payload=True, with_vector=True)
            )
            yield [Point.stored(record) for record in records]
            more = offset is not None

    def update(self, change: Change) -> None:
        """Build the new state beside the old one and put it in its place.

        Raises:
            UserError: another process is building this knowledge base, or just did.
        """
        from filelock import FileLock, Timeout

        self._path.mkdir(parents=True, exist_ok=True)
        building = self._path / f"building.{os.getpid()}.{id(self)}"
        try:
            with FileLock(self._path / _LOCK, timeout=0):
                if self._current() != self._state:
                    raise UserError(
                        f"{self.name} was built by another process meanwhile: run again"
                    )
                self._rebuild(change, building)
        except Timeout:
            raise UserError(f"{self.name} is being built by another process: wait for it") from None
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def search(
        self, queries: Sequence[Query], limit: int, fusion: Fusion, narrow: Narrow
    ) -> list[list[Hit]]:
        """Best hits of each query."""
        import qdrant_edge as edge

        if self._shard is None:
            return [[] for _ in queries]
        only = _filter(narrow)
        lists = fusion._replace(candidates=max(fusion.candidates, limit))

        def fetch(some: Sequence[Query], depth: int) -> list[list[Hit]]:
            requests = [_request(query, depth, lists, only) for query in some]
            found = self._shard.query_batch(edge.QueryBatchRequest(requests))
            ids = [[hit.id for hit in hits] for hits in found]
            self._learn(chain.from_iterable(ids))
            return [
                list(
                    map(
                        Hit,
                        [-(fused(hit.score) if query.dense else hit.score) for hit in hits],
                        map(self._names.__getitem__, own),
                    )
                )
                for query, hits, own in zip(some, found, ids, strict=True)
            ]

        return best(fetch, queries, limit)

    def _learn(self, ids: Iterable[int]) -> None:
        """Look up the passage ids of points not met before: each time they would cost a half."""
        new = [number for number in dict.fromkeys(ids) if number not in self._names]
        if new:
            found = self._shard.retrieve(new, _NAME, False)
            self._names |= {record.id: record.payload["passage_id"] for record in found}

    def close(self) -> None:
        """Release the shard's files."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def _open(self) -> None:
        """Load the current state; a writer may replace it meanwhile, then the next one is taken."""
        import qdrant_edge as edge

        self._state, self._manifest, self._counts, self._names = None, None, TermCounts(), {}
        while (state := self._current()) is not None:
            try:
                values = json.loads((state / _MANIFEST).read_text("utf-8"))
                self._counts = TermCounts.from_bytes((state / _COUNTS).read_bytes())
                self._shard = edge.EdgeShard.load(str(state / _SHARD))
            except Exception:
                if self._current() == state:
                    raise
            else:
                self._state, self._manifest = state, Manifest.from_json(values)
                return

    def _current(self) -> Path | None:
        try:
            state = self._path / (self._path / _POINTER).read_text("utf-8")
        except FileNotFoundError:
            return None
        return state if (state / _MANIFEST).exists() else None

    def _rebuild(self, change: Change, building: Path) -> None:
        import qdrant_edge as edge

        counter = count_out(self, change)
        shard = self._start(building / _SHARD, change)
        waiting = 0
        if change.removed and not change.renewed:
            shard.update(edge.UpdateOperation.delete_points(list(change.removed)))
        for batch in counted(change, counter):
            shard.update(edge.UpdateOperation.upsert_points([_edge_point(p) for p in batch]))
            waiting += len(batch)
            if waiting >= _SETTLED:
                _settle(shard)
                shard = edge.EdgeShard.load(str(building / _SHARD))
                waiting = 0
        _settle(shard)
        (building / _COUNTS).write_bytes(counter.counts().to_bytes())
        (building / _MANIFEST).write_text(json.dumps(change.manifest.to_json()), "utf-8")
        self.close()
        self._publish(building)
        self._open()

    def _start(self, shard: Path, change: Change) -> Any:
        """A shard to write to: a copy of the current one, or an empty one."""
        import qdrant_edge as edge

        if self._state is not None and not change.renewed:
            shutil.copytree(self._state / _SHARD, shard, copy_function=_copy)
            return edge.EdgeShard.load(str(shard))
        shard.mkdir(parents=True)
        half = edge.VectorStorageDatatype.Float16
        model = change.manifest.model
        dense = model and {DENSE: edge.EdgeVectorParams(model.size, edge.Distance.Cosine)}
        created = edge.EdgeShard.create(
            str(shard),
            edge.EdgeConfig(
                vectors=dense,
                sparse_vectors={
                    SPARSE: edge.EdgeSparseVectorParams(datatype=half, memory=edge.Memory.Cold)
                },
                optimizers=edge.EdgeOptimizersConfig(
                    default_segment_number=1, max_segment_size=_SEGMENT
                ),
                wal_enabled=False,
            ),
        )
        keyword = edge.PayloadSchemaType.Keyword
        for field in FILTERED:
            created.update(edge.UpdateOperation.create_field_index(field, keyword))
        return created

    def _publish(self, building: Path) -> None:
        """Make what was built the current state; what else lies there is removed."""
        current = self._current()
        number = 0 if current is None else int(current.suffix[1:]) + 1
        target = self._path / f"state.{number}"
        shutil.rmtree(target, ignore_errors=True)
        building.rename(target)
        pointer = self._path / f"{_POINTER}.new"
        with pointer.open("w", encoding="utf-8") as file:
            file.write(target.name)
            file.flush()
            os.fsync(file.fileno())
        pointer.replace(self._path / _POINTER)
        for pattern in ("state.*", "shard.*", "building.*"):
            for other in self._path.glob(pattern):
                if other != target:
                    # Where files in use cannot go, a reader may hold them: the next build tries.
                    shutil.rmtree(other, ignore_errors=True)


def _settle(shard: Any) -> None:
    """Index what was written and release the shard's memory."""
    shard.optimize()
    shard.flush()
    shard.close()


def _copy(source: str, target: str) -> None:
    """Copy a file without its holes; file systems that can will share the blocks instead."""
    if not hasattr(os, "copy_file_range"):
        shutil.copy2(source, target)
        return
    with Path(source).open("rb") as read, Path(target).open("wb") as write:
        size = os.fstat(read.fileno()).st_size
        write.truncate(size)
        start = 0
        while start < size:
            try:
                start = os.lseek(read.fileno(), start, os.SEEK_DATA)
            except OSError:  # only a hole is left
                break
            end = os.lseek(read.fileno(), start, os.SEEK_HOLE)
            while start < end:
                count = min(end - start, _BLOCK)
                start += os.copy_file_range(read.fileno(), write.fileno(), count, start, start)


def _request(query: Query, limit: int, fusion: Fusion, only: Any) -> Any:
    import qdrant_edge as edge

    if query.dense is None:
        sparse = edge.Query.Nearest(_edge_vector(query.sparse), using=SPARSE)
        return edge.QueryRequest(limit=limit, query=sparse, filter=only)
    sides = fusion.sides(query)
    fused_by: Any = edge.Fusion.Rrf(k=fusion.k, weights=[side.weight for side in sides])
    return edge.QueryRequest(
        limit=limit,
        query=fused_by,
        prefetches=[
            edge.Prefetch(
                limit=fusion.candidates,
                query=edge.Query.Nearest(
                    _edge_vector(side.vector)
                    if isinstance(side.vector, SparseVector)
                    else side.vector,
                    using=side.using,
                ),
                filter=only,
            )
            for side in sides
        ],
    )


def _filter(narrow: Narrow) -> Any:
    import qdrant_edge as edge

    must: list[Any] = []
    must_not: list[Any] = []
    if narrow.language is not None:
        must.append(edge.FieldCondition("language", match=edge.MatchValue(narrow.language)))
    if narrow.exclude:
        match = edge.MatchAny(list(narrow.exclude))
        must_not.append(edge.FieldCondition("document_id", match=match))
    return edge.Filter(must=must, must_not=must_not) if must or must_not else None


def _edge_point(point: Point) -> Any:
    import qdrant_edge as edge

    vectors: dict[str, Any] = {SPARSE: _edge_vector(point.sparse)}
    if point.dense is not None:
        vectors[DENSE] = point.dense
    return edge.Point(point.id, vectors, point.payload)


def _edge_vector(vector: SparseVector) -> Any:
    import qdrant_edge as edge

    return edge.SparseVector(vector.indices.tolist(), vector.values.tolist())
