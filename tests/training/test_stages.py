import hashlib
import logging
import math
import os
import warnings
from pathlib import Path

import pytest

from kyara_kedro.content import Message, content_id
from kyara_kedro.records import TRAINING_CURVE
from kyara_kedro.training.chat import IGNORED, PreferencePair, encode
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef, verify
from kyara_kedro.training.options import DPOOptions, SFTOptions
from kyara_kedro.training.stages import TrainingError, train_dpo, train_sft

SFT = SFTOptions(epochs=2, warmup_steps=0, learning_rate=1e-2)
DPO = DPOOptions(epochs=2, warmup_steps=0, learning_rate=1e-3)


def talk(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


ROWS = [talk(f"玉山{n}的海拔是多少公尺？", f"{n * 111}公尺") for n in range(1, 25)]
PAIRS = [
    PreferencePair(prompt=row[:1], chosen=row[1]["content"], rejected="彰化", prefix=None)
    for row in ROWS
]


def weights(model: ModelRef) -> str:
    return hashlib.sha256(Path(model.path, "model.safetensors").read_bytes()).hexdigest()


def series(curve: list[dict[str, object]], metric: str) -> list[float]:
    return [point["value"] for point in curve if point["metric"] == metric]


def test_sft_lowers_the_loss_and_writes_a_model(embedded: ModelRef, tmp_path: Path) -> None:
    from transformers import AutoConfig, GenerationConfig

    result = train_sft(embedded, ROWS, SFT, tmp_path / "model", "sft_base")
    losses = series(result.curve, "loss")
    assert losses[-1] < losses[0] - 1
    assert result.model.stage == "sft_base"
    assert result.model.base == "embedded"
    assert result.dropped == []
    verify(result.model)
    assert AutoConfig.from_pretrained(result.model.path).attention_dropout == 0.0
    assert len(GenerationConfig.from_pretrained(result.model.path).eos_token_id) == 2
    written = {path.name for path in Path(result.model.path).iterdir()}
    assert written == {
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "model_ref.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    TRAINING_CURVE.validate(
        TRAINING_CURVE.frame({"id": content_id(point), **point} for point in result.curve)
    )
    metrics = {point["metric"] for point in result.curve}
    assert {"loss", "grad_norm", "learning_rate", "mean_token_accuracy"} <= metrics


def test_same_input_gives_the_same_weights(embedded: ModelRef, tmp_path: Path) -> None:
    first = train_sft(embedded, ROWS, SFT, tmp_path / "first", "s")
    second = train_sft(embedded, ROWS, SFT, tmp_path / "second", "s")
    other = train_sft(embedded, ROWS[::-1], SFT, tmp_path / "other", "s")
    assert weights(first.model) == weights(second.model)
    assert first.curve == second.curve
    assert first.model.fingerprint == second.model.fingerprint != other.model.fingerprint


@pytest.mark.parametrize("packing", [True, False])
def test_packed_rows_do_not_see_each_other(
    embedded: ModelRef, tmp_path: Path, packing: bool
) -> None:
    """The first loss is the mean over the tokens of each row taken alone."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(embedded)
    network = AutoModelForCausalLM.from_pretrained(embedded.path, attn_implementation="eager")
    total, count = 0.0, 0
    for row in ROWS:
        encoded = encode(tokenizer, row)
        labels = torch.tensor(encoded.labels[None], dtype=torch.long)
        with torch.inference_mode():
            loss = network(torch.tensor(encoded.input_ids[None]), labels=labels).loss.item()
        learned = int((labels[0, 1:] != IGNORED).sum())
        total, count = total + loss * learned, count + learned
    options = SFTOptions(
        epochs=1, max_length=1024, packing=packing, batch_size=1 if packing else 24,
        accumulation=1, attention_dropout=0.0,
    )  # fmt: skip
    result = train_sft(embedded, ROWS, options, tmp_path / "model", "s")
    assert series(result.curve, "loss")[0] == pytest.approx(total / count, abs=1e-4)


def test_untrainable_rows_are_reported_and_never_cut(embedded: ModelRef, tmp_path: Path) -> None:
    rows = [ROWS[0], talk("長" * 300, "答"), [], talk("問", "<eos>"), ROWS[1]]
    result = train_sft(embedded, rows, SFT, tmp_path / "model", "s")
    assert [(drop.row, drop.reason) for drop in result.dropped] == [
        (1, "over_max_length"),
        (2, "empty_conversation"),
        (3, "control_token"),
    ]
    assert "max_length is 256" in result.dropped[0].detail


def test_nothing_to_train_on_is_one_clear_line(embedded: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"sft_base: none of 1 rows .* empty_conversation"):
        train_sft(embedded, [[]], SFT, tmp_path / "model", "sft_base")
    with pytest.raises(TrainingError, match="dpo: none of 0 rows can be trained on"):
        train_dpo(embedded, [], DPO, tmp_path / "model", "dpo")
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_stops_and_keeps_the_former_model(
    embedded: ModelRef, tmp_path: Path
) -> None:
    former = train_sft(embedded, ROWS, SFT, tmp_path / "model", "s")
    wild = SFTOptions(epochs=9, warmup_steps=0, learning_rate=1e38, scheduler="linear")
    with pytest.raises(TrainingError, match=r"loss is nan at step .* lower learning_rate"):
        train_sft(embedded, ROWS, wild, tmp_path / "model", "s")
    verify(former.model)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_dpo_starts_at_its_reference_and_separates_the_answers(
    embedded: ModelRef, tmp_path: Path
) -> None:
    start = train_sft(embedded, ROWS, SFT, tmp_path / "sft", "sft").model
    options = DPO.model_copy(update={"losses": {"sigmoid": 1.0}})
    result = train_dpo(start, PAIRS, options, tmp_path / "dpo", "dpo")
    margins = series(result.curve, "rewards/margins")
    assert series(result.curve, "loss")[0] == pytest.approx(math.log(2), abs=1e-4)
    assert margins[0] == pytest.approx(0, abs=1e-4)
    assert margins[-1] > 0.05
    assert series(result.curve, "rewards/accuracies")[-1] > 0.9
    assert {"logps/chosen", "logps/rejected"} <= {point["metric"] for point in result.curve}
    assert weights(start) != weights(result.model)
    assert result.model.base == "embedded"


def test_dpo_takes_continuations_and_whole_turns_together(
    embedded: ModelRef, tmp_path: Path
) -> None:
    steps = [PreferencePair(**{**pair, "prefix": "第一步：\n"}) for pair in PAIRS[:8]]
    same = PreferencePair(**{**PAIRS[0], "rejected": PAIRS[0]["chosen"]})
    result = train_dpo(embedded, [*steps, same, *PAIRS[:8]], DPO, tmp_path / "dpo", "dpo")
    assert [(drop.row, drop.reason) for drop in result.dropped] == [(8, "identical_answers")]


def test_a_wrong_reference_is_noticed(
    embedded: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import DPOTrainer

    computed = DPOTrainer.compute_ref_log_probs

    def shifted(self, *arguments):
        chosen, rejected = computed(self, *arguments)
        return chosen - 1.0, rejected

    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", shifted)
    with pytest.raises(TrainingError, match=r"first reward of the chosen answers is 0\.100"):
        train_dpo(embedded, PAIRS, DPO, tmp_path / "dpo", "dpo")


def test_training_is_silent_and_leaves_no_settings_behind(
    embedded: ModelRef, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import datasets
    import torch
    import transformers

    def state() -> tuple[object, ...]:
        reports = transformers.utils.logging
        return (
            torch.get_num_threads(),
            torch.initial_seed(),
            torch.random.get_rng_state().sum().item(),
            reports.get_verbosity(),
            reports.is_progress_bar_enabled(),
            datasets.are_progress_bars_disabled(),
            logging.getLogger("trl").level,
            list(warnings.filters),
            os.environ.get("TQDM_DISABLE"),
        )

    before = state()
    start = train_sft(embedded, ROWS, SFT, tmp_path / "sft", "sft").model
    train_dpo(start, PAIRS, DPO, tmp_path / "dpo", "dpo")
    assert state() == before
    assert capfd.readouterr() == ("", "")
