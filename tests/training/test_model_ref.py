import stat
from pathlib import Path

import pytest

from kyara_kedro.training.model_ref import (
    ModelRef,
    ModelRefError,
    fingerprint,
    pretrained,
    verify,
    written_whole,
)


def ref(path: Path, mark: str = "a") -> ModelRef:
    return ModelRef(path=str(path), fingerprint=mark, stage="sft_base", base="embedded")


def test_survives_json() -> None:
    model = ModelRef("data/06_models/x", "f", "dpo", "embedded", run_id="r1")
    assert ModelRef.from_dict(model.to_dict()) == model


@pytest.mark.parametrize("change", [{"colour": "red"}, {"path": None}])
def test_wrong_fields_are_named(change: dict[str, str | None]) -> None:
    values = ModelRef("p", "f", "dpo", "embedded").to_dict() | change
    if change.get("path", "") is None:
        del values["path"]
    with pytest.raises(ModelRefError, match=r"colour|path"):
        ModelRef.from_dict(values)


def test_fingerprint_sees_data_parameters_base_and_template() -> None:
    same = fingerprint([["a"], ["b"]], {"lr": 1.0, "epochs": 2}, "base", "template")
    assert same == fingerprint([["a"], ["b"]], {"epochs": 2, "lr": 1.0}, "base", "template")
    others = [
        fingerprint([["b"], ["a"]], {"lr": 1.0, "epochs": 2}, "base", "template"),
        fingerprint([["a"], ["b"]], {"lr": 2.0, "epochs": 2}, "base", "template"),
        fingerprint([["a"], ["b"]], {"lr": 1.0, "epochs": 2}, "other", "template"),
        fingerprint([["a"], ["b"]], {"lr": 1.0, "epochs": 2}, "base", "other"),
    ]
    assert len({same, *others}) == 5


def test_a_model_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with written_whole(ref(target, "old")) as building:
        (building / "weights").write_text("old")
        (building / "weights").chmod(0o600)
        (building / "stale").write_text("old")
    with written_whole(ref(target, "new")) as building:
        assert (target / "weights").read_text() == "old"
        (building / "weights").write_text("new")
    assert (target / "weights").read_text() == "new"
    assert sorted(path.name for path in target.iterdir()) == ["model_ref.json", "weights"]
    assert stat.S_IMODE((target / "weights").stat().st_mode) == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["model"]
    verify(ref(target, "new"))
    with pytest.raises(ModelRefError, match="run the stage 'sft_base' again"):
        verify(ref(target, "old"))


def test_a_failure_leaves_the_former_model(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with written_whole(ref(target, "old")) as building:
        (building / "weights").write_text("old")
    with pytest.raises(OSError, match="disk"), written_whole(ref(target, "new")) as building:
        (building / "weights").write_text("half")
        raise OSError("disk full")
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    verify(ref(target, "old"))


def test_a_model_that_cannot_take_its_place_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    with written_whole(ref(target, "old")):
        pass
    rename = Path.rename

    def refuse(path: Path, place: Path) -> Path:
        if (path / "weights").exists():
            raise OSError("stale handle")
        return rename(path, place)

    monkeypatch.setattr(Path, "rename", refuse)
    for place in (target, tmp_path / "other"):
        with pytest.raises(OSError, match="stale"), written_whole(ref(place, "new")) as building:
            (building / "weights").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    verify(ref(target, "old"))


def test_a_missing_model_names_its_stage(tmp_path: Path) -> None:
    with pytest.raises(ModelRefError, match="no model here; run the stage 'sft_base' again"):
        verify(ref(tmp_path / "nowhere"))


def test_a_published_model_needs_no_directory() -> None:
    verify(pretrained("google/gemma-2-2b-it"))


def test_a_folder_with_other_weights_is_another_model(tmp_path: Path) -> None:
    """Else a stage would go on from a checkpoint of other weights, or not be done at all."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(3 << 20))
    (tmp_path / ".cache").mkdir()  # as `hf download --local-dir` leaves
    start = pretrained(str(tmp_path))
    weights.write_bytes(bytes(3 << 20))
    assert pretrained(str(tmp_path)) == start
    weights.write_bytes(bytes((3 << 20) - 1) + b"1")
    assert pretrained(str(tmp_path)).fingerprint != start.fingerprint
