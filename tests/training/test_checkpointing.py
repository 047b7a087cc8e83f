from pathlib import Path

from kyara_kedro.training.checkpointing import Checkpoint, newest, seal


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


def test_an_unfinished_seal_is_none(tmp_path: Path) -> None:
    (checkpoint(tmp_path, 3) / "whole.json.part").write_text("{}")
    assert newest(tmp_path) is None
