"""The environments for a GPU: their settings are read, and what is said of their cost is so."""

import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kedro.config import OmegaConfigLoader

from kyara_kedro.params import TrainParams
from kyara_kedro.training.estimate import estimate
from kyara_kedro.training.loading import choose_attention
from training.test_estimate import GEMMA_2_2B, counted, job

from support import ROOT

__all__ = ["counted"]
pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver")
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "8 GPUs": {"launcher": {"kind": "torchrun", "processes": 8, "sharded": True}},
    "qlora": {"peft": {"method": "qlora", "r": 64, "alpha": 16, "dropout": 0.1}},
}
STATED = re.compile(
    r"\| (?P<settings>[\w -]+): (?P<variant>[\w ]+) \| (?P<stage>\w+) \| (?P<rows>[\d,]+) "
    r"\| (?P<tokens>[\d,]+) \| (?P<device>[\w ]+) \| (?P<memory>\d+) GB \| (?P<hours>\d+) h \|"
)
FILES = (
    "conf/gemma2/parameters/train.yml",
    "conf/gemma2-lora/parameters/train.yml",
    "docs/train.md",
)


class Stated(NamedTuple):
    """A row of a table on what a stage needs."""

    settings: str
    variant: str
    stage: str
    rows: int
    tokens: int
    device: str
    memory: int
    hours: int


def stated() -> list[Stated]:
    found = []
    for file in FILES:
        for line in STATED.finditer(Path(ROOT, file).read_text("utf-8")):
            number = {
                name: int(line[name].replace(",", ""))
                for name in ("rows", "tokens", "memory", "hours")
            }
            found.append(Stated(**(line.groupdict() | number)))
    return found


@cache
def settings(env: str) -> dict[str, Any]:
    loader = OmegaConfigLoader(
        str(ROOT / "conf"), base_env="base", default_run_env=env,
        merge_strategy={"parameters": "soft"},
    )  # fmt: skip
    found: dict[str, Any] = loader["parameters"]["train"]
    return found


@pytest.mark.parametrize("env", ["gemma2", "gemma2-lora"])
def test_an_environment_is_read_by_the_pipeline(env: str) -> None:
    params = TrainParams.read(settings(env), "train")
    assert params.base_model == "google/gemma-2-2b-it"
    assert params.machine.device == "cuda"
    assert params.embedded == TrainParams.read(settings("base"), "train").embedded
    for recipe in (params.sft_base, params.sft_refine):
        chosen = choose_attention(GEMMA_2_2B, params.machine, recipe.attention_dropout, True)
        assert chosen == "flex_attention"


@pytest.mark.parametrize("one", stated(), ids=lambda one: " ".join(map(str, one[:4])))
def test_what_is_said_of_memory_and_time_is_what_is_calculated(one: Stated) -> None:
    params = TrainParams.read(settings(one.settings) | VARIANTS[one.variant], "train")
    stage = job(
        getattr(params, one.stage),
        peft=params.peft,
        machine=params.machine,
        launcher=params.launcher,
    )
    sequences = 2 if one.stage == "dpo" else 1
    mean = estimate(GEMMA_2_2B, stage, [one.tokens] * sequences, device=one.device)
    longest = estimate(GEMMA_2_2B, stage, [stage.recipe.max_length], device=one.device)
    assert mean.seconds is not None
    assert one.memory == round(longest.total_gb)
    assert one.hours == round(mean.seconds * one.rows / 3600)


def test_every_stage_of_every_environment_has_its_cost_stated() -> None:
    said = {(one.settings, one.variant, one.stage) for one in stated()}
    shipped = {(env, "as shipped") for env in ("gemma2", "gemma2-lora")}
    for settings_, variant in shipped | {("gemma2", "8 GPUs"), ("gemma2-lora", "qlora")}:
        for stage in ("sft_base", "sft_refine", "dpo"):
            assert (settings_, variant, stage) in said


def test_teachers_and_a_gpu_go_together_as_conf_says(tmp_path: Path) -> None:
    """`cp -r conf/vllm conf/mine; cp -r conf/gemma2/. conf/mine` loses no setting of either."""
    mine = tmp_path / "mine"
    for env in ("vllm", "gemma2"):
        shutil.copytree(ROOT / "conf" / env, mine, dirs_exist_ok=True)
    for file in (*ROOT.glob("conf/vllm/**/*.yml"), *ROOT.glob("conf/gemma2/**/*.yml")):
        name = Path(*file.relative_to(ROOT / "conf").parts[1:])
        kept = yaml.safe_load((mine / name).read_text("utf-8"))
        assert holds(kept, yaml.safe_load(file.read_text("utf-8"))), file


def holds(kept: Any, asked: Any) -> bool:
    """Whether settings have all that is asked for."""
    if isinstance(asked, dict):
        return all(name in kept and holds(kept[name], value) for name, value in asked.items())
    return bool(kept == asked)
