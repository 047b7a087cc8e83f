"""Checks before the first node: known parameters, and everything there that the run reads."""

from difflib import get_close_matches
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from kyara_kedro.datasets.teachers import TeacherDataset
from kyara_kedro.errors import UserError
from kyara_kedro.params import TrainParams
from kyara_kedro.pipeline_registry import PIPELINES, maker_of
from kyara_kedro.runners.log import due_part
from kyara_kedro.training.loading import on_accelerator

SOURCES = (
    "raw_documents",
    "raw_conversations",
    "raw_preferences",
    "raw_personas",
    "raw_prompts",
    "raw_benchmarks",
    "raw_protected",
    "raw_labelled",
    "raw_decisions",
)
SHARED = ("contamination", "shards")
"""Parameters that belong to no pipeline alone."""


class GatekeeperHooks:
    """Stops a run that could only fail later, with one line that says what to do."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Check the run's parameters and inputs.

        Raises:
            UserError: naming the unknown parameter, the missing device, the missing dataset and its
                maker, or what is wrong with a teacher.
        """
        parameters = catalog.load("parameters")
        check_parameters(parameters)
        pipeline = due_part(pipeline, catalog)
        check_machine(pipeline, parameters)
        check_inputs(pipeline, catalog)
        check_teachers(pipeline, catalog)


def check_parameters(parameters: dict[str, Any]) -> None:
    """Refuse a top-level parameter that nothing reads; the keys below are typed by pipeline."""
    known = (*PIPELINES, *SHARED, *SOURCES)
    for name in parameters:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
            raise UserError(f"unknown parameter '{name}': {hint}")


def check_machine(pipeline: Pipeline, parameters: dict[str, Any]) -> None:
    """Refuse to start when a model will be trained on a device that is not here."""
    if "params:train" in pipeline.inputs():
        machine = TrainParams.read(parameters.get("train", {}), "train").machine
        if machine.device == "cuda":
            on_accelerator(machine)


def check_inputs(pipeline: Pipeline, catalog: DataCatalog) -> None:
    """Refuse to start when a dataset that an earlier pipeline makes is not there yet."""
    for name in sorted(pipeline.inputs()):
        if name.startswith("params:") or catalog.exists(name):
            continue
        maker = maker_of(name)
        if maker:
            raise UserError(f"'{name}' is not there yet: run `{maker}` first")


def check_teachers(pipeline: Pipeline, catalog: DataCatalog) -> None:
    """Make the teachers that the run asks, so that a wrong setting shows before any work."""
    for name in sorted(pipeline.inputs()):
        if not name.startswith("params:") and isinstance(catalog.get(name), TeacherDataset):
            catalog.load(name)
