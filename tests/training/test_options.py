import subprocess
import sys

import pytest

from kyara_kedro.training.options import DPOOptions, EmbeddedModelOptions, SFTOptions


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
        "from kyara_kedro.training import chat, embedded, generation, loading, model_ref, rows\n"
        "from kyara_kedro.training import stages\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
