"""The knowledge base: passages in Qdrant, found by BM25.

The same schema stands in three places: embedded (Qdrant Edge, the default), on a server, and in
qdrant-client's local mode, which is exact but scans every passage in Python and serves small tests.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self
from uuid import UUID, uuid5

import polars as pl
from pydantic import Field, model_validator

from kyara_kedro.content import content_id
from kyara_kedro.knowledge.bm25 import SparseEncoder, average_length
from kyara_kedro.knowledge.index import PAYLOAD, Index, Point
from kyara_kedro.options import Options

_NAMESPACE = UUID("6b797261-6b65-5064-a06f-6b6e6f776c65")
_BATCH = 256
_DIGITS = 3  # of a score; what follows depends on the order in which an index adds
_COLUMNS = (*PAYLOAD, "text")
_RESULT = pl.Schema(
    {"query": pl.Int64, "rank": pl.Int32, "passage_id": pl.String, "score": pl.Float64}
)


class KnowledgeOptions(Options):
    """Where the knowledge base lies and how it ranks.

    Attributes:
        kind: "edge" embedded in this process, "server" over the network, "local" in qdrant-client.
        path: Directory of an embedded or local knowledge base.
        url: Address of a server.
        collection: Name of the collection on a server or in local mode.
        timeout: Seconds to wait for a server's reply.
        k1: BM25's saturation of repeated terms.
        b: BM25's correction for a passage's length.
    """

    kind: Literal["edge", "local", "server"] = "edge"
    path: Path = Path("data/03_primary/knowledge_base")
    url: str | None = None
    collection: str = Field(default="kyara", min_length=1)
    timeout: int = Field(default=60, gt=0)
    k1: float = Field(default=1.2, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)

    @model_validator(mode="after")
    def _server_has_an_address(self) -> Self:
        if (self.kind == "server") != (self.url is not None):
            raise ValueError(
                f"'url' goes with kind 'server': kind is '{self.kind}', url {self.url}"
            )
        return self


class Build(NamedTuple):
    """What a build changed, in passages."""

    added: int
    removed: int
    kept: int


class KnowledgeStore:
    """Build and search a knowledge base; a context manager that closes it."""

    def __init__(self, options: KnowledgeOptions, api_key: str | None = None) -> None:
        """Open the knowledge base, which may not have been built yet.

        Args:
            options: Where it lies.
            api_key: Key of a server that asks for one.
        """
        self._options = options
        self._index = _open(options, api_key)

    def build(self, passages: pl.DataFrame) -> Build:
        """Make the knowledge base hold exactly these passages.

        Only passages that are new or changed are encoded and written; those no longer given are
        removed. An embedded knowledge base changes as a whole or not at all.

        Args:
            passages: Columns passage_id, document_id, title, text and language, see
                `kyara_kedro.records.PASSAGE`.
        """
        rows = passages.select(_COLUMNS).to_dicts()
        encoder = SparseEncoder(
            average_length(map(_searchable, rows)), self._options.k1, self._options.b
        )
        wanted = {_point_id(row, encoder): row for row in rows}
        present = self._index.ids()
        added = [key for key in wanted if key not in present]
        removed = sorted(present - wanted.keys())
        if added or removed:
            self._index.update(_batches(added, wanted, encoder), removed)
        return Build(len(added), len(removed), len(wanted) - len(added))

    def search(self, queries: Sequence[str], limit: int = 10) -> pl.DataFrame:
        """Find the best passages for each query.

        Returns:
            Columns query (position in `queries`), rank (from 0), passage_id and score, ordered by
            query and rank; equal scores by passage_id. Passages that share no term with a query
            are not returned.
        """
        rows: list[tuple[int, int, str, float]] = []
        for start in range(0, len(queries), _BATCH):
            vectors = [SparseEncoder.query(query) for query in queries[start : start + _BATCH]]
            for number, hits in enumerate(self._index.search(vectors, limit), start):
                found = sorted((-round(score, _DIGITS), name) for name, score in hits if score > 0)
                rows += [(number, rank, name, -low) for rank, (low, name) in enumerate(found)]
        return pl.DataFrame(rows, schema=_RESULT, orient="row")

    def count(self) -> int:
        """Number of passages."""
        return self._index.count()

    def close(self) -> None:
        """Release files and connections."""
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _open(options: KnowledgeOptions, api_key: str | None) -> Index:
    if options.kind == "edge":
        from kyara_kedro.knowledge.edge import EdgeIndex

        return EdgeIndex(options.path)
    from qdrant_client import QdrantClient

    from kyara_kedro.knowledge.client import ClientIndex

    if options.kind == "local":
        client = QdrantClient(path=str(options.path))
    else:
        client = QdrantClient(url=options.url, api_key=api_key, timeout=options.timeout)
    return ClientIndex(client, options.collection)


def _searchable(row: dict[str, str]) -> str:
    return f"{row['title']}\n{row['text']}"


def _point_id(row: dict[str, str], encoder: SparseEncoder) -> str:
    return str(uuid5(_NAMESPACE, content_id(row, encoder.signature)))


def _batches(
    keys: Sequence[str], rows: dict[str, dict[str, str]], encoder: SparseEncoder
) -> Iterator[list[Point]]:
    for start in range(0, len(keys), _BATCH):
        yield [
            Point(
                key,
                encoder.passage(_searchable(rows[key])),
                {name: rows[key][name] for name in PAYLOAD},
            )
            for key in keys[start : start + _BATCH]
        ]
