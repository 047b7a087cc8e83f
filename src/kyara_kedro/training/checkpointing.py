"""Checkpoints that a killed stage goes on from, and how the unfinished ones are told apart."""

import json
import re
import shutil
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
    for file in [*path.rglob("*"), path]:
        flush(file)
    part = path / f"{_WHOLE}.part"
    part.write_text(json.dumps({"tokens": tokens}), "utf-8")
    flush(part)
    part.rename(path / _WHOLE)
    flush(path)


def keep_newest(folder: Path, count: int) -> None:
    """Remove all checkpoints but the newest whole ones; what is being removed is whole no more.

    Called once the newest is sealed, so that a kill never finds a folder without a whole one.
    """
    whole = sorted(one for one in _all(folder) if _is_whole(one[1]))
    for _, path in set(_all(folder)) - set(whole[-count:]):
        (path / _WHOLE).unlink(missing_ok=True)
        shutil.rmtree(path)


def newest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a folder; None when there is none."""
    whole = [one for one in _all(folder) if _is_whole(one[1])]
    if not whole:
        return None
    step, path = max(whole)
    return Checkpoint(path, step, **json.loads((path / _WHOLE).read_text("utf-8")))


def _all(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints, whole or not, by the steps that they have behind them."""
    return [
        (int(match[1]), path) for path in folder.glob("*") if (match := _NAME.fullmatch(path.name))
    ]


def _is_whole(path: Path) -> bool:
    return (path / _WHOLE).is_file()
