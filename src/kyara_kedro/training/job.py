"""What a stage is told, complete and as JSON, so that another process can do it."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from kyara_kedro.content import content_id
from kyara_kedro.options import Options
from kyara_kedro.training.chat import template
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import (
    CheckpointOptions,
    DPOOptions,
    LauncherOptions,
    MachineOptions,
    PeftOptions,
    SFTOptions,
    SPPOOptions,
)
from kyara_kedro.training.tokens import TokensRef

Recipe = Annotated[SFTOptions | DPOOptions | SPPOOptions, Field(discriminator="kind")]
_WITHOUT_EFFECT = {"logging_steps"}
"""Options that do not change the weights."""


class StageJob(Options):
    """One stage of training.

    Attributes:
        stage: Its name, on the model, in the curve and in errors.
        start: The model to start from; also the reference of a preference stage.
        data: The tokens to learn from.
        recipe: How to train; its kind says what: ``sft``, ``dpo`` or ``sppo``.
        directory: Where the new model goes; replaced as a whole, or not at all.
        workspace: Where checkpoints and what is known of the running stage are kept.
        peft: Which weights are trained.
        machine: What it runs on.
        launcher: Where the work is done.
        checkpoint: What is kept on the way.
    """

    stage: str
    start: ModelRef
    data: TokensRef
    recipe: Recipe
    directory: Path
    workspace: Path
    peft: PeftOptions = PeftOptions()
    machine: MachineOptions = MachineOptions()
    launcher: LauncherOptions = LauncherOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()

    @property
    def fingerprint(self) -> str:
        """Hash of all that determines the weights: data, settings, start and template."""
        settings: dict[str, Any] = {
            "recipe": self.recipe.model_dump(exclude=_WITHOUT_EFFECT),
            "peft": self.peft.model_dump(),
            "machine": self.machine.model_dump(),
            "world_size": self.launcher.world_size,
            "sharded": self.launcher.sharded,
        }
        return content_id(self.data.digest, settings, self.start.fingerprint, template())
