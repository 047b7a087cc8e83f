from pathlib import Path

from kyara_kedro.training.checkpointing import Checkpoint, keep_newest, newest, seal


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    assert newest(tmp_path / "none") is None
    for step in (8, 10, 9):
        seal(checkpoint(tmp_path, step), tokens=100.0 * step)
    checkpoint(tmp_path, 12)
    (tmp_path / "checkpoint-x").mkdir()
    assert newest(tmp_path) == Checkpoint(tmp_path / "checkpoint-10", 10, 1000.0)


def test_the_newest_whole_ones_are_kept_whatever_was_written_after_them(tmp_path: Path) -> None:
    """A leftover that no seal makes whole must not push a whole one out."""
    for step in (200, 400, 1000):
        seal(checkpoint(tmp_path, step), tokens=0.0)
    checkpoint(tmp_path, 600)
    keep_newest(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-400", "checkpoint-1000"}


def test_an_unfinished_seal_is_none(tmp_path: Path) -> None:
    (checkpoint(tmp_path, 3) / "whole.json.part").write_text("{}")
    assert newest(tmp_path) is None
