"""Encoders of dense vectors: a sentence-transformers model, or an endpoint of embeddings."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from kyara_kedro.errors import UserError
from kyara_kedro.knowledge.index import Fusion, Model
from kyara_kedro.options import Options


def _bare(url: str) -> str:
    if "@" in url or "?" in url:
        raise ValueError("an address is logged: a user, password or key belongs in credentials.yml")
    return url


Address = Annotated[str, AfterValidator(_bare)]
"""An address without credentials."""


class EncoderOptions(Options):
    """Which encoder of dense vectors.

    Attributes:
        model: Name or folder of a sentence-transformers model; with `base_url` the model's name
            there.
        base_url: Address of an OpenAI-compatible server, up to and with `/v1`.
        dimensions: Dimensions to ask for, of models that can shorten their vectors.
        query_prefix: Put before each query, as a model behind an endpoint may want; a
            sentence-transformers model knows its own.
        document_prefix: Put before each passage, likewise.
        batch: Texts encoded at a time.
        timeout: Seconds to wait for an endpoint's reply.
    """

    model: str = Field(min_length=1)
    base_url: Address | None = None
    dimensions: int | None = Field(default=None, gt=0)
    query_prefix: str = ""
    document_prefix: str = ""
    batch: int = Field(default=64, gt=0)
    timeout: float = Field(default=60, gt=0)


class DenseOptions(EncoderOptions):
    """Which encoder, and how its list is fused with that of the terms.

    Attributes:
        k: Qdrant's constant of reciprocal rank fusion.
        sparse_weight: Weight of the list of terms in it.
        dense_weight: Weight of the list of dense vectors.
        candidates: Length of each list.
    """

    k: int = Field(default=61, ge=1)
    sparse_weight: float = Field(default=1, gt=0)
    dense_weight: float = Field(default=1, gt=0)
    candidates: int = Field(default=100, gt=0)

    @property
    def fusion(self) -> Fusion:
        """How the lists are fused."""
        return Fusion(self.k, (self.sparse_weight, self.dense_weight), self.candidates)


class DenseEncoder(Protocol):
    """Turns texts into vectors of one size."""

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passages, shape [texts, dimensions]."""

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of queries, shape [texts, dimensions]."""


def dense_encoder(options: EncoderOptions, api_key: str | None = None) -> DenseEncoder:
    """Open an encoder.

    Raises:
        UserError: sentence-transformers is not installed, or has no such model.
    """
    if options.base_url is not None:
        return EndpointEncoder(options, api_key)
    return SentenceTransformerEncoder(options)


def model_of(options: EncoderOptions, encoder: DenseEncoder) -> Model:
    """The encoder's name and dimension; it has to encode a word to tell."""
    return Model(options.model, encoder.queries(["尺寸"]).shape[1])


class SentenceTransformerEncoder:
    """A sentence-transformers model in this process; it applies its own prompts."""

    def __init__(self, options: EncoderOptions) -> None:
        """Load the model."""
        try:
            from sentence_transformers import (
                SentenceTransformer,
            )
        except ImportError:
            raise UserError(
                f"dense model '{options.model}' needs sentence-transformers: "
                "pip install sentence-transformers, or set base_url to an embeddings endpoint"
            ) from None
        try:
            self._model: Any = SentenceTransformer(
                options.model, truncate_dim=options.dimensions, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"dense model '{options.model}' cannot be loaded: {reason}") from None
        self._batch = options.batch

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passages."""
        return self._encoded(self._model.encode_document, texts)

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of queries."""
        return self._encoded(self._model.encode_query, texts)

    def _encoded(self, encode: Any, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = encode(list(texts), batch_size=self._batch, show_progress_bar=False)
        return _units(np.asarray(vectors, np.float32))


class EndpointEncoder:
    """A model behind `/v1/embeddings`."""

    def __init__(self, options: EncoderOptions, api_key: str | None) -> None:
        """Connect when the first text comes."""
        from openai import OpenAI

        self._options = options
        self._client = OpenAI(
            base_url=options.base_url, api_key=api_key or "none", timeout=options.timeout
        )

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passages."""
        return self._encoded([self._options.document_prefix + text for text in texts])

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of queries."""
        return self._encoded([self._options.query_prefix + text for text in texts])

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        size = self._options.batch
        pages = [self._page(texts[start : start + size]) for start in range(0, len(texts), size)]
        if len({page.shape[1] for page in pages}) > 1:
            raise UserError(f"{self._named()} sends vectors of different dimensions")
        return _units(np.concatenate(pages))

    def _page(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from openai import APIError, AuthenticationError, Omit, PermissionDeniedError

        try:
            reply = self._client.embeddings.create(
                model=self._options.model,
                input=list(texts),
                encoding_format="float",
                dimensions=self._options.dimensions or Omit(),
            )
        except (AuthenticationError, PermissionDeniedError):
            raise UserError(
                f"{self._named()} refuses the key: set embedding_api_key in the credentials of the "
                "knowledge base"
            ) from None
        except APIError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self._named()} does not answer: {reason}") from None
        found = sorted(reply.data, key=lambda item: item.index)
        sizes = {len(item.embedding) for item in found}
        if len(found) != len(texts) or len(sizes) != 1:
            raise UserError(
                f"{self._named()} sends {len(found)} vectors of {sorted(sizes)} dimensions for "
                f"{len(texts)} texts"
            )
        return np.array([item.embedding for item in found], np.float32)

    def _named(self) -> str:
        return f"the embeddings endpoint {self._options.base_url} ('{self._options.model}')"


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors scaled to length 1."""
    if not np.isfinite(vectors).all():
        raise UserError("the dense encoder returns vectors with values that are not finite")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
