"""What a user tunes; the defaults train the embedded model in about half a minute of CPU time."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from kyara_kedro.options import Options

Device = Literal["auto", "cpu", "cuda"]
Attention = Literal["auto", "eager", "sdpa", "flex_attention", "flash_attention_2"]
Scheduler = Literal["constant_with_warmup", "cosine", "linear"]
PreferenceLoss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
]


class EmbeddedModelOptions(Options):
    """Shape of the tiny Gemma 2 that is made from the corpus when no real model is configured.

    Attributes:
        vocabulary: Largest number of tokens, with the 256 bytes and the control tokens.
        max_token_length: Longest token in characters. Chinese has no spaces to stop at, so
            without a limit whole questions become one token and nothing generalises.
        hidden: Width of the residual stream.
        layers: Number of decoder layers; every second one attends within ``window`` only.
        heads: Query heads a layer.
        kv_heads: Key and value heads a layer.
        intermediate: Width of the feed-forward layers.
        window: Tokens that a layer with sliding attention sees.
        seed: Seed of the initial weights.
    """

    vocabulary: Annotated[int, Field(ge=512)] = 2048
    max_token_length: Annotated[int, Field(ge=2)] = 3
    hidden: PositiveInt = 128
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    kv_heads: PositiveInt = 2
    intermediate: PositiveInt = 256
    window: PositiveInt = 128
    seed: int = 0

    @model_validator(mode="after")
    def _heads_divide(self) -> "EmbeddedModelOptions":
        if self.hidden % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError(
                f"hidden ({self.hidden}) must be a multiple of twice heads ({self.heads}), "
                f"and heads a multiple of kv_heads ({self.kv_heads})"
            )
        return self


class StageOptions(Options):
    """What every training stage is told.

    Attributes:
        epochs: Passes over the rows.
        learning_rate: Peak of the schedule.
        scheduler: Course of the learning rate after the warm-up.
        warmup_steps: Optimiser steps over which the learning rate rises from zero.
        weight_decay: AdamW's weight decay.
        max_grad_norm: Norm to which gradients are clipped.
        max_length: Longest row in tokens; longer ones are dropped, never cut.
        batch_size: Sequences that go through the model at once.
        accumulation: Batches whose gradients make one optimiser step, over all processes together.
        logging_steps: Optimiser steps between two points of the training curve.
        validation_steps: Optimiser steps between two validations on the held-out rows; None
            validates at the end of each epoch.
        seed: Seed of the order of rows.
    """

    epochs: PositiveInt = 1
    learning_rate: PositiveFloat
    scheduler: Scheduler = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: PositiveFloat = 1.0
    max_length: PositiveInt = 256
    batch_size: PositiveInt = 1
    accumulation: PositiveInt = 1
    logging_steps: PositiveInt = 1
    validation_steps: PositiveInt | None = None
    seed: int = 0


class SFTOptions(StageOptions):
    """Supervised fine-tuning.

    Attributes:
        kind: What tells these options from those of the other kinds of stage.
        packing: Fill sequences of ``max_length`` tokens with several rows, which do not see each
            other. Eager attention is quadratic in ``batch_size * max_length`` then, so keep
            ``batch_size`` at 1 and raise ``accumulation``.
        attention_dropout: Share of the attention weights left out at random, against learning
            rows by heart.
    """

    kind: Literal["sft"] = "sft"
    epochs: PositiveInt = 20
    learning_rate: PositiveFloat = 4e-3
    accumulation: PositiveInt = 2
    packing: bool = True
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _packed_singly(self) -> "SFTOptions":
        if self.packing and self.batch_size != 1:
            raise ValueError(
                f"batch_size must be 1 with packing, but is {self.batch_size}: "
                "raise max_length or accumulation instead"
            )
        return self


REFINE = SFTOptions(epochs=6, learning_rate=1e-3)


_SMOOTHED = {"robust", "exo_pair", "aot", "aot_unpaired"}
_ONLY_SMOOTHED = {"robust", "exo_pair"}
_SORTED = {"aot", "aot_unpaired"}
_DISCOPOP_TAU = 0.05


class DPOOptions(StageOptions):
    """Direct preference optimisation (arXiv:2305.18290) on answers and their rivals.

    Attributes:
        kind: What tells these options from those of the other kinds of stage.
        beta: Strength with which the model is held to the one it starts from.
        losses: Losses of the sum, by the names that TRL gives them, and their weights. The
            supervised term ``sft`` (RPO, arXiv:2404.19733) keeps the probability of chosen answers
            from falling with that of rejected ones.
        label_smoothing: Share of the preferences that are taken to be the wrong way round, in
            ``robust`` (arXiv:2403.00409; 0.1), ``exo_pair`` (arXiv:2402.00856; 0.001), ``aot`` and
            ``aot_unpaired`` (arXiv:2406.05882; 0).
        discopop_tau: Temperature in ``discopop`` (arXiv:2406.08414).
    """

    kind: Literal["dpo"] = "dpo"
    epochs: PositiveInt = 3
    learning_rate: PositiveFloat = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    batch_size: PositiveInt = 8
    beta: PositiveFloat = 0.1
    losses: dict[PreferenceLoss, PositiveFloat] = Field(default={"sigmoid": 1.0, "sft": 1.0})
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    discopop_tau: PositiveFloat = _DISCOPOP_TAU

    @model_validator(mode="after")
    def _losses_make_sense(self) -> "DPOOptions":
        names = set(self.losses)
        if fault := next((text for text, applies in self._faults(names) if applies), None):
            raise ValueError(fault)
        return self

    def _faults(self, names: set[PreferenceLoss]) -> Iterator[tuple[str, bool]]:
        listed = ", ".join(sorted(names))
        yield f"losses must name a preference loss, but are {listed or 'none'}", not names - {"sft"}
        yield (
            f"label_smoothing must be above 0 with losses {listed}: the papers take 0.1 for "
            "robust, 0.001 for exo_pair",
            not self.label_smoothing and bool(names & _ONLY_SMOOTHED),
        )
        yield (
            f"label_smoothing does nothing with losses {listed}; it belongs to "
            f"{', '.join(sorted(_SMOOTHED))}",
            self.label_smoothing > 0 and not names & _SMOOTHED,
        )
        yield (
            f"discopop_tau does nothing with losses {listed}; it belongs to discopop",
            self.discopop_tau != _DISCOPOP_TAU and "discopop" not in names,
        )
        yield (
            "batch_size must be above 1 with aot and aot_unpaired, which compare the "
            "distributions of a batch",
            self.batch_size == 1 and bool(names & _SORTED),
        )


class SPPOOptions(StageOptions):
    """Self-play preference optimisation with soft win probabilities (arXiv:2405.00675).

    Attributes:
        kind: What tells these options from those of the other kinds of stage.
        beta: An answer that wins with probability p is to become exp((p - 1/2) / beta) times as
            probable as it is at the start; the paper takes 0.001, its code also 0.01. The loss is
            large where beta is small (250,000 at 0.001 for certain wins); ``max_grad_norm`` bounds
            the steps.
    """

    kind: Literal["sppo"] = "sppo"
    epochs: PositiveInt = 3
    learning_rate: PositiveFloat = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    batch_size: PositiveInt = 8
    beta: PositiveFloat = 0.1


def _kind(options: Any) -> str:
    """The kind of a preference stage, ``dpo`` where none is named."""
    found = options.get("kind", "dpo") if isinstance(options, Mapping) else options.kind
    return str(found)


PreferenceRecipe = Annotated[
    Annotated[DPOOptions, Tag("dpo")] | Annotated[SPPOOptions, Tag("sppo")], Discriminator(_kind)
]


class Limits(Options):
    """Values above which a symptom is reported, and above which it stops the stage.

    Attributes:
        warn: Above it the symptom is written to the log and to the curve.
        stop: Above it the stage ends with an error; null never stops.
    """

    warn: PositiveFloat
    stop: PositiveFloat | None

    @model_validator(mode="after")
    def _in_order(self) -> "Limits":
        if self.stop is not None and self.stop < self.warn:
            raise ValueError(f"stop ({self.stop:g}) must not be below warn ({self.warn:g})")
        return self


class AlarmOptions(Options):
    """Symptoms of a model that is being ruined while its loss looks well.

    Some are read from what the trainer logs, some from answers to a few prompts of the data
    (probes), which the model writes before the first step, every ``probe_steps`` and at the end.

    Attributes:
        probes: Prompts that are answered, held-out ones where there are some; 0 for none.
        probe_steps: Optimiser steps between two rounds of answers.
        max_new_tokens: Longest of these answers in tokens.
        chosen_fall: In preference training: nats a token by which chosen answers have become less
            probable than they were at the start.
        kl: In preference training: nats a token by which answers that the model wrote before the
            first step have become less probable, an estimate of KL(start || model).
        length_drift: In preference training: how many times as long, or as short, answers are.
        unstopped: By how much the share of answers has risen that do not end within
            ``max_new_tokens``.
        repetition: By how much the share of repeated runs of four characters has risen.
        loss_spike: Loss in relation to its median over the points before.
        gradient_spike: Norm of the gradients in relation to its median over the points before.
    """

    probes: NonNegativeInt = 16
    probe_steps: PositiveInt = 50
    max_new_tokens: PositiveInt = 48
    chosen_fall: Limits = Limits(warn=0.1, stop=0.5)
    kl: Limits = Limits(warn=0.5, stop=3.0)
    length_drift: Limits = Limits(warn=1.5, stop=3.0)
    unstopped: Limits = Limits(warn=0.25, stop=0.5)
    repetition: Limits = Limits(warn=0.1, stop=0.3)
    loss_spike: Limits = Limits(warn=2.0, stop=4.0)
    gradient_spike: Limits = Limits(warn=10.0, stop=None)


class MachineOptions(Options):
    """What a stage runs on.

    Attributes:
        device: ``auto`` takes one accelerator where there is one; ``cpu`` or ``cuda``. Of several
            it is the first that the process sees, whatever a trainer is told:
            ``CUDA_VISIBLE_DEVICES`` chooses another one.
        attention: How attention is computed; ``auto`` is the fastest way that is exact for the
            model on the device.
        activation_checkpointing: Compute activations again in the backward pass instead of keeping
            them: a third more work for a fraction of the memory.
        compile_layers: Compile the decoder layers, for speed on an accelerator; the first steps
            take minutes longer.
        threads: CPU threads; more are slower for tiny models, and only one is reproducible on
            every machine.
    """

    device: Device = "auto"
    attention: Attention = "auto"
    activation_checkpointing: bool = False
    compile_layers: bool = False
    threads: PositiveInt = 1


class LauncherOptions(Options):
    """Where the work of a stage is done.

    Attributes:
        kind: ``inprocess`` trains in this process on one device, ``torchrun`` in processes of its
            own, one a device.
        processes: Processes of this machine under ``torchrun``.
        nodes: Machines; the usual environment variables (``MASTER_ADDR``, ``MASTER_PORT``,
            ``NODE_RANK``) say which one this is.
        sharded: Shard weights, gradients and optimiser state over the processes (FSDP2) instead of
            holding a copy in each.
    """

    kind: Literal["inprocess", "torchrun"] = "inprocess"
    processes: PositiveInt = 1
    nodes: PositiveInt = 1
    sharded: bool = False

    @property
    def world_size(self) -> int:
        """Processes on all machines."""
        return self.processes * self.nodes

    @model_validator(mode="after")
    def _one_process_alone(self) -> "LauncherOptions":
        if self.kind == "inprocess" and (self.world_size > 1 or self.sharded):
            raise ValueError("several processes and sharding need kind: torchrun")
        return self


class PeftOptions(Options):
    """Which weights are trained.

    Attributes:
        method: ``none`` trains all; ``lora`` (arXiv:2106.09685) trains low-rank updates, ``qlora``
            (arXiv:2305.14314) likewise on top of weights held in 4 bits. Updates are merged into
            the weights at the end of every stage.
        r: Rank of the updates.
        alpha: Scale of the updates, divided by ``r``.
        dropout: Share of an update's inputs left out at random.
        target_modules: The layers that get an update; ``all-linear`` is all but the output's.
    """

    method: Literal["none", "lora", "qlora"] = "none"
    r: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"


class CheckpointOptions(Options):
    """What is kept while a stage is under way, so that a killed one goes on where it was.

    Attributes:
        steps: Optimiser steps between two checkpoints.
        keep: Checkpoints kept, the newest ones.
    """

    steps: PositiveInt = 200
    keep: PositiveInt = 2


class GenerationOptions(Options):
    """How answers are written.

    Attributes:
        max_new_tokens: Longest answer in tokens.
        temperature: 0 takes the most probable token, 1 samples from the model's distribution.
        top_p: Samples only from the most probable tokens that together have this probability.
        seed: Seed of the samples; an answer depends on it and on its conversation alone.
        batch_size: Conversations answered at once.
        threads: CPU threads.
    """

    max_new_tokens: PositiveInt = 64
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    batch_size: PositiveInt = 64
    threads: PositiveInt = 1
