"""Alarms: what sets them off, and that asking a network changes nothing of its training."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kyara_kedro.content import Message
from kyara_kedro.training.chat import PreferencePair
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.loading import load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import (
    AlarmOptions,
    CheckpointOptions,
    DPOOptions,
    EmbeddedModelOptions,
    GenerationOptions,
    SPPOOptions,
)
from kyara_kedro.training.tokens import open_tokens
from kyara_kedro.training.vitals import Measures, Preference, Vitals
from training.stores import conversations_store, pairs_store
from training.trainers import preference_stage

from .writing import generate

NAMES = "玉山 雪山 合歡山 奇萊山 南湖大山 秀姑巒山 能高山 關山 塔關山 向陽山 大霸尖山 北大武山"
PLACES = "南投縣 臺中市 花蓮縣 臺東縣 高雄市 屏東縣 嘉義縣 宜蘭縣 苗栗縣 新竹縣"
FACTS = [
    *((f"{n}位於哪一個縣市？", PLACES.split()[i * 7 % 10]) for i, n in enumerate(NAMES.split())),
    *(
        (f"{n}主峰的海拔是多少公尺？", f"{2000 + i * 137:,}公尺")
        for i, n in enumerate(NAMES.split())
    ),
]
PAIRS = [
    PreferencePair(
        prompt=[Message(role="user", content=question)], chosen=answer, rejected=other, prefix=None
    )
    for i, (question, answer) in enumerate(FACTS)
    for shift in (1, 5)
    if (other := FACTS[(i + shift) % len(FACTS)][1]) != answer
]
SYMPTOMS = (
    *("chosen_fall", "kl", "length_drift", "unstopped", "repetition"),
    *("loss_spike", "gradient_spike"),
)
ONLY_WARNS = AlarmOptions(
    probe_steps=8,
    **{name: getattr(AlarmOptions(), name).model_copy(update={"stop": None}) for name in SYMPTOMS},
)
PREFERENCE = Preference(beta=0.1, chosen_tokens=10.0)
CALM = Measures(answer_tokens=20.0, unstopped=0.0, repetition=0.05)


def reports(vitals: Vitals, logs: Sequence[Mapping[str, float]]) -> list[tuple[int, str, bool]]:
    return [
        (alarm.step, alarm.symptom, alarm.severe)
        for step, entry in enumerate(logs, start=1)
        for alarm in vitals.logged(step, entry)
    ]


def test_chosen_answers_that_stay_improbable_are_alarming_and_an_outlier_is_not() -> None:
    vitals = Vitals(AlarmOptions(), 1.0, PREFERENCE)
    fall = [0.0, 0.0, -9.0, 0.0, 0.0, 0.05, *([-0.2] * 6), *([-0.6] * 6)]
    found = reports(vitals, [{"rewards/chosen": value} for value in fall])
    steps = {severe: [step for step, _, how in found if how == severe] for severe in (False, True)}
    assert {symptom for _, symptom, _ in found} == {"chosen_fall"}
    assert min(steps[False]) == 11
    assert min(steps[True]) == 18


def test_supervised_training_may_change_how_long_and_how_probable_answers_are() -> None:
    changed = CALM._replace(answer_tokens=200.0, kl=9.0)
    assert Vitals(AlarmOptions(), 1.0, None).probed(9, changed, CALM, CALM) == []
    assert reports(Vitals(AlarmOptions(), 1.0, None), [{"rewards/chosen": -9.0}]) == []
    found = Vitals(AlarmOptions(), 1.0, PREFERENCE).probed(9, changed, CALM, CALM)
    assert {alarm.symptom for alarm in found} == {"kl", "length_drift"}
    assert all(alarm.severe for alarm in found)


@pytest.mark.parametrize(
    ("now", "symptoms"),
    [
        (CALM, set()),
        (CALM._replace(unstopped=0.3), {"unstopped"}),
        (CALM._replace(repetition=0.2), {"repetition"}),
        (CALM._replace(answer_tokens=5.0), {"length_drift"}),
    ],
)
def test_answers_are_compared_with_those_at_the_start(now: Measures, symptoms: set[str]) -> None:
    found = Vitals(AlarmOptions(), 1.0, PREFERENCE).probed(9, now, CALM, CALM)
    assert {alarm.symptom for alarm in found} == symptoms


def test_what_the_data_does_too_is_no_symptom() -> None:
    long_winded = CALM._replace(unstopped=0.9, repetition=0.4)
    assert Vitals(AlarmOptions(), 1.0, None).probed(9, long_winded, CALM, long_winded) == []


def test_a_loss_that_jumps_and_stays_is_alarming_and_a_noisy_small_one_is_not() -> None:
    calm = [{"loss": 1.5 + 0.2 * (i % 2), "grad_norm": 0.5} for i in range(40)]
    assert reports(Vitals(AlarmOptions(), 1.0, None), [*calm, {"loss": 9.0}, *calm]) == []
    wild = [{"loss": 8.0, "grad_norm": 40.0}] * 12
    found = reports(Vitals(AlarmOptions(), 1.0, None), [*calm, *wild])
    assert ("loss_spike", True) in {(symptom, severe) for _, symptom, severe in found}
    assert ("gradient_spike", False) in {(symptom, severe) for _, symptom, severe in found}
    known_by_heart = [{"loss": 0.01}] * 30 + [{"loss": 0.2}] * 30
    assert reports(Vitals(AlarmOptions(), 1.0, None), known_by_heart) == []


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_stop_at_once(name: str, value: float) -> None:
    (alarm,) = Vitals(AlarmOptions(), 1.0, None).logged(3, {"loss": 1.0, name: value})
    assert alarm.severe
    assert str(alarm).startswith(f"{name} is {value} at step 3: ")
    assert "lower learning_rate" in str(alarm)


class Watched(NamedTuple):
    """A training with a monitor, and what that wrote down."""

    trainer: Any
    points: list[tuple[int, dict[str, float]]]

    def train(self, **arguments: Any) -> None:
        with quiet(threads=1):
            self.trainer.train(**arguments)

    def series(self, metric: str) -> list[float]:
        return [metrics[metric] for _, metrics in self.points if metric in metrics]

    def alarms(self) -> set[str]:
        return {name for _, metrics in self.points for name in metrics if name[:6] == "alarm/"}


Watch = Callable[..., Watched]


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    shape = EmbeddedModelOptions(hidden=32, heads=2, kv_heads=1, intermediate=64, seed=3)
    folder = tmp_path_factory.mktemp("models") / "blank"
    return build_embedded_base([question + answer for question, answer in FACTS] * 2, shape, folder)


@pytest.fixture(scope="module")
def taught(blank: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """An under-trained model: it has learned its answers, but for two thirds of the questions."""
    folder = tmp_path_factory.mktemp("taught")
    recipe = DPOOptions(epochs=8, learning_rate=4e-3, losses={"sigmoid": 1e-6, "sft": 1.0})
    trainer = preference_stage(blank, PAIRS, recipe, folder / "work")
    with quiet(threads=1):
        trainer.train()
    return kept(trainer, folder / "model")


def kept(trainer: Any, folder: Path) -> ModelRef:
    with quiet(threads=1):
        trainer.model.save_pretrained(folder)
        trainer.processing_class.save_pretrained(folder)
    return ModelRef(str(folder), folder.name, "pretrained", "embedded")


@pytest.fixture
def watch(taught: ModelRef, tmp_path: Path) -> Watch:
    """Make a watched training of the taught model."""

    def watched(
        recipe: DPOOptions,
        alarms: AlarmOptions,
        workspace: Path = tmp_path / "work",
        **arguments: Any,
    ) -> Watched:
        from kyara_kedro.training.health import HealthMonitor

        trainer = preference_stage(taught, PAIRS, recipe, workspace, **arguments)
        points: list[tuple[int, dict[str, float]]] = []
        store = open_tokens(pairs_store(taught, PAIRS, tmp_path / "tokens", held_out=range(5)))
        trainer.add_callback(
            HealthMonitor(
                *("dpo", recipe, alarms, store, trainer.processing_class),
                lambda step, metrics: points.append((step, dict(metrics))),
            )
        )
        return Watched(trainer, points)

    return watched


def exact_match(model: ModelRef) -> float:
    asked = [[Message(role="user", content=question)] for question, _ in FACTS]
    answers = generate(model, asked, GenerationOptions(max_new_tokens=24))
    return sum(a.text == fact[1] for a, fact in zip(answers, FACTS, strict=True)) / len(FACTS)


WILD = DPOOptions(learning_rate=1e-2, losses={"sigmoid": 1.0}, epochs=6)


def test_the_disaster_of_growing_margins_is_seen_and_stopped(
    watch: Watch, taught: ModelRef, tmp_path: Path
) -> None:
    """The margin grows, as the loss wants, while the model forgets its answers and how to write."""
    from kyara_kedro.training.health import HealthError

    before = exact_match(taught)
    ruined = watch(WILD, ONLY_WARNS)
    ruined.train()
    margins = [entry.get("rewards/margins") for entry in ruined.trainer.state.log_history]
    assert margins[-2] > 1
    assert exact_match(kept(ruined.trainer, tmp_path / "ruined")) < before - 0.15
    assert {"alarm/chosen_fall", "alarm/kl", "alarm/length_drift"} <= ruined.alarms()

    stopped = watch(WILD, AlarmOptions(), tmp_path / "again")
    with pytest.raises(
        HealthError,
        match=r"^dpo: chosen_fall is \d.* at step \d+ \(limit 0\.5\): .* lower "
        r"learning_rate, raise beta .* \(learning_rate is 0\.01\); last checkpoint: none yet$",
    ):
        stopped.train()
    assert stopped.trainer.state.global_step < 12


def test_the_default_recipe_sets_nothing_off(
    watch: Watch, taught: ModelRef, tmp_path: Path
) -> None:
    healthy = watch(DPOOptions(), AlarmOptions(probe_steps=8))
    healthy.train()
    assert healthy.alarms() == set()
    assert exact_match(kept(healthy.trainer, tmp_path / "healthy")) >= exact_match(taught)
    assert max(healthy.series("health/chosen_fall")) < 0.05
    assert len(healthy.series("health/kl")) == 3


def test_asking_changes_no_bit_and_goes_on_after_a_kill(watch: Watch, tmp_path: Path) -> None:
    """Dropout is on, so a number drawn or a mode left behind would show in the weights."""
    import torch

    recipe = DPOOptions(learning_rate=1e-3)
    asking, silent = AlarmOptions(probe_steps=2, probes=8), AlarmOptions(probes=0)

    def trained(alarms: AlarmOptions, folder: str, steps: int, **arguments: Any) -> Watched:
        made = watch(recipe, alarms, tmp_path / folder, max_steps=steps, **arguments)
        for module in made.trainer.model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.1
        return made

    def weights(made: Watched) -> list[torch.Tensor]:
        return [weight.detach() for weight in made.trainer.model.parameters()]

    asked = trained(asking, "asked", 6)
    generation = asked.trainer.model.generation_config
    asked.train()
    alone = trained(silent, "alone", 6)
    alone.train()
    assert alone.series("health/kl") == []
    assert len(asked.series("health/kl")) == 3
    assert all(map(torch.equal, weights(asked), weights(alone)))
    assert asked.trainer.model.generation_config is generation
    assert asked.trainer.model.config._attn_implementation == "eager"

    saving = {"save_strategy": "steps", "save_steps": 4}
    killed = trained(asking, "killed", 4, **saving)
    killed.train()
    resumed = trained(asking, "killed", 6, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "killed" / "checkpoint-4"))
    assert all(map(torch.equal, weights(resumed), weights(asked)))
    assert killed.points + resumed.points == asked.points


def test_adapters_are_asked_in_place(taught: ModelRef, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from kyara_kedro.training.probes import Prober, choose

    store = open_tokens(pairs_store(taught, PAIRS, tmp_path / "tokens"))
    with quiet(threads=1):
        network = AutoModelForCausalLM.from_pretrained(taught.path)
        ends = network.generation_config.eos_token_id
        config = LoraConfig(target_modules="all-linear", init_lora_weights=False)
        adapted = get_peft_model(network, config).train()
        prober = Prober(load_tokenizer(taught), max_new_tokens=8, bf16=False)
        with adapted.disable_adapter():
            probes = prober.begin(adapted, choose(store, 4))
            assert prober.measure(adapted, probes).kl == 0.0
        assert prober.measure(adapted, probes).kl > 0.0
    assert all(module.training for module in adapted.modules())
    assert network.generation_config.eos_token_id == ends
    assert len(ends) == 2


def test_held_out_questions_are_asked_first(taught: ModelRef, tmp_path: Path) -> None:
    from kyara_kedro.training.probes import choose

    def talk(number: int) -> list[Message]:
        said = ["先問一題", "先答", f"第{number}題", f"答{number}"]
        return [
            Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(said)
        ]

    rows = [talk(number) for number in range(20)]
    store = open_tokens(conversations_store(taught, rows, tmp_path / "c", held_out=[3, 7]))
    tokenizer = load_tokenizer(taught)
    questions = choose(store, 4)
    assert [tokenizer.decode(question.answer) for question in questions] == [
        f"答{number}<end_of_turn>" for number in (3, 7, 0, 19)
    ]
    assert tokenizer.decode(questions[0].prompt) == (
        "<bos><start_of_turn>user\n先問一題<end_of_turn>\n<start_of_turn>model\n先答<end_of_turn>\n"
        "<start_of_turn>user\n第3題<end_of_turn>\n<start_of_turn>model\n"
    )
    assert choose(store, 0) == []
    assert len(choose(store, 99)) == 20


def test_answers_are_described_as_far_as_they_may_go(taught: ModelRef) -> None:
    from kyara_kedro.training.probes import Prober

    tokenizer = load_tokenizer(taught)

    def tokens(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    prober = Prober(tokenizer, max_new_tokens=40, bf16=False)
    loop, good = tokens("營運" * 60), tokens("玉山位於南投縣<end_of_turn>")
    assert prober.describe([good]) == Measures(len(good) - 1, 0.0, 0.0)
    found = prober.describe([loop, good])
    assert found.unstopped == 0.5
    assert found.answer_tokens == (40 + len(good) - 1) / 2
    assert found.repetition > 0.3


def test_a_stage_with_win_probabilities_is_watched_from_job_to_curve(
    taught: ModelRef, tmp_path: Path
) -> None:
    from kyara_kedro.training.errors import TrainingError
    from kyara_kedro.training.job import StageJob
    from kyara_kedro.training.launchers import run_stage

    chances = [(0.6 + 0.01 * (n % 30), 0.3) for n in range(len(PAIRS))]
    data = pairs_store(taught, PAIRS, tmp_path / "tokens", chances=chances)
    recipe = SPPOOptions(epochs=1, beta=0.5, accumulation=2)
    alarms = AlarmOptions(probes=4, probe_steps=2)
    job = StageJob(
        stage="sppo", start=taught, data=data, recipe=recipe, store=tmp_path, alarms=alarms
    )
    curve = run_stage(job).curve
    steps = {
        metric: [point["step"] for point in curve if point["metric"] == metric]
        for metric in ("loss", "health/chosen_fall", "health/kl", "health/repetition")
    }
    assert steps["loss"] == steps["health/chosen_fall"] == [1, 2, 3]
    assert steps["health/kl"] == steps["health/repetition"] == [2, 3]
    first = next(point["value"] for point in curve if point["metric"] == "loss")
    asked = [((p - 0.5) / 0.5) ** 2 + ((q - 0.5) / 0.5) ** 2 for p, q in chances]
    assert min(asked) / 2 < first < max(asked) / 2

    wild = job.model_copy(
        update={
            "recipe": recipe.model_copy(update={"learning_rate": 3e-2, "epochs": 9}),
            "checkpoint": CheckpointOptions(steps=1),
        }
    )
    with pytest.raises(TrainingError, match=r"^sppo: \w+ is .*; last checkpoint: step \d+$"):
        run_stage(wild)
    assert not wild.directory.exists()
