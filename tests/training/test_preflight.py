import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from kyara_kedro.content import Message
from kyara_kedro.reporting.terminal import aligned, display_width, shortened
from kyara_kedro.training import chat, trainers
from kyara_kedro.training.chat import (
    END_OF_TURN,
    IGNORED,
    Encoded,
    EncodedPair,
    PreferencePair,
    encode,
    encode_pair,
)
from kyara_kedro.training.feeding import PackedSequences, PairRows
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.loading import load_network, load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import (
    DPOOptions,
    LauncherOptions,
    MachineOptions,
    PeftOptions,
    PreferenceLoss,
    SFTOptions,
    SPPOOptions,
)
from kyara_kedro.training.preflight import Flight, Preflight, PreflightError, preflight
from kyara_kedro.training.stages import _sequences
from kyara_kedro.training.tokens import (
    ConversationsWriter,
    PairsWriter,
    open_tokens,
    write_tokens,
)

ROOM = 96
SFT = SFTOptions(max_length=ROOM, epochs=2, warmup_steps=2, attention_dropout=0.0)
UNPACKED = SFT.model_copy(update={"packing": False})
DPO = DPOOptions(max_length=ROOM, epochs=2, warmup_steps=0, batch_size=4)


def talk(*turns: str, system: str | None = None) -> list[Message]:
    roles = [("user", "assistant")[number % 2] for number in range(len(turns))]
    said = [Message(role=role, content=turn) for role, turn in zip(roles, turns, strict=True)]
    return [Message(role="system", content=system), *said] if system else said


TALKS = [
    *(talk(f"玉山{n}的海拔是多少公尺？", f"{n * 111}公尺。") for n in range(1, 9)),
    talk("濁水溪全長？", "186公里。", "出海口？", "在彰化。", system="請直接回答。"),
    talk("Answer, please.", "玉山 🏔️\n\n濁水溪"),
]
PAIRS = [
    *(PreferencePair(prompt=said[:1], chosen=said[1]["content"], rejected="彰化", prefix=None)
      for said in TALKS[:6]),
    PreferencePair(prompt=TALKS[8][:4], chosen="在彰化。", rejected="玉山", prefix=None),
    PreferencePair(prompt=TALKS[0][:1], chosen="二", rejected="第三步", prefix="第一步：\n"),
]  # fmt: skip


@dataclass
class Stage:
    """A stage on its way to the preflight, which a fault can be seeded into at each station."""

    start: ModelRef
    folder: Path
    recipe: SFTOptions | DPOOptions | SPPOOptions = SFT
    settings: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    tokenizer: Any = None
    network: Any = None
    rows: list[Encoded] = field(default_factory=list)
    pairs: list[EncodedPair] = field(default_factory=list)
    probabilities: tuple[float | None, float | None] = (None, None)
    held_out: int = 0
    item: Callable[[dict[str, Any]], dict[str, Any]] = dict
    engine: Callable[[Any], None] = id

    def __post_init__(self) -> None:
        self.tokenizer = load_tokenizer(self.start)
        self.network = load(self.start)
        if isinstance(self.recipe, SFTOptions):
            set_attention_dropout(self.network, self.recipe.attention_dropout)
            self.rows = [encode(self.tokenizer, said) for said in TALKS]
        else:
            self.pairs = [encode_pair(self.tokenizer, pair) for pair in PAIRS]

    def store(self) -> Any:
        kind = ConversationsWriter if self.rows else PairsWriter
        with write_tokens(self.folder / "tokens", kind) as writer:
            rows = [*map(as_arrays, self.rows), *self.pairs]
            numbers = [writer.add(row) for row in rows]
            table = pl.DataFrame(
                {
                    "number": numbers,
                    "id": [f"row-{number}" for number in numbers],
                    "source": "test",
                    "held_out": [number < self.held_out for number in numbers],
                }
            )
            if self.pairs:
                columns = zip(("p_chosen", "p_rejected"), self.probabilities, strict=True)
                table = table.with_columns(pl.lit(p, pl.Float64).alias(n) for n, p in columns)
            ref = writer.finish(table)
        return open_tokens(ref)

    def job(self, store: Any) -> StageJob:
        return StageJob(
            stage="stage", start=self.start, data=store.ref, recipe=self.recipe,
            store=self.folder / "models", dropped={"over_max_length": 2}, **self.settings,
        )  # fmt: skip

    def trainer(self, store: Any) -> Any:
        """The trainer that the engine makes, with its rows and its settings changed."""
        job = self.job(store)
        job.workspace.mkdir(parents=True, exist_ok=True)
        learned = np.flatnonzero(~store.held_out)
        rows: Any
        if self.pairs:
            rows, make = PairRows(store, learned), trainers.aligner
        else:
            packed = _sequences(store, learned, self.recipe)
            rows, make = PackedSequences(store, packed), trainers.tuner
        arguments, changed = trainers._arguments, {"eval_strategy": "no"} | self.arguments
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                trainers,
                "_arguments",
                lambda *told: arguments(*told) | changed,
            )
            if self.item is not dict:
                rows = Changed(rows, self.item)
            trainer = make(job, self.recipe, self.network, self.tokenizer, rows, {})
        self.engine(trainer)
        return trainer

    def flown(self) -> Preflight:
        with quiet(threads=1):
            store = self.store()
            return preflight(self.job(store), store, self.trainer(store))


class Changed(list[Any]):
    """Rows as something on their way makes them."""

    def __init__(self, rows: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__(change(dict(rows[number])) for number in range(len(rows)))


def as_arrays(row: Encoded) -> Encoded:
    return Encoded(*(np.array(part, np.int32) for part in row))


def load(start: ModelRef) -> Any:
    return load_network(start, MachineOptions(device="cpu"), PeftOptions())


def set_attention_dropout(network: Any, share: float) -> None:
    for layer in network.model.layers:
        layer.self_attn.attention_dropout = share


@pytest.fixture
def sft(embedded: ModelRef, tmp_path: Path) -> Stage:
    return Stage(embedded, tmp_path)


@pytest.fixture
def dpo(embedded: ModelRef, tmp_path: Path) -> Stage:
    return Stage(embedded, tmp_path, recipe=DPO)


def with_template(tokenizer: Any, template: str) -> list[Encoded]:
    """The conversations as another template makes them, learned where it marks them."""
    rows = []
    for said in TALKS:
        made = tokenizer.apply_chat_template(
            said, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, masks = made["input_ids"], made["assistant_masks"]
        labels = [i if learned else IGNORED for i, learned in zip(ids, masks, strict=True)]
        rows.append(Encoded(ids, labels))
    return rows


CHATML = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}\n{% endfor %}"
)
WITHOUT_SYSTEM = chat.template().replace("content + '\\n\\n' -", "'' -")
WITHOUT_END = chat.template().replace("{{- content + '<end_of_turn>' -}}", "{{- content -}}")
END_UNLEARNED = chat.template().replace(
    "{{- content + '<end_of_turn>' -}}\n            {%- endgeneration -%}",
    "{{- content -}}\n            {%- endgeneration -%}{{- '<end_of_turn>' -}}",
)


def double_bos(stage: Stage) -> None:
    stage.rows = [Encoded([r.input_ids[0], *r.input_ids], [IGNORED, *r.labels]) for r in stage.rows]


def no_end_of_turn(stage: Stage) -> None:
    stage.rows = with_template(stage.tokenizer, WITHOUT_END)


def end_of_turn_not_learned(stage: Stage) -> None:
    stage.rows = with_template(stage.tokenizer, END_UNLEARNED)


def assistant_masked_out(stage: Stage) -> None:
    row = stage.rows[4]
    stage.rows[4] = Encoded(row.input_ids, [IGNORED] * len(row.labels))


def one_answer_masked_out(stage: Stage) -> None:
    ids, labels = stage.rows[8]
    half = len(ids) // 2
    stage.rows[8] = Encoded(ids, [*labels[:half], *[IGNORED] * (len(ids) - half)])


def user_learned(stage: Stage) -> None:
    stage.rows = [Encoded(ids, [IGNORED, *ids[1:]]) for ids, _ in stage.rows]


def labels_shifted(stage: Stage) -> None:
    """The mask moved by one, as when labels are shifted before the trainer shifts them."""
    for number, (ids, labels) in enumerate(stage.rows):
        learned = [*[label != IGNORED for label in labels[1:]], False]
        shifted = [i if there else IGNORED for i, there in zip(ids, learned, strict=True)]
        stage.rows[number] = Encoded(ids, shifted)


def another_template(stage: Stage) -> None:
    stage.recipe = UNPACKED
    stage.rows = with_template(stage.tokenizer, CHATML)


def template_of_the_model(stage: Stage) -> None:
    stage.tokenizer.chat_template = CHATML


def system_dropped(stage: Stage) -> None:
    stage.tokenizer.chat_template = WITHOUT_SYSTEM


def row_too_long(stage: Stage) -> None:
    stage.recipe = UNPACKED
    stage.rows.append(encode(stage.tokenizer, talk("長" * 120, "答")))


def row_cut(stage: Stage) -> None:
    ids, labels = encode(stage.tokenizer, talk("玉山", "長" * 120))
    stage.rows.append(Encoded(ids[:ROOM], labels[:ROOM]))


def token_without_embedding(stage: Stage) -> None:
    stage.tokenizer.add_tokens(["<another>"])


def foreign_tokenizer(stage: Stage) -> None:
    stage.tokenizer.add_special_tokens({"unk_token": END_OF_TURN})


def contaminated(stage: Stage) -> None:
    stage.settings["forbidden"] = ("row-3", "of-another-set")


def bf16_weights(stage: Stage) -> None:
    import torch

    stage.engine = lambda trainer: trainer.model.to(torch.bfloat16)


def frozen_weights(stage: Stage) -> None:
    stage.network.get_input_embeddings().weight.requires_grad_(False)


def nothing_to_train(stage: Stage) -> None:
    stage.network.requires_grad_(False)


def untied(stage: Stage) -> None:
    import torch

    head = stage.network.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())


def attention_dropout(stage: Stage) -> None:
    set_attention_dropout(stage.network, 0.1)


def never_stops(stage: Stage) -> None:
    stage.network.generation_config.eos_token_id = stage.tokenizer.eos_token_id


def padded_on_the_right(stage: Stage) -> None:
    stage.tokenizer.padding_side = "right"


def another_model(stage: Stage) -> None:
    trained_further(stage.network)


def trained_further(network: Any) -> None:
    import torch

    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.01)


def broken_weights(stage: Stage) -> None:
    """A model whose file holds a value that is no number."""
    from safetensors.torch import load_file, save_file

    stage.start = copied(stage)
    file = Path(stage.start.path, "model.safetensors")
    weights = load_file(file)
    weights["model.layers.1.mlp.up_proj.weight"][0] = math.nan
    save_file(weights, file, metadata={"format": "pt"})
    stage.network = load(stage.start)


def trained_to_nonsense(stage: Stage) -> None:
    """A model of whose vocabulary another tokenizer was made."""
    stage.start = copied(stage, stage="pretrained")
    stage.network.get_input_embeddings().weight.data.mul_(6.0)
    stage.network.save_pretrained(stage.start.path)


def copied(seeded: Stage, **changes: str) -> ModelRef:
    import shutil

    target = seeded.folder / "start"
    shutil.copytree(seeded.start.path, target)
    return replace(seeded.start, path=str(target), **changes)


def one_process(stage: Stage) -> None:
    stage.settings["launcher"] = LauncherOptions(kind="torchrun", processes=2)


def hijacking_column(stage: Stage) -> None:
    stage.item = lambda item: {**item, "messages": TALKS[0]}


def cut_on_the_way(stage: Stage) -> None:
    stage.recipe = UNPACKED
    stage.item = lambda item: {name: item[name][:20] for name in ("input_ids", "labels")}


def held_out_rows_learned(stage: Stage) -> None:
    stage.held_out = 9
    make = stage.trainer

    def trainer(store: Any) -> Any:
        store.held_out, held_out = np.zeros(len(store), bool), store.held_out
        made = make(store)
        store.held_out = held_out
        return made

    stage.trainer = trainer  # type: ignore[method-assign]


def wrapped_packing(stage: Stage) -> None:
    """Rows one after the other in a padded batch, as TRL's strategy 'wrapped' puts them."""

    def engine(trainer: Any) -> None:
        trainer.data_collator.padding_free = False

    stage.engine = engine


def mask_of_ones(stage: Stage) -> None:
    def engine(trainer: Any) -> None:
        collate = trainer.data_collator
        trainer.data_collator = lambda rows: masked(collate(rows))

    def masked(batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "attention_mask": batch["input_ids"].new_ones(batch["input_ids"].shape)}

    stage.engine = engine


def cache_left_on(stage: Stage) -> None:
    def engine(trainer: Any) -> None:
        trainer.compute_loss = lambda model, inputs: model(**inputs, use_cache=True).loss

    stage.engine = engine


def filled_up(stage: Stage) -> None:
    """Sequences of one length, as on an accelerator."""
    seeded = stage.engine

    def engine(trainer: Any) -> None:
        trainer.data_collator.pad_to_multiple_of = ROOM
        seeded(trainer)

    stage.engine = engine


def mask_of_ones_over_filled_up(stage: Stage) -> None:
    mask_of_ones(stage)
    filled_up(stage)


def labels_shifted_in_the_loss(stage: Stage) -> None:
    def engine(trainer: Any) -> None:
        compute = trainer.compute_loss
        trainer.compute_loss = lambda model, inputs: compute(
            model, {**inputs, "labels": inputs["labels"].roll(-1, dims=1)}
        )

    stage.engine = engine


SUPERVISED = [
    (double_bos, "one_bos"),
    (no_end_of_turn, "turns_end"),
    (end_of_turn_not_learned, "answers_learned"),
    (assistant_masked_out, "something_to_learn"),
    (one_answer_masked_out, "answers_learned"),
    (user_learned, "answers_learned"),
    (labels_shifted, "answers_learned"),
    (another_template, "template"),
    (template_of_the_model, "template"),
    (system_dropped, "system"),
    (row_too_long, "lengths"),
    (row_cut, "turns_end"),
    (token_without_embedding, "vocabulary"),
    (foreign_tokenizer, "vocabulary"),
    (contaminated, "forbidden"),
    (bf16_weights, "master_weights"),
    (frozen_weights, "trainable"),
    (nothing_to_train, "trainable"),
    (untied, "tied"),
    (attention_dropout, "dropout"),
    (never_stops, "stop_token"),
    (padded_on_the_right, "padding_side"),
    (another_model, "start"),
    (broken_weights, "first_loss"),
    (trained_to_nonsense, "first_loss"),
    (one_process, "processes"),
    (hijacking_column, "columns"),
    (cut_on_the_way, "rows_arrive"),
    (held_out_rows_learned, "rows_arrive"),
    (wrapped_packing, "boundaries"),
    (mask_of_ones, "packing"),
    (cache_left_on, "packing"),
    (mask_of_ones_over_filled_up, "packing"),
    (labels_shifted_in_the_loss, "row_alone"),
]


def swapped(stage: Stage) -> None:
    stage.probabilities = (0.3, 0.7)


def equal_answers(stage: Stage) -> None:
    stage.pairs[2] = EncodedPair(**{**stage.pairs[2], "rejected_ids": stage.pairs[2]["chosen_ids"]})


def rejected_not_ended(stage: Stage) -> None:
    for pair in stage.pairs:
        pair["rejected_ids"] = pair["rejected_ids"][:-1]


def reference_of_another_model(stage: Stage) -> None:
    """As when TRL reads it from the path in the configuration, where another model can lie."""

    def engine(trainer: Any) -> None:
        reference = load(stage.start)
        trained_further(reference)
        computed_with(trainer, reference)

    stage.engine = engine


def reference_with_dropout(stage: Stage) -> None:
    """As where TRL's switch is trusted, which does not reach the dropout of the attention."""

    def engine(trainer: Any) -> None:
        reference = load(stage.start).train()
        set_attention_dropout(reference, 0.1)
        computed_with(trainer, reference)

    stage.engine = engine


def computed_with(trainer: Any, reference: Any) -> None:
    """Compute the log-probabilities of the reference anew, with another model."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(reference)
    pairs = trainer._pairs
    pairs.reference = None
    batch = trainer.data_collator([pairs[number] for number in range(len(pairs))])
    found = trainer.compute_ref_log_probs(reference, batch)
    pairs.reference = np.stack([side.numpy() for side in found], axis=1)


def another_loss(stage: Stage) -> None:
    def engine(trainer: Any) -> None:
        trainer.loss_weights = [2.0, 1.0]

    stage.engine = engine


PREFERENCE = [
    (swapped, "preferred"),
    (equal_answers, "answers_differ"),
    (rejected_not_ended, "turns_end"),
    (attention_dropout, "dropout"),
    (reference_of_another_model, "reference"),
    (reference_with_dropout, "reference"),
    (another_loss, "preference_loss"),
]


def assert_stopped(stage: Stage, check: str) -> None:
    with pytest.raises(PreflightError) as stopped:
        stage.flown()
    assert check in {fault.check for fault in stopped.value.preflight.faults}
    json.dumps(stopped.value.preflight.to_dict(), allow_nan=False)
    message = str(stopped.value)
    assert message.startswith("stage: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("seed", "check"), SUPERVISED, ids=lambda part: getattr(part, "__name__", "")
)
def test_a_fault_of_a_supervised_stage_is_caught(
    sft: Stage, seed: Callable[[Stage], None], check: str
) -> None:
    seed(sft)
    assert_stopped(sft, check)


@pytest.mark.parametrize(
    ("seed", "check"), PREFERENCE, ids=lambda part: getattr(part, "__name__", "")
)
def test_a_fault_of_a_preference_stage_is_caught(
    dpo: Stage, seed: Callable[[Stage], None], check: str
) -> None:
    seed(dpo)
    assert_stopped(dpo, check)


HALF = {"arguments": {"bf16": True}}
LORA = {"settings": {"peft": PeftOptions(method="lora", r=4)}}


def sft_with(**changes: Any) -> dict[str, Any]:
    return {"recipe": SFT.model_copy(update=changes)}


@pytest.mark.parametrize(
    "healthy",
    [{}, sft_with(packing=False, batch_size=3), sft_with(attention_dropout=0.1), HALF, LORA],
    ids=["packed", "padded", "dropout", "half", "lora"],
)
def test_a_healthy_supervised_stage_passes_all_checks(
    embedded: ModelRef, tmp_path: Path, healthy: dict[str, Any]
) -> None:
    assert_healthy(Stage(embedded, tmp_path, **healthy).flown())


@pytest.mark.parametrize("precision", [{}, HALF], ids=["single", "half"])
def test_what_fills_a_sequence_up_is_no_row(
    embedded: ModelRef, tmp_path: Path, precision: dict[str, Any]
) -> None:
    stage = Stage(embedded, tmp_path, **precision)
    filled_up(stage)
    assert_healthy(stage.flown())
    with quiet(threads=1):
        store = stage.store()
        flight = Flight(stage.job(store), store, stage.trainer(store))
        assert flight.packed is not None
        assert flight.packed["input_ids"].shape == (1, ROOM)
        assert all(document.learned for document in flight.documents(flight.packed))


@pytest.mark.parametrize("healthy", [{}, HALF, LORA], ids=["plain", "half", "lora"])
def test_a_healthy_preference_stage_passes_all_checks(
    embedded: ModelRef, tmp_path: Path, healthy: dict[str, Any]
) -> None:
    assert_healthy(Stage(embedded, tmp_path, DPO, **healthy).flown())


def test_healthy_stages_with_other_losses_pass_all_checks(
    embedded: ModelRef, tmp_path: Path
) -> None:
    """The first loss is what the formulae give at the reference: of all of TRL's, and of SPPO's."""
    every = dict.fromkeys(get_args(PreferenceLoss), 1.0)
    recipe = DPO.model_copy(update={"losses": every, "label_smoothing": 0.1})
    assert_healthy(Stage(embedded, tmp_path / "dpo", recipe).flown())
    recipe = SPPOOptions(max_length=ROOM, warmup_steps=0, batch_size=4)
    report = Stage(embedded, tmp_path / "sppo", recipe, probabilities=(0.8, 0.3)).flown()
    assert_healthy(report)
    assert report.numbers.first_loss == pytest.approx((0.3**2 + 0.2**2) / 0.1**2 / 2)


def assert_healthy(report: Preflight) -> None:
    assert [found for found in report.findings if found.verdict != "ok"] == []


def trained(stage: Stage, look: bool) -> tuple[dict[str, Any], list[Any]]:
    """Weights after training, and the batches that went through the network."""
    seen = []
    with quiet(threads=1):
        store = stage.store()
        trainer = stage.trainer(store)
        if look:
            seen.append(Flight(stage.job(store), store, trainer).batch["input_ids"])
            preflight(stage.job(store), store, trainer)
        trainer.model.register_forward_pre_hook(
            lambda model, args, named: seen.append(named["input_ids"].clone()), with_kwargs=True
        )
        trainer.train()
        trainer.save_model(stage.folder / "model")
    return trainer.model.state_dict(), seen


def test_looking_changes_nothing_and_sees_what_comes_first(
    embedded: ModelRef, tmp_path: Path
) -> None:
    import torch

    (tmp_path / "looked").mkdir()
    recipe = sft_with(attention_dropout=0.1)
    looked, batches = trained(Stage(embedded, tmp_path / "looked", **recipe), look=True)
    unlooked, _ = trained(Stage(embedded, tmp_path, **recipe), look=False)
    assert all(torch.equal(looked[name], weight) for name, weight in unlooked.items())
    assert torch.equal(batches[0], batches[1])

    start = replace(embedded, path=str(tmp_path / "model"), stage="sft_base")
    folder = tmp_path / "next"
    assert_healthy(Stage(start, folder / "sft").flown())
    assert_healthy(Stage(start, folder / "dpo", DPO).flown())


def test_looking_compiles_nothing(sft: Stage) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("compiled")

    layer = sft.network.model.layers[0]
    layer.compile(backend=refuse)
    call = layer._compiled_call_impl
    assert_healthy(sft.flown())
    assert layer._compiled_call_impl is call


def test_what_is_compiled_for_looking_is_forgotten(sft: Stage) -> None:
    """As flex attention is, which would take the lengths of training for changing ones."""
    import torch

    compilations = []

    def backend(graph: Any, inputs: Any) -> Any:
        compilations.append(inputs)
        return graph.forward

    compiled = torch.compile(lambda value: value + 1, backend=backend)

    def attend(network: Any, inputs: Any) -> None:
        compiled(torch.ones(3))

    sft.engine = lambda trainer: trainer.model.register_forward_pre_hook(attend)
    assert_healthy(sft.flown())
    compiled(torch.ones(3))
    assert len(compilations) == 2


def test_a_system_message_that_training_drops_is_caught(
    sft: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "template", lambda: WITHOUT_SYSTEM)
    sft.rows = [encode(sft.tokenizer, said) for said in TALKS]
    with pytest.raises(PreflightError, match="drops the system message in training"):
        sft.flown()


def test_what_may_be_meant_only_warns(sft: Stage) -> None:
    sft.recipe = SFT.model_copy(update={"warmup_steps": 20, "accumulation": 9})
    report = sft.flown()
    assert [(found.check, found.fault) for found in report.warnings] == [
        ("warmup", "warmup_steps is 20, but there are 2 steps; lower it"),
        ("step", "a step takes 9 sequences, but there are 4; lower accumulation or batch_size"),
    ]


def test_more_memory_than_there_is_warns(sft: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flight, "memory_gb", 1e-4)
    (warning,) = sft.flown().warnings
    assert warning.check == "memory"


def test_the_report_can_be_stored_and_read(sft: Stage) -> None:
    sft.held_out = 1
    report = sft.flown()
    stored = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    numbers = stored["numbers"]
    assert (numbers["rows"], numbers["held_out"], numbers["sequences"]) == (9, 1, 4)
    assert numbers["dropped"] == {"over_max_length": 2}
    assert numbers["steps"] == 4
    assert numbers["expected_loss"] == pytest.approx(math.log(444))
    assert {check["verdict"] for check in stored["checks"]} == {"ok"}
    learned = " ".join(row["learned"] for row in stored["sample"])
    assert END_OF_TURN in learned
    assert "海拔" not in learned

    lines = report.table().splitlines()
    assert lines[0] == "stage: preflight"
    assert len({len(line) - len(line[2:].split("  ", 1)[-1].lstrip()) for line in lines[1:]}) == 1


def test_lines_align_on_the_screen() -> None:
    assert aligned([("列", "一"), ("rows", "2")]) == "  列    一\n  rows  2"
    assert display_width("玉山é") == 5
    line = "玉" * 40 + "end"
    assert display_width(shortened(line, 30)) <= 30
    assert shortened(line, 30).endswith("end")
    assert shortened("玉山", 30) == "玉山"
