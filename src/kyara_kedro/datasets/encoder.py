"""The encoder of texts as a catalog entry."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview
from numpy.typing import NDArray

from kyara_kedro.datasets import previews
from kyara_kedro.knowledge.dense import DenseEncoder, EncoderOptions, dense_encoder


class TextEncoder:
    """An encoder that is opened when the first text comes.

    Attributes:
        identity: What its vectors depend on beside the texts.
    """

    def __init__(self, options: EncoderOptions, api_key: str | None) -> None:
        self._options, self._api_key = options, api_key
        self._encoder: DenseEncoder | None = None
        self.identity = json.dumps(
            [options.model, options.dimensions, options.document_prefix], ensure_ascii=False
        )

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, shape [texts, dimensions]."""
        if self._encoder is None:
            self._encoder = dense_encoder(self._options, self._api_key)
        return self._encoder.passages(texts)


class EncoderDataset(AbstractDataset[None, TextEncoder | None]):
    """A sentence-transformers model, or an endpoint of embeddings; None where none is configured.

    Args:
        options: Settings, see ``EncoderOptions``; null for none.
        credentials: ``embedding_api_key`` of an endpoint, from credentials.yml only.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        options: dict[str, Any] | None = None,
        credentials: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._options = EncoderOptions.read(options, "the text encoder") if options else None
        self._credentials = credentials or {}
        self.metadata = metadata

    def configured(self) -> Any:
        """The settings, without keys."""
        return self._options and self._options.model_dump(mode="json")

    def load(self) -> TextEncoder | None:
        """Give the encoder; nothing is opened yet."""
        if self._options is None:
            return None
        return TextEncoder(self._options, self._credentials.get("embedding_api_key"))

    def save(self, data: None) -> None:
        """Refuse: an encoder is only used."""
        raise DatasetError("the text encoder is configured, not saved")

    def preview(self) -> JSONPreview:
        """The settings, for kedro-viz."""
        return previews.document(self._options.model_dump() if self._options else None)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"model": self._options.model if self._options else None}
