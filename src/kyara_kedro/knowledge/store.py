"""The knowledge base: passages in Qdrant, found by their terms and, with a model, by meaning.

The same schema stands in three places and gives the same results: embedded (Qdrant Edge, the
default), on a server, and in qdrant-client's local mode, which serves small tests.
"""

import copy
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.knowledge.bm25 import SparseEncoder, average_length, term_total
from kyara_kedro.knowledge.dense import Address, DenseEncoder, DenseOptions, dense_encoder, model_of
from kyara_kedro.knowledge.index import (
    PAYLOAD,
    Change,
    Fusion,
    Hit,
    Index,
    Manifest,
    Model,
    Narrow,
    Point,
    Query,
    check_model,
)
from kyara_kedro.options import Options

LOGGER = logging.getLogger(__name__)

Mode = Literal["sparse", "hybrid"]

_WRITTEN, _ASKED = 512, 256
"""Passages encoded at a time, and queries."""
_COLUMNS = (*PAYLOAD, "text")
_RESULT = pl.Schema(
    {"query": pl.Int64, "rank": pl.Int32, "passage_id": pl.String, "score": pl.Float64}
)
_LIMITS = {"edge": 1_000_000, "local": 20_000}
"""Passages up to which a kind serves well, see docs/knowledge_base.md."""
_NEAR = 0.8


class KnowledgeOptions(Options):
    """Where the knowledge base lies and how it ranks.

    Attributes:
        kind: "edge" embedded in this process, "server" over the network, "local" in qdrant-client.
        path: Directory of an embedded or local knowledge base; ":memory:" for a local one that ends
            with the process.
        url: Address of a server.
        collection: Name of the collection on a server or in local mode.
        timeout: Seconds to wait for a server's reply.
        shards: Parts of the collection on a cluster of servers; as many as servers by default.
        replicas: Servers of a cluster that hold each part.
        k1: BM25's saturation of repeated terms.
        b: BM25's correction for a passage's length.
        dense: Encoder of dense vectors; without one, passages are found by their terms alone.
    """

    kind: Literal["edge", "local", "server"] = "edge"
    path: Path = Path("data/03_primary/knowledge_base")
    url: Address | None = None
    collection: str = Field(default="kyara", min_length=1)
    timeout: int = Field(default=60, gt=0)
    shards: int | None = Field(default=None, gt=0)
    replicas: int = Field(default=1, gt=0)
    k1: float = Field(default=0.9, ge=0, le=10)
    b: float = Field(default=0.75, ge=0, le=1)
    dense: DenseOptions | None = None

    @model_validator(mode="after")
    def _server_has_an_address(self) -> Self:
        if (self.kind == "server") != (self.url is not None):
            raise ValueError(f"'url' goes with kind 'server': kind is '{self.kind}'")
        if self.kind != "server" and (self.shards or self.replicas > 1):
            raise ValueError(f"'shards' and 'replicas' go with kind 'server', not '{self.kind}'")
        return self


class Build(NamedTuple):
    """What a build changed, in passages."""

    added: int
    removed: int
    kept: int


class KnowledgeStore:
    """Build and search a knowledge base; a context manager that closes it."""

    def __init__(
        self,
        options: KnowledgeOptions,
        api_key: str | None = None,
        embedding_api_key: str | None = None,
    ) -> None:
        """Open the knowledge base, which may not have been built yet.

        Args:
            options: Where it lies.
            api_key: Key of a server that asks for one.
            embedding_api_key: Key of an embeddings endpoint that asks for one.

        Raises:
            UserError: the place cannot be opened.
        """
        self._options = options
        self._embedding_api_key = embedding_api_key
        self._encoder: DenseEncoder | None = None
        self._index = _open(options, api_key)

    @property
    def is_hybrid(self) -> bool:
        """Whether a search uses dense vectors when nothing else is asked for."""
        return self._options.dense is not None

    def build(self, passages: pl.DataFrame | Iterable[pl.DataFrame]) -> Build:
        """Make the knowledge base hold exactly these passages.

        Only passages that are new or changed are encoded and written; those no longer given are
        removed. All sparse vectors are written anew when the average length of a passage moves by
        half or the settings of BM25 change; dense vectors stay. An embedded knowledge base changes
        as a whole or not at all.

        Args:
            passages: Columns passage_id, document_id, title, text and language, see
                `kyara_kedro.records.PASSAGE`; as one table, or in tables that are read once and
                kept on disk meanwhile.

        Raises:
            UserError: it was built with another dense model, another process is building it, or a
                server or an encoder does not do what it should.
        """
        with _rereadable(passages) as tables:
            keys: list[int] = []
            terms = 0
            for table in tables():
                keys += map(_point_id, table.iter_rows(named=True))
                terms += term_total(_searchable(table))
            weights = average_length(terms, len(keys)), self._options.k1, self._options.b
            encoder = SparseEncoder(*weights)
            present = self._index.ids()
            wanted = set(keys)
            added = wanted - present
            removed = sorted(present - wanted)
            manifest = Manifest(encoder.signature, self._model(encoding=bool(added)))
            old = self._index.manifest()
            check_model(self._index, manifest.model)
            renewed = old is None or old.weights != manifest.weights
            if added or removed or (renewed and keys):
                batches = self._points(tables(), keys, encoder, present, renewed=renewed)
                self._index.update(Change(manifest, batches, removed, renewed))
            self._warn(len(wanted))
            return Build(len(added), len(removed), len(wanted) - len(added))

    def search(
        self,
        queries: Sequence[str],
        limit: int = 10,
        mode: Mode | None = None,
        language: str | None = None,
        exclude: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Find the best passages for each query.

        Args:
            queries: Texts in any script; words that only ask (什麼, 誰) are left out.
            limit: Most passages for each query.
            mode: "sparse" by terms alone, "hybrid" fused with dense vectors; the latter when an
                encoder is configured.
            language: Only passages of this language.
            exclude: Ids of documents whose passages are left out.

        Returns:
            Columns query (position in `queries`), rank (from 0), passage_id and score, ordered by
            query and rank; equal scores by passage_id. Which passages are found depends on what
            the knowledge base holds, not on where it lies or how it came to hold it (beyond
            thousands of passages dense vectors are searched approximately). Passages that share no
            term with a query are not returned by a sparse search.

        Raises:
            UserError: a hybrid search without an encoder, or with another one than the knowledge
                base was built with.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        hybrid = self.is_hybrid if mode is None else mode == "hybrid"
        fusion = self._options.dense.fusion if self._options.dense else Fusion()
        narrow = Narrow(language, exclude)
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), _ASKED):
            some = self._queries(queries[start : start + _ASKED], hybrid=hybrid)
            hits += self._index.search(some, limit, fusion, narrow)
        sizes = list(map(len, hits))
        return pl.DataFrame(
            {
                "query": np.repeat(np.arange(len(sizes)), sizes),
                "rank": np.concatenate([np.arange(0), *map(np.arange, sizes)]),
                "passage_id": [hit.passage_id for some in hits for hit in some],
                "score": [-hit.low for some in hits for hit in some],
            },
            schema=_RESULT,
        )

    def copy_to(self, other: "KnowledgeStore") -> int:
        """Make another knowledge base hold what this one holds, such as a server's.

        Vectors are copied, nothing is encoded.

        Returns:
            Number of passages.

        Raises:
            UserError: nothing was built here, or the other holds vectors of another dense model.
        """
        manifest = self._index.manifest()
        if manifest is None:
            raise UserError(f"{self._index.name} is empty: run ingest first")
        check_model(other._index, manifest.model)
        removed = sorted(other._index.ids() - self._index.ids())
        other._index.update(Change(manifest, self._index.points(), removed, renewed=True))
        return other.count()

    def by_terms(self) -> Self:
        """The same passages, searched by their terms alone: no encoder is asked."""
        view = copy.copy(self)
        view._options = self._options.model_copy(update={"dense": None})
        return view

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

    def _dense(self, options: DenseOptions) -> DenseEncoder:
        """The encoder, opened when it is first needed."""
        if self._encoder is None:
            self._encoder = dense_encoder(options, self._embedding_api_key)
        return self._encoder

    def _model(self, *, encoding: bool) -> Model | None:
        """The configured dense model; its dimension is asked for only when it has to encode."""
        options = self._options.dense
        if options is None:
            return None
        old = self._index.manifest()
        if not encoding and old is not None and old.model and old.model.name == options.model:
            return old.model
        return model_of(options, self._dense(options))

    def _points(
        self,
        tables: Iterable[pl.DataFrame],
        keys: Sequence[int],
        encoder: SparseEncoder,
        present: set[int],
        *,
        renewed: bool,
    ) -> Iterator[list[Point]]:
        """The points to write, in batches: those not present, or all when weights are renewed."""
        start, written = 0, set()
        for table in tables:
            names = keys[start : start + table.height]
            start += table.height
            fresh = [
                number
                for number, key in enumerate(names)
                if key not in written and (renewed or key not in present)
            ]
            if not fresh:
                continue
            some = table[fresh]
            names = [names[number] for number in fresh]
            written.update(names)
            texts = _searchable(some)
            dense = self._dense_vectors(names, texts, present)
            payloads = some.select(PAYLOAD).to_dicts()
            yield [
                Point(key, vector, payload, dense.get(key))
                for key, vector, payload in zip(
                    names, encoder.passages(texts), payloads, strict=True
                )
            ]

    def _dense_vectors(
        self, names: Sequence[int], texts: Sequence[str], present: set[int]
    ) -> dict[int, list[float]]:
        """Dense vectors of passages: those present are taken over, the others encoded."""
        options = self._options.dense
        if options is None:
            return {}
        held = [name for name in names if name in present]
        pages = self._index.points(held) if held else iter(())
        found = {point.id: point.dense for page in pages for point in page if point.dense}
        new = [number for number, name in enumerate(names) if name not in found]
        if new:
            vectors = self._dense(options).passages([texts[number] for number in new])
            found |= zip([names[number] for number in new], vectors.tolist(), strict=True)
        return found

    def _queries(self, texts: Sequence[str], *, hybrid: bool) -> list[Query]:
        sparse = SparseEncoder.queries(texts, self._index.counts())
        manifest = self._index.manifest() if hybrid else None
        if not hybrid or manifest is None:
            return [Query(vector) for vector in sparse]
        options = self._options.dense
        if options is None:
            raise UserError("a hybrid search needs an encoder: set 'dense' of the knowledge base")
        if manifest.model is None or manifest.model.name != options.model:
            check_model(self._index, Model(options.model, options.dimensions or 0))
        dense = self._dense(options).queries(texts)
        check_model(self._index, Model(options.model, dense.shape[1]))
        return [Query(vector, own) for vector, own in zip(sparse, dense.tolist(), strict=True)]

    def _warn(self, passages: int) -> None:
        limit = _LIMITS.get(self._options.kind)
        if limit and passages > _NEAR * limit:
            LOGGER.warning(
                "%s holds %s passages: kind '%s' serves well up to about %s, beyond that use kind "
                "'server' (docs/knowledge_base.md)",
                *(self._index.name, f"{passages:,}", self._options.kind, f"{limit:,}"),
            )


def _open(options: KnowledgeOptions, api_key: str | None) -> Index:
    if options.kind == "edge":
        from kyara_kedro.knowledge.edge import EdgeIndex

        return EdgeIndex(options.path)
    from qdrant_client import QdrantClient

    from kyara_kedro.knowledge.client import ServerIndex
    from kyara_kedro.knowledge.local import LocalIndex

    if options.kind == "server":
        client = QdrantClient(
            url=options.url, api_key=api_key, timeout=options.timeout, check_compatibility=False
        )
        name = f"the collection '{options.collection}' at {options.url}"
        return ServerIndex(client, options.collection, name, options.shards, options.replicas)
    name = f"the knowledge base at {options.path}"
    try:
        client = (
            QdrantClient(":memory:")
            if str(options.path) == ":memory:"
            else QdrantClient(path=str(options.path))
        )
    except RuntimeError:
        raise UserError(
            f"{name} is open in another process, and kind 'local' serves one: close that, or use "
            "kind 'edge'"
        ) from None
    return LocalIndex(client, options.collection, name)


@contextmanager
def _rereadable(
    passages: pl.DataFrame | Iterable[pl.DataFrame],
) -> Iterator[Callable[[], Iterator[pl.DataFrame]]]:
    """Tables of at most `_WRITTEN` passages that can be read more than once."""
    if isinstance(passages, pl.DataFrame):
        whole = passages.select(_COLUMNS)
        yield lambda: whole.iter_slices(_WRITTEN)
        return
    with tempfile.TemporaryDirectory(prefix="kyara-passages-") as folder:
        files = []
        for number, table in enumerate(passages):
            files.append(Path(folder) / f"{number}.arrow")
            table.select(_COLUMNS).write_ipc(files[-1], compression="lz4")

        def read() -> Iterator[pl.DataFrame]:
            for file in files:
                yield from pl.read_ipc(file).iter_slices(_WRITTEN)

        yield read


def _searchable(table: pl.DataFrame) -> list[str]:
    return [f"{title}\n{text}" for title, text in table.select("title", "text").iter_rows()]


def _point_id(row: dict[str, Any]) -> int:
    return int(content_id(row)[:16], 16)
