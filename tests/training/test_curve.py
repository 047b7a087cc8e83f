from pathlib import Path

from kyara_kedro.training.curve import CurveFile


def test_a_curve_is_cut_to_the_step_that_training_goes_on_from(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    curve = CurveFile(path)
    curve.cut(0)
    assert curve.points("s") == []
    for step in (1, 2, 3):
        curve.append(step, {"loss": 3.0 - step, "tokens_per_second": 7.0})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    curve.cut(2)
    assert curve.points("s") == [
        {"stage": "s", "step": 1, "metric": "loss", "value": 2.0},
        {"stage": "s", "step": 2, "metric": "loss", "value": 1.0},
    ]
    assert len(path.read_text().splitlines()) == 2
