"""References to models on disk, which is what nodes hand each other instead of live models."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import xxhash

from kyara_kedro.content import content_id
from kyara_kedro.files import folder_written_whole

REF_FILE = "model_ref.json"
"""What a model's directory says of itself."""
_END = 1 << 20


class ModelRefError(ValueError):
    """A reference does not fit the model it points to."""


@dataclass(frozen=True)
class ModelRef:
    """A model in a directory, and what made it.

    Attributes:
        path: Directory with weights and tokenizer, or the name of a published model.
        fingerprint: Hash of everything that determined the weights, see :func:`fingerprint`.
        stage: The training stage that wrote it, ``pretrained`` for a published model.
        base: What the first stage started from: ``embedded`` or the published model's path.
        run_id: The tracking run of the stage.
        start: Fingerprint of the model that the stage started from.
    """

    path: str
    fingerprint: str
    stage: str
    base: str
    run_id: str | None = None
    start: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """The reference as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ModelRefError: naming the fields that are missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if wrong := sorted((names - {"run_id", "start"} - set(values)) | (set(values) - names)):
            raise ModelRefError(f"model reference: missing or unknown fields {wrong}")
        return cls(**values)


def fingerprint(
    data: Iterable[Any], parameters: Mapping[str, Any], base: str, template: str
) -> str:
    """Hash what determines a stage's weights.

    Args:
        data: The rows, in the order in which they are given to the stage.
        parameters: The stage's options.
        base: Fingerprint of the model that the stage starts from.
        template: The chat template.

    Returns:
        32 hexadecimal digits.
    """
    return content_id([content_id(row) for row in data], dict(parameters), base, template)


def pretrained(path: str) -> ModelRef:
    """Refer to a published model, by its name or by the directory it lies in.

    Of a directory the files count too: sizes and ends of all, which other weights do not share.
    """
    found = [file for file in sorted(Path(path).glob("*.*")) if file.is_file()]
    files = [(file.name, *_size_and_end(file)) for file in found]
    content = ("pretrained", path, files) if files else ("pretrained", path)
    return ModelRef(path=path, fingerprint=content_id(*content), stage="pretrained", base=path)


def _size_and_end(file: Path) -> tuple[int, str]:
    with file.open("rb") as content:
        size = content.seek(0, os.SEEK_END)
        content.seek(max(0, size - _END))
        return size, xxhash.xxh3_128_hexdigest(content.read())


def verify(ref: ModelRef) -> ModelRef:
    """Check that the model which a reference names is still the one that is there.

    Returns:
        What is written there about it.

    Raises:
        ModelRefError: when its directory is gone or holds the result of other data or settings.
    """
    if ref.stage == "pretrained":
        return ref
    written = Path(ref.path, REF_FILE)
    if not written.is_file():
        raise ModelRefError(f"{ref.path}: no model here; run the stage '{ref.stage}' again")
    found = ModelRef.from_dict(json.loads(written.read_text("utf-8")))
    if found.fingerprint != ref.fingerprint:
        raise ModelRefError(
            f"{ref.path}: fingerprint is {found.fingerprint} (stage '{found.stage}'), but "
            f"{ref.fingerprint} is asked for; run the stage '{ref.stage}' again"
        )
    return replace(found, path=ref.path)


def find_model(store: Path, fingerprint: str) -> ModelRef:
    """Find a model that a stage wrote into the store.

    Raises:
        ModelRefError: it is not there any more.
    """
    for written in sorted(store.glob(f"*/*/{REF_FILE}")):
        found = ModelRef.from_dict(json.loads(written.read_text("utf-8")))
        if found.fingerprint == fingerprint:
            return replace(found, path=str(written.parent))
    raise ModelRefError(
        f"{store}: the model {fingerprint} is not here any more; begin with iteration 0"
    )


@contextmanager
def written_whole(ref: ModelRef) -> Iterator[Path]:
    """Fill a model's directory completely or leave what was there.

    Yields:
        An empty sibling of the directory to write into; after the block it takes its place.
    """
    with folder_written_whole(Path(ref.path)) as building:
        yield building
        content = json.dumps(ref.to_dict(), ensure_ascii=False, indent=2, sort_keys=True)
        (building / REF_FILE).write_text(content + "\n", "utf-8")
