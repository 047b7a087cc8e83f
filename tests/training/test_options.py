import subprocess
import sys

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.training.options import (
    AlarmOptions,
    DPOOptions,
    EmbeddedModelOptions,
    SFTOptions,
)


def test_packing_wants_single_sequences() -> None:
    with pytest.raises(ValueError, match="batch_size must be 1 with packing, but is 4"):
        SFTOptions(batch_size=4)


def test_a_preference_loss_is_needed() -> None:
    with pytest.raises(ValueError, match="must name a preference loss"):
        DPOOptions(losses={"sft": 1.0})


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of twice heads"):
        EmbeddedModelOptions(hidden=100, heads=8)


def test_the_room_loads_no_heavy_package() -> None:
    script = (
        "import sys\n"
        "from kyara_kedro.training import chat, embedded, loading, model_ref, resident, rows\n"
        "from kyara_kedro.training import stages\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"losses": {"exo_pair": 1.0}}, "label_smoothing must be above 0 with losses exo_pair"),
        ({"losses": {"robust": 1.0}}, "label_smoothing must be above 0 with losses robust"),
        ({"label_smoothing": 0.1}, "label_smoothing does nothing with losses sft, sigmoid"),
        ({"label_smoothing": 0.5}, "less than 0.5"),
        ({"discopop_tau": 0.1}, "discopop_tau does nothing with losses sft, sigmoid"),
        ({"losses": {"aot": 1.0}, "batch_size": 1}, "batch_size must be above 1 with aot"),
        ({"losses": {"simpo": 1.0}}, "Input should be 'sigmoid'"),
        ({"losses": {}}, "must name a preference loss, but are none"),
    ],
)
def test_a_loss_that_cannot_be_as_asked_is_one_clear_line(
    settings: dict[str, object], fault: str
) -> None:
    with pytest.raises(UserError, match=fault) as refused:
        DPOOptions.read(settings, "train.dpo")
    assert "\n" not in str(refused.value)


def test_a_limit_that_stops_lies_above_the_one_that_warns() -> None:
    with pytest.raises(UserError, match=r"alarms: 'kl': .* stop \(1\) must not be below warn \(2"):
        AlarmOptions.read({"kl": {"warn": 2, "stop": 1}}, "alarms")
    assert AlarmOptions.read({"kl": {"warn": 2, "stop": None}}, "alarms").kl.stop is None
