import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kyara_kedro.content import Message
from kyara_kedro.training.adapters import lora_config, master_weights, merge
from kyara_kedro.training.chat import PreferencePair, encode, encode_pair
from kyara_kedro.training.loading import load_network, load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef, pretrained
from kyara_kedro.training.options import MachineOptions, PeftOptions

CPU = MachineOptions(device="cpu")
LORA = PeftOptions(method="lora", r=8, alpha=32)
ROWS = [
    [
        Message(role="user", content=f"玉山{n}的海拔是多少公尺？"),
        Message(role="assistant", content=f"{n * 111}公尺"),
    ]
    for n in range(1, 13)
]
PAIRS = [
    PreferencePair(prompt=row[:1], chosen=row[1]["content"], rejected="彰化", prefix=None)
    for row in ROWS
]


class Stage(NamedTuple):
    """What a stage left: its trainer after training, and the plain weights on disk."""

    trainer: Any
    model: ModelRef

    def series(self, metric: str) -> list[float]:
        return [log[metric] for log in self.trainer.state.log_history if metric in log]


def settings(workspace: Path) -> dict[str, Any]:
    return {
        "output_dir": str(workspace), "use_cpu": True, "bf16": False, "report_to": "none",
        "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "learning_rate": 1e-2,
        "activation_checkpointing": False, "lr_scheduler_type": "constant",
    }  # fmt: skip


def finished(trainer: Any, start: ModelRef, directory: Path) -> Stage:
    trainer._send_telemetry = lambda: None
    trainer.train()
    merge(trainer.model, start).save_pretrained(directory)
    trainer.processing_class.save_pretrained(directory)
    return Stage(trainer, pretrained(str(directory)))


@pytest.fixture(scope="module", autouse=True)
def offline() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def sft(embedded: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    folder = tmp_path_factory.mktemp("sft")
    tokenizer = load_tokenizer(embedded)
    rows = [encode(tokenizer, row) for row in ROWS]
    with quiet(threads=1):
        trainer = SFTTrainer(
            load_network(embedded, CPU, LORA),
            args=SFTConfig(**settings(folder), per_device_train_batch_size=12, max_steps=12),
            train_dataset=Dataset.from_list([row._asdict() for row in rows]),
            processing_class=tokenizer,
            peft_config=lora_config(LORA),
        )
        return finished(trainer, embedded, folder / "model")


@pytest.fixture(scope="module")
def dpo(sft: Stage, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Trainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    folder = tmp_path_factory.mktemp("dpo")
    tokenizer = load_tokenizer(sft.model)
    with quiet(threads=1):
        trainer = Trainer(
            load_network(sft.model, CPU, LORA),
            args=DPOConfig(
                **settings(folder), per_device_train_batch_size=12, max_steps=4,
                precompute_ref_log_probs=True,
            ),
            train_dataset=Dataset.from_list([encode_pair(tokenizer, pair) for pair in PAIRS]),
            processing_class=tokenizer,
            peft_config=lora_config(LORA),
        )  # fmt: skip
        return finished(trainer, sft.model, folder / "model")


def logits(network: Any) -> Any:
    import torch

    with torch.inference_mode():
        return network.eval()(input_ids=torch.arange(8, 40)[None], use_cache=False).logits


def test_low_rank_updates_learn_and_leave_the_weights_below_alone(sft: Stage) -> None:
    losses = sft.series("loss")
    assert losses[-1] < losses[0] - 1
    trained = [name for name, one in sft.trainer.model.named_parameters() if one.requires_grad]
    assert trained
    assert all("lora_" in name and "lm_head" not in name for name in trained)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_merged_weights_answer_as_the_updates_did(
    request: pytest.FixtureRequest, embedded: ModelRef, stage: str
) -> None:
    import torch

    done: Stage = request.getfixturevalue(stage)
    plain = load_network(done.model, CPU, PeftOptions())
    assert {one.dtype for one in plain.parameters()} == {torch.float32}
    assert not any("lora" in name for name, _ in plain.named_modules())
    found = logits(plain)
    assert torch.allclose(found, logits(done.trainer.model), atol=1e-5)
    assert not torch.allclose(found, logits(load_network(embedded, CPU, PeftOptions())), atol=0.1)


def test_a_plain_model_is_written_and_the_start_is_as_it_was(
    embedded: ModelRef, sft: Stage, dpo: Stage
) -> None:
    for written in (sft.model, dpo.model):
        names = {path.name for path in Path(written.path).iterdir()}
        assert "model.safetensors" in names
        assert not any("adapter" in name for name in names)
    weights = Path(embedded.path, "model.safetensors")
    before = hashlib.sha256(weights.read_bytes()).digest()
    merge(sft.trainer.model, embedded)
    assert hashlib.sha256(weights.read_bytes()).digest() == before


def test_the_reference_of_a_preference_stage_is_its_start_without_updates(dpo: Stage) -> None:
    assert list(dpo.trainer.model.peft_config) == ["default"]
    assert dpo.trainer.ref_model is None
    assert dpo.series("loss")[0] == pytest.approx(math.log(2), abs=1e-5)
    assert dpo.series("rewards/margins")[0] == pytest.approx(0, abs=1e-5)
    assert dpo.series("rewards/margins")[-1] > 0.05


def test_what_is_trained_has_32_bits_and_what_is_not_keeps_its_own(embedded: ModelRef) -> None:
    import torch
    from peft import get_peft_model

    network = load_network(embedded, CPU, LORA).to(torch.bfloat16)
    network = get_peft_model(network, lora_config(LORA), autocast_adapter_dtype=False)
    assert {one.dtype for one in network.parameters()} == {torch.bfloat16}
    master_weights(network)
    for one in network.parameters():
        assert one.dtype == (torch.float32 if one.requires_grad else torch.bfloat16)


def test_updates_go_where_they_are_told(embedded: ModelRef) -> None:
    from peft import get_peft_model

    told = LORA.model_copy(update={"target_modules": ("q_proj", "v_proj")})
    network = get_peft_model(load_network(embedded, CPU, told), lora_config(told))
    places = {name.split(".")[-4] for name, _ in network.named_parameters() if "lora_A" in name}
    assert places == {"q_proj", "v_proj"}
    assert lora_config(PeftOptions()) is None
