"""Real tokens a second of full fine-tuning of the Gemma 2 2B architecture, beside TRL's defaults.

Random weights and synthetic documents as long as Kyara's (1,350 tokens on average), of which what
an assistant would say is learned. Every variant is a process of its own with three steps to warm up
and eight that are timed. Before any timing, the gradients of every attention implementation on
packed documents are held against eager attention in fp32 on each document alone. The bars count on
an H200; without a GPU the script only shows that it works, on a tiny model.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

WARM, TIMED = 3, 8
PAD, UNUSED = 0, 8
LEARNED = 0.7
BASELINE = "TRL defaults"
GEMMA_2_2B = {
    "vocab_size": 256_000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096,
}  # fmt: skip
TINY = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "sliding_window": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """What is trained on how much.

    Attributes:
        shape: Of the model, as in its published configuration.
        mean: Tokens of a document, on average.
        longest: Tokens of the longest.
        room: Tokens of a packed sequence.
        accumulation: Packed sequences of an optimiser step.
        documents: How many there are.
    """

    shape: dict[str, int]
    mean: int
    longest: int
    room: int
    accumulation: int
    documents: int


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        name: As in the table.
        ours: The trainer of our stages; else TRL's with its defaults.
        compile_layers: Compile the decoder layers.
    """

    name: str
    ours: bool
    compile_layers: bool = False


VARIANTS = (
    Variant(BASELINE, ours=False),
    Variant("ours", ours=True),
    Variant("ours, layers compiled", ours=True, compile_layers=True),
)


def scale_for(memory_gb: float) -> Scale | None:
    """The largest packed sequences whose training fits, by ``kyara_kedro.training.estimate``."""
    needs = ((130, 16_384, 4), (90, 8_192, 8), (72, 4_096, 16))
    for needed, room, accumulation in needs:
        if memory_gb >= needed:
            return Scale(GEMMA_2_2B, 1350, 4096, room, accumulation, 2000)
    return None


SMOKE = Scale(TINY, mean=30, longest=128, room=256, accumulation=1, documents=160)


def documents(scale: Scale) -> list[np.ndarray]:
    """Documents of random tokens, their lengths log-normal."""
    draw = np.random.default_rng(0)
    lengths = draw.lognormal(math.log(scale.mean), 0.7, scale.documents)
    for _ in range(20):  # so that the mean is as told although the longest are cut
        lengths = np.clip(lengths * scale.mean / np.clip(lengths, 8, scale.longest).mean(), 8, None)
    lengths = np.clip(lengths, 8, scale.longest).astype(int)
    return [draw.integers(UNUSED, scale.shape["vocab_size"], length) for length in lengths]


def labels_of(document: np.ndarray) -> np.ndarray:
    """The tokens that are learned: the last of a document."""
    unlearned = int(len(document) * (1 - LEARNED))
    return np.concatenate([np.full(unlearned, -100), document[unlearned:]])


def prepare(scale: Scale, folder: Path) -> int:
    """Write a model with random weights, in bf16 as published ones are; returns how many."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, Gemma2Config, PreTrainedTokenizerFast

    config = Gemma2Config(**scale.shape, pad_token_id=PAD, eos_token_id=1, bos_token_id=2)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    words = models.WordLevel({"<pad>": PAD, "<eos>": 1, "<unk>": 3}, unk_token="<unk>")
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())


def ceiling() -> float:
    """The rate of bf16 matrix products that this device reaches, in FLOP/s."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, times = (8192, 50) if device == "cuda" else (512, 5)
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def seconds() -> float:
        synchronise()
        started = time.perf_counter()
        for _ in range(times):
            one @ other
        synchronise()
        return time.perf_counter() - started

    seconds()
    return 2 * size**3 * times / min(seconds() for _ in range(5))


def synchronise() -> None:
    """Wait for the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gradients(scale: Scale) -> dict[str, float]:
    """How far gradients on packed documents are from eager attention on each alone, in fp32.

    Two layers of the model's size, with a window that documents exceed. In bf16 eager attention
    shows what that precision costs.
    """
    import torch
    from transformers import AutoModelForCausalLM, Gemma2Config

    from kyara_kedro.training.loading import choose_attention
    from kyara_kedro.training.options import MachineOptions

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    shape = scale.shape | {"num_hidden_layers": 2, "vocab_size": 4096, "sliding_window": 48}
    torch.manual_seed(0)
    config = Gemma2Config(**shape, attn_implementation="eager", attn_logit_softcapping=5.0)
    model = AutoModelForCausalLM.from_config(config).to(device)
    parts = [torch.randint(UNUSED, 4096, (1, length), device=device) for length in (300, 5, 207)]
    whole = torch.cat(parts, 1)
    positions = torch.cat([torch.arange(part.shape[1], device=device) for part in parts])[None]
    starts = positions[0] == 0
    bounds = [*starts.nonzero()[:, 0].tolist(), whole.shape[1]]
    between = torch.tensor(bounds, dtype=torch.int32, device=device)
    flash = {
        **{f"cu_seq_lens_{one}": between for one in "qk"},
        **{f"max_length_{one}": 300 for one in "qk"},
    }
    # in fp32 the usual tiles of flex attention exceed the shared memory at this head size
    tiles = dict.fromkeys(
        ("BLOCK_M", "BLOCK_N", "BLOCK_M1", "BLOCK_N1", "BLOCK_M2", "BLOCK_N2"), 32
    )

    def gradient(batches: list[dict[str, Any]], half: bool) -> list[Any]:
        model.zero_grad()
        for batch in batches:
            with torch.autocast(device, torch.bfloat16, enabled=half):
                logits = model(**batch, use_cache=False).logits[0, :-1].float()
            target = batch["input_ids"][0, 1:].clone()
            if "position_ids" in batch:
                target[starts[1:]] = -100
            torch.nn.functional.cross_entropy(logits, target, reduction="sum").backward()
        return [weights.grad.double().clone() for weights in model.parameters()]

    def apart(found: list[Any]) -> float:
        return max(float((a - b).norm() / b.norm()) for a, b in zip(found, truth, strict=True))

    truth = gradient([{"input_ids": part} for part in parts], half=False)
    found: dict[str, float] = {}
    for name in ("eager", "flex_attention", "flash_attention_2"):
        try:
            choose_attention(config, MachineOptions(attention=name))
        except ValueError:
            continue  # not on this device, or not installed
        model.set_attn_implementation(name)
        batch = {"input_ids": whole, "position_ids": positions}
        batch |= flash if name == "flash_attention_2" else {}
        if name != "flash_attention_2":  # which has no fp32
            more = {"kernel_options": tiles} if name == "flex_attention" else {}
            found[f"{name} fp32"] = apart(gradient([batch | more], half=False))
        found[f"{name} bf16"] = apart(gradient([batch], half=True))
    return found


def train(scale: Scale, folder: Path, variant: Variant) -> dict[str, Any]:
    """Train and time; tokens are real ones, padding is not counted."""
    import torch
    from transformers import AutoConfig, TrainerCallback, TrainerControl

    from kyara_kedro.training.estimate import flops_per_token

    watched = Watched()

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
            synchronise()
            watched.ends.append(time.perf_counter())
            watched.until.append(len(watched.lengths))

    trainer = (
        ours(scale, folder, variant, watched) if variant.ours else defaults(scale, folder, watched)
    )
    trainer.add_callback(Clock())
    trainer.train()
    lengths = watched.lengths[watched.until[WARM - 1] : watched.until[WARM + TIMED - 1]]
    seconds = watched.ends[WARM + TIMED - 1] - watched.ends[WARM - 1]
    tokens = sum(lengths)
    config = AutoConfig.from_pretrained(folder)
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return {
        "tokens_per_second": tokens / seconds,
        "flops_per_second": tokens * flops_per_token(config, lengths, LEARNED) / seconds,
        "mean_tokens": tokens / len(lengths),
        "fill": tokens / sum(watched.places[WARM * len(watched.places) // (WARM + TIMED) :]),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "attention": trainer.model.config._attn_implementation,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0,
    }


class Watched:
    """What went through a model.

    Attributes:
        lengths: Tokens of each document.
        places: Tokens and padding of each batch.
        ends: When each optimiser step ended.
        until: Documents seen by then.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.places: list[int] = []
        self.ends: list[float] = []
        self.until: list[int] = []

    def see(self, batch: dict[str, Any]) -> None:
        """Count a batch."""
        self.places.append(batch["input_ids"].numel())
        if "position_ids" in batch:
            starts = ((batch["position_ids"] == 0) & (batch["input_ids"] != PAD)).nonzero()[:, 1]
            real = int((batch["input_ids"] != PAD).sum())
            self.lengths += np.diff([*starts.tolist(), real]).tolist()
        else:
            self.lengths += (batch["input_ids"] != PAD).sum(1).tolist()


def counted(kind: Any, watched: Watched) -> Any:
    """A trainer's class, its batches counted."""

    class Counted(kind):
        def _send_telemetry(self) -> None:
            """Tell nobody."""

        def training_step(self, model: Any, inputs: Any, *rest: Any) -> Any:
            watched.see(inputs)
            return super().training_step(model, inputs, *rest)

    return Counted


def defaults(scale: Scale, folder: Path, watched: Watched) -> Any:
    """TRL as it comes, but with documents of up to 4,096 tokens whole."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    cpu = {} if torch.cuda.is_available() else {"use_cpu": True, "bf16": False}
    return counted(SFTTrainer, watched)(
        str(folder),
        args=SFTConfig(
            str(folder / "out"),
            max_length=scale.longest,
            max_steps=WARM + TIMED,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **cpu,
        ),
        train_dataset=Dataset.from_list(
            [{"input_ids": one, "labels": labels_of(one)} for one in documents(scale)]
        ),
    )


class Documents:
    """What our trainer reads: the documents as a store of tokens gives them."""

    def __init__(self, scale: Scale) -> None:
        self._documents = documents(scale)
        self.lengths = np.array([len(one) for one in self._documents])

    def row(self, number: int) -> Any:
        """A document with its labels."""
        from kyara_kedro.training.chat import Encoded

        return Encoded(self._documents[number], labels_of(self._documents[number]))


def ours(scale: Scale, folder: Path, variant: Variant, watched: Watched) -> Any:
    """The trainer of a stage: documents packed by us, the attention that we choose."""
    from kyara_kedro.training import trainers
    from kyara_kedro.training.feeding import PackedSequences
    from kyara_kedro.training.job import StageJob
    from kyara_kedro.training.loading import load_network, load_tokenizer
    from kyara_kedro.training.model_ref import pretrained
    from kyara_kedro.training.options import MachineOptions, SFTOptions
    from kyara_kedro.training.packing import pack
    from kyara_kedro.training.tokens import TokensRef

    store = Documents(scale)
    recipe = SFTOptions(
        epochs=1,
        learning_rate=2e-5,  # TRL's
        warmup_steps=0,
        scheduler="linear",
        max_length=scale.room,
        accumulation=scale.accumulation,
        attention_dropout=0.0,
    )
    tokens = int(store.lengths.sum())
    job = StageJob(
        stage="throughput",
        start=pretrained(str(folder)),
        data=TokensRef(str(folder), "", "conversations", len(store.lengths), 0, tokens),
        recipe=recipe,
        store=folder,
        machine=MachineOptions(compile_layers=variant.compile_layers),
    )
    trainers.Tuner = counted(trainers.Tuner, watched)
    trainer = trainers.tuner(
        job,
        recipe,
        load_network(job.start, job.machine, job.peft),
        load_tokenizer(job.start),
        PackedSequences(store, pack(store.lengths, scale.room)),
        {},
    )
    trainer.args.max_steps = WARM + TIMED
    trainer.args.set_save(strategy="no")  # a checkpoint at the end takes a minute and 31 GB
    return trainer


def ground(scale: Scale, folder: Path) -> dict[str, Any]:
    """What comes before any timing."""
    return {"parameters": prepare(scale, folder), "rate": ceiling(), "apart": gradients(scale)}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {"ground": ground, "train": train}


def run_part(part: str, scale: Scale, folder: Path, variant: Variant | None = None) -> Any:
    """Do a part in a process of its own; its figures, or None and a line when it broke down."""
    told = {"scale": asdict(scale), "folder": str(folder)}
    if variant:
        told["variant"] = asdict(variant)
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "OMP_NUM_THREADS": "1",  # a tiny model needs no more, and a GPU none
    }
    command = (sys.executable, __file__, "--part", part, json.dumps(told))
    try:
        return harness.execute(command, environment, seconds=240)
    except harness.ProgramError as error:
        print(f"SKIPPED {variant.name if variant else part}: {error}", flush=True)
        return None


def do_part(part: str, told: dict[str, Any]) -> None:
    """What a process of its own does."""
    arguments: list[Any] = [Scale(**told["scale"]), Path(told["folder"])]
    if "variant" in told:
        arguments.append(Variant(**told["variant"]))
    print(json.dumps(PARTS[part](*arguments)))


def check_gradients(bench: harness.Benchmark, found: dict[str, float]) -> None:
    """Packed attention has to be exact in fp32, and in bf16 as near as eager attention is."""
    usual = found.pop("eager bf16")
    print(f"bf16 moves the gradients of eager attention by {usual:.3g}\n")
    allowed = {"fp32": 1e-3, "bf16": 2 * usual}
    rows = []
    for name, apart in found.items():
        limit = allowed[name.split()[-1]]
        rows.append((name, apart, limit))
        bench.at_most(f"gradients of {name}", apart, limit)
    harness.table(("packed attention", "gradients apart from eager fp32", "allowed"), rows)


def main() -> None:
    """Check gradients, find the ceiling, time the variants."""
    import torch

    bench = harness.Benchmark.start("train_throughput", __doc__ or "")
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else "CPU"
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9 if cuda else 0.0
    scale = (scale_for(memory) if cuda and not bench.quick else None) or SMOKE
    full = scale is not SMOKE
    print(f"{device}: {'Gemma 2 2B' if full else 'a tiny model, only to show that this works'}\n")

    with harness.scratch() as folder:
        found = run_part("ground", scale, folder)
        if found is None:
            sys.exit(1)
        check_gradients(bench, found["apart"])
        if not all(bar["holds"] for bar in bench.bars.values()):
            bench.finish()
        results = {one.name: run_part("train", scale, folder, one) for one in chosen(cuda)}
    report(bench, device, found["rate"], {k: v for k, v in results.items() if v}, full)
    bench.figure("parameters", found["parameters"])
    bench.finish()


def chosen(cuda: bool) -> tuple[Variant, ...]:
    """The variants; on a CPU compiling takes longer than it may."""
    return tuple(one for one in VARIANTS if cuda or not one.compile_layers)


def report(
    bench: harness.Benchmark,
    device: str,
    ceiling: float,
    results: dict[str, dict[str, Any]],
    full: bool,
) -> None:
    """The table, the figures, and on an H200 the bars."""
    from kyara_kedro.training.estimate import peak_flops

    peak = peak_flops(device)
    print(f"bf16 matrix products: {ceiling / 1e12:,.1f} TFLOP/s\n")
    header = (
        *("variant", "attention", "real tokens/s", "fill", "MFU", "of the matrix products"),
        *("peak GB", "loss from", "to"),
    )
    harness.table(
        header,
        [
            (
                *(name, one["attention"], one["tokens_per_second"], one["fill"]),
                one["flops_per_second"] / peak if peak else "unknown",
                one["flops_per_second"] / ceiling,
                *(one["memory_gb"], one["first_loss"], one["last_loss"]),
            )
            for name, one in results.items()
        ],
    )
    bench.figure("matmul_tflops", ceiling / 1e12)
    for name, one in results.items():
        bench.figure(f"tokens_per_second, {name}", one["tokens_per_second"])
        bench.at_most(f"loss rises, {name}", one["last_loss"] - one["first_loss"], 0.05)
    best = max(
        (one["tokens_per_second"] for name, one in results.items() if name != BASELINE),
        default=math.nan,
    )
    plain = results.get(BASELINE, {}).get("tokens_per_second", math.nan)
    bench.figure("ratio", best / plain)
    if full and "H200" in device:
        bench.at_least("real tokens a second", best, 27_000)
        bench.at_least("beside TRL's defaults", best / plain, 2)
    else:
        print("not measured here: 27,000 real tokens a second and twice TRL's, which count on H200")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        do_part(sys.argv[2], json.loads(sys.argv[3]))
    else:
        main()
