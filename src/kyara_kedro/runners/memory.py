"""What earlier runs have left behind to tell whether a node has to run again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from kyara_kedro.content import content_id
from kyara_kedro.files import written_whole
from kyara_kedro.lineage.manifest import OutputState

logger = logging.getLogger("kyara_kedro")
T = TypeVar("T")


class Output(OutputState):
    """What a node has stored.

    Attributes:
        stamp: Tells whether it is still what was stored; None for what cannot be looked at.
    """

    stamp: str | None


class NodeRecord(BaseModel):
    """What a node's last good run has read, executed and stored.

    Attributes:
        run_id: The run.
        code: Digests of the modules that it executed.
        parameters: The settings that it read, by their paths, with their values.
        prompts: The prompts that it read, with the hashes of their texts.
        inputs: Identities of the data sets that it read.
        outputs: What it stored.
    """

    run_id: str
    code: dict[str, str]
    parameters: dict[str, Any]
    prompts: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, Output]

    @property
    def fingerprint(self) -> str:
        """Hash of all that the outputs follow from."""
        return content_id(self.code, self.parameters, self.prompts, self.inputs)


class Memory:
    """The records of nodes, a file each, so that a kill loses none and nodes may run side by side.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recall(self, node: str) -> NodeRecord | None:
        """The record of a node's last good run; one that cannot be read counts as none."""
        try:
            return NodeRecord.model_validate_json(self._file(node).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def keep(self, node: str, record: NodeRecord) -> None:
        """Put a record in the place of the one before."""
        with written_whole(self._file(node)) as part:
            part.write_text(record.model_dump_json(), encoding="utf-8")

    def forget(self, node: str) -> None:
        """Begin a node anew, so that one that is cut short does not pass for what it was before."""
        self._file(node).unlink(missing_ok=True)

    def _file(self, node: str) -> Path:
        return self._folder / f"{node}.json"


class Shelf(Generic[T]):
    """Facts that are dear to find and easy to check, kept in one file; damage costs time only.

    Args:
        path: The file.
        form: The facts' form; a file of another one is begun anew.
    """

    def __init__(self, path: Path, form: int = 1) -> None:
        self._path, self._form = path, form
        self._changed = False
        self._facts: dict[str, T] = {}
        try:
            held = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return
        if isinstance(held, dict) and held.get("form") == form:
            self._facts = held["facts"]

    def get(self, key: str) -> T | None:
        """A fact, if it is known."""
        return self._facts.get(key)

    def put(self, key: str, fact: T) -> None:
        """Note a fact."""
        self._facts[key] = fact
        self._changed = True

    def keep_only(self, wanted: Callable[[str], bool]) -> None:
        """Forget the facts whose keys are not wanted any more."""
        kept = {key: fact for key, fact in self._facts.items() if wanted(key)}
        self._changed |= len(kept) < len(self._facts)
        self._facts = kept

    def save(self) -> None:
        """Write the file if there is something new; a disk that takes nothing fails no run."""
        if not self._changed:
            return
        try:
            with written_whole(self._path) as part:
                held = {"form": self._form, "facts": self._facts}
                part.write_text(json.dumps(held, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            logger.warning("%s cannot be written, so files are read again: %s", self._path, error)
        self._changed = False
