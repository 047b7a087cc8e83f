"""The index behind a Qdrant server, or in qdrant-client's local mode."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kyara_kedro.knowledge.bm25 import SparseVector
from kyara_kedro.knowledge.index import VECTOR, Hit, Point

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

_PAGE = 10_000


class ClientIndex:
    """Points in a collection that a Qdrant client reaches.

    A server has no transaction over many points: an interrupted update leaves some of the new
    points beside the old ones, and the next update finishes it.
    """

    def __init__(self, client: "QdrantClient", collection: str) -> None:
        """Use a collection, which is created by the first update."""
        self._client = client
        self._collection = collection

    def ids(self) -> set[str]:
        """Ids of all points."""
        found: set[str] = set()
        offset, more = None, self._client.collection_exists(self._collection)
        while more:
            records, offset = self._client.scroll(
                self._collection, offset=offset, limit=_PAGE, with_payload=False
            )
            found.update(str(record.id) for record in records)
            more = offset is not None
        return found

    def count(self) -> int:
        """Number of points."""
        exists = self._client.collection_exists(self._collection)
        return self._client.count(self._collection, exact=True).count if exists else 0

    def update(self, batches: Iterable[list[Point]], removed: Sequence[str]) -> None:
        """Add points, then remove those that are gone."""
        from qdrant_client import models

        if not self._client.collection_exists(self._collection):
            sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
            self._client.create_collection(
                self._collection, vectors_config={}, sparse_vectors_config={VECTOR: sparse}
            )
        for batch in batches:
            points = [_client_point(point) for point in batch]
            self._client.upsert(self._collection, points, wait=True)
        for start in range(0, len(removed), _PAGE):
            gone = models.PointIdsList(points=list(removed[start : start + _PAGE]))
            self._client.delete(self._collection, gone, wait=True)

    def search(self, queries: Sequence[SparseVector], limit: int) -> list[list[Hit]]:
        """Best hits of each query."""
        from qdrant_client import models

        if not self._client.collection_exists(self._collection):
            return [[] for _ in queries]
        requests = [
            models.QueryRequest(
                query=_client_vector(query), using=VECTOR, limit=limit, with_payload=["passage_id"]
            )
            for query in queries
        ]
        found = self._client.query_batch_points(self._collection, requests)
        return [
            [Hit((hit.payload or {})["passage_id"], hit.score) for hit in response.points]
            for response in found
        ]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _client_point(point: Point) -> "models.PointStruct":
    from qdrant_client import models

    vector = {VECTOR: _client_vector(point.vector)}
    return models.PointStruct(id=point.id, vector=vector, payload=point.payload)


def _client_vector(vector: SparseVector) -> "models.SparseVector":
    from qdrant_client import models

    return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())
