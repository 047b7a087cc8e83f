"""Checkpoints that a killed stage goes on from, and how the unfinished ones are told apart."""

import json
import re
from pathlib import Path
from typing import NamedTuple

from kyara_kedro.files import flush

_NAME = re.compile(r"checkpoint-(\d+)")
_WHOLE = "whole.json"


class Checkpoint(NamedTuple):
    """A whole checkpoint.

    Attributes:
        path: Its folder.
        step: The optimiser steps that it has behind it.
        tokens: The tokens that were read in them.
    """

    path: Path
    step: int
    tokens: float


def seal(path: Path, tokens: float) -> None:
    """Declare a checkpoint whole, once all its files are on disk.

    Args:
        path: Its folder.
        tokens: The tokens that were read until then, which no other file of it tells.
    """
    for file in [*path.iterdir(), path]:
        flush(file)
    part = path / f"{_WHOLE}.part"
    part.write_text(json.dumps({"tokens": tokens}), "utf-8")
    flush(part)
    part.rename(path / _WHOLE)
    flush(path)


def newest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a folder; None when there is none."""
    found = {
        int(match[1]): path for path in folder.glob("*") if (match := _NAME.fullmatch(path.name))
    }
    for step in sorted(found, reverse=True):
        whole = found[step] / _WHOLE
        if whole.is_file():
            return Checkpoint(found[step], step, **json.loads(whole.read_text("utf-8")))
    return None
