"""The index on a Qdrant server.

Beside the collection stands a second one, `<collection>_terms`, with the document frequencies in
parts and one point that says which parts count and what the vectors were made with.

A server has no transaction over many points: an interrupted update leaves some of the new points
beside the old ones, says so in that point, and the next update finishes it.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

_IDS = 10_000
_HEAD = 0
"""Point of the terms' collection that describes the others."""
_PART = 4 << 20
"""Bytes of document frequencies in a point; a server refuses requests of more than 32 MB."""
_PARTS = 1 << 20
"""Parts lie behind the head, or behind this many points: old and new ones side by side."""


class ServerIndex:
    """Points in a collection of a Qdrant server."""

    def __init__(
        self,
        client: "QdrantClient",
        collection: str,
        name: str,
        shards: int | None = None,
        replicas: int = 1,
    ) -> None:
        """Use a collection, which is created by the first update.

        Args:
            client: Where the server is.
            collection: Name of the collection.
            name: What to call it in messages; without credentials.
            shards: Parts of a collection that is created; None leaves it to the server.
            replicas: Servers that hold each part of what is created.
        """
        self._shards, self._replicas = shards, replicas
        self.name = name
        self._client = client
        self._collection = collection
        self._terms = f"{collection}_terms"
        self._head: dict[str, Any] | None = None
        self._counts: TermCounts | None = None

    def manifest(self) -> Manifest | None:
        """What the collection holds vectors of."""
        head = self._read_head()
        if not head:
            return None
        manifest = Manifest.from_json(head["manifest"])
        # Vectors of an update that was interrupted are nothing that the next one can build on.
        return manifest._replace(weights="") if head.get("torn") else manifest

    def counts(self) -> TermCounts:
        """Document frequencies, fetched when they are first needed."""
        if self._counts is None:
            head = self._read_head()
            self._counts = self._read_counts(head) if head else TermCounts()
        return self._counts

    def ids(self) -> set[int]:
        """Ids of all points."""
        found: set[int] = set()
        with self._reaching():
            offset, more = None, self._client.collection_exists(self._collection)
            while more:
                records, offset = self._client.scroll(
                    self._collection, offset=offset, limit=_IDS, with_payload=False
                )
                found.update(int(record.id) for record in records)
                more = offset is not None
        return found

    def count(self) -> int:
        """Number of points."""
        with self._reaching():
            exists = self._client.collection_exists(self._collection)
            return self._client.count(self._collection, exact=True).count if exists else 0

    def points(self, ids: Sequence[int] | None = None) -> Iterator[list[Point]]:
        """Points with their vectors, in pages."""
        with self._reaching():
            if not self._client.collection_exists(self._collection):
                return
            if ids is not None:
                for start in range(0, len(ids), PAGE):
                    page = list(ids[start : start + PAGE])
                    found = self._client.retrieve(self._collection, page, with_vectors=True)
                    yield list(map(Point.stored, found))
                return
            offset, more = None, True
            while more:
                records, offset = self._client.scroll(
                    self._collection, offset=offset, limit=PAGE, with_vectors=True
                )
                yield list(map(Point.stored, records))
                more = offset is not None

    def update(self, change: Change) -> None:
        """Add points, then remove those that are gone."""
        from qdrant_client import models

        with self._reaching():
            self._create(change.manifest)
            head = self._read_head(fresh=True)
            counter = count_out(self, change)
            self._write_head({**(head or {"manifest": change.manifest.to_json()}), "torn": True})
            for batch in counted(change, counter):
                points = list(map(_client_point, batch))
                self._client.upsert(self._collection, points, wait=True)
            for start in range(0, len(change.removed), PAGE):
                gone = models.PointIdsList(points=list(change.removed[start : start + PAGE]))
                self._client.delete(self._collection, gone, wait=True)
            self._counts = counter.counts()
            self._write_counts(change.manifest, head)

    def search(
        self, queries: Sequence[Query], limit: int, fusion: Fusion, narrow: Narrow
    ) -> list[list[Hit]]:
        """Best hits of each query."""
        only = _filter(narrow)
        lists = fusion._replace(candidates=max(fusion.candidates, limit))

        def fetch(some: Sequence[Query], depth: int) -> list[list[Hit]]:
            requests = [_request(query, depth, lists, only) for query in some]
            found = self._client.query_batch_points(self._collection, requests)
            return [
                [
                    Hit(
                        -(fused(hit.score) if query.dense else hit.score),
                        (hit.payload or {})["passage_id"],
                    )
                    for hit in response.points
                ]
                for query, response in zip(some, found, strict=True)
            ]

        with self._reaching():
            if not self._client.collection_exists(self._collection):
                return [[] for _ in queries]
            return best(fetch, queries, limit)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _create(self, manifest: Manifest) -> None:
        from qdrant_client import models

        if not self._client.collection_exists(self._terms):
            self._client.create_collection(
                self._terms, vectors_config={}, replication_factor=self._replicas
            )
        if self._client.collection_exists(self._collection):
            return
        index = models.SparseIndexParams(datatype=models.Datatype.FLOAT16)
        cosine = models.Distance.COSINE
        dense = manifest.model and models.VectorParams(size=manifest.model.size, distance=cosine)
        self._client.create_collection(
            self._collection,
            vectors_config={DENSE: dense} if dense else {},
            sparse_vectors_config={SPARSE: models.SparseVectorParams(index=index)},
            shard_number=self._shards,
            replication_factor=self._replicas,
        )
        self._index_payload()

    def _index_payload(self) -> None:
        from qdrant_client import models

        for field in FILTERED:
            self._client.create_payload_index(
                self._collection, field, models.PayloadSchemaType.KEYWORD, wait=True
            )

    def _read_head(self, *, fresh: bool = False) -> dict[str, Any] | None:
        if self._head is None or fresh:
            with self._reaching():
                if self._client.collection_exists(self._terms):
                    found = self._client.retrieve(self._terms, [_HEAD])
                    self._head = found[0].payload if found else None
        return self._head

    def _write_head(self, head: dict[str, Any]) -> None:
        from qdrant_client import models

        point = models.PointStruct(id=_HEAD, vector={}, payload=head)
        self._client.upsert(self._terms, [point], wait=True)
        self._head = head

    def _read_counts(self, head: dict[str, Any]) -> TermCounts:
        with self._reaching():
            first = head.get("first", 0)
            packed = [
                b64decode((record.payload or {})["part"])
                for part in range(first, first + head.get("parts", 0))
                for record in self._client.retrieve(self._terms, [part])
            ]
        return TermCounts.from_bytes(b"".join(packed)) if packed else TermCounts()

    def _write_counts(self, manifest: Manifest, old: dict[str, Any] | None) -> None:
        """Write the document frequencies beside the old ones, which a reader may be fetching."""
        from qdrant_client import models

        first = _HEAD + 1 if (old or {}).get("first", 0) > _PARTS else _PARTS + 1
        packed = self.counts().to_bytes()
        parts = [packed[start : start + _PART] for start in range(0, len(packed), _PART)]
        for number, part in enumerate(parts, first):
            payload = {"part": b64encode(part).decode("ascii")}
            point = models.PointStruct(id=number, vector={}, payload=payload)
            self._client.upsert(self._terms, [point], wait=True)
        self._write_head({"manifest": manifest.to_json(), "first": first, "parts": len(parts)})

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what can go wrong on the way to a server into one line for a person."""
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            yield
        except UnexpectedResponse as error:
            if error.status_code in (401, 403):
                problem = "refuses the key: set api_key in the credentials of the knowledge base"
            else:
                problem = f"answers {error.status_code} {error.reason_phrase}: {_said(error)}"
            raise UserError(f"{self.name} {problem}") from None
        except (ResponseHandlingException, QdrantException) as error:
            raise UserError(
                f"{self.name} cannot be reached ({_first_line(error)}): see that the server runs at"
                " this url and answers within 'timeout'"
            ) from None


def _said(error: Any) -> str:
    content = error.content.decode("utf-8", "replace") if error.content else ""
    return " ".join(content.split())[:200] or "see the server's log"


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _request(
    query: Query, limit: int, fusion: Fusion, only: "models.Filter | None"
) -> "models.QueryRequest":
    from qdrant_client import models

    if query.dense is None:
        return models.QueryRequest(
            query=_vector(query.sparse),
            using=SPARSE,
            limit=limit,
            filter=only,
            with_payload=["passage_id"],
        )
    sides = fusion.sides(query)
    weights = [side.weight for side in sides]
    return models.QueryRequest(
        prefetch=[
            models.Prefetch(
                query=_vector(side.vector), using=side.using, limit=fusion.candidates, filter=only
            )
            for side in sides
        ],
        query=models.RrfQuery(rrf=models.Rrf(k=fusion.k, weights=weights)),
        limit=limit,
        with_payload=["passage_id"],
    )


def _filter(narrow: Narrow) -> "models.Filter | None":
    from qdrant_client import models

    must: list[models.Condition] = []
    must_not: list[models.Condition] = []
    if narrow.language is not None:
        match = models.MatchValue(value=narrow.language)
        must.append(models.FieldCondition(key="language", match=match))
    if narrow.exclude:
        any_of = models.MatchAny(any=list(narrow.exclude))
        must_not.append(models.FieldCondition(key="document_id", match=any_of))
    return models.Filter(must=must, must_not=must_not) if must or must_not else None


def _client_point(point: Point) -> "models.PointStruct":
    from qdrant_client import models

    vector: dict[str, Any] = {SPARSE: _vector(point.sparse)}
    if point.dense is not None:
        vector[DENSE] = point.dense
    return models.PointStruct(id=point.id, vector=vector, payload=point.payload)


def _vector(vector: SparseVector | list[float]) -> "models.SparseVector | list[float]":
    from qdrant_client import models

    if not isinstance(vector, SparseVector):
        return vector
    return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())
