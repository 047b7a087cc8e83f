"""What a stage is told, complete and as JSON, so that another process can do it."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from kyara_kedro.content import content_id
from kyara_kedro.options import Options
from kyara_kedro.training.chat import template
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import (
    AlarmOptions,
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
_WITHOUT_EFFECT = {"logging_steps", "validation_steps"}
"""Options that do not change the weights."""


class StageJob(Options):
    """One stage of training.

    Attributes:
        stage: Its name, on the model, in the curve and in errors.
        start: The model to start from; also the reference of a preference stage.
        data: The tokens to learn from.
        recipe: How to train; its kind says what: ``sft``, ``dpo`` or ``sppo``.
        store: Folder that models lie in.
        peft: Which weights are trained.
        machine: What it runs on.
        launcher: Where the work is done.
        checkpoint: What is kept on the way.
        alarms: What is watched on the way, and when it stops the stage.
        dropped: Rows that were left out before, by reason.
        forbidden: Ids of rows that must not be learned, such as contaminated ones.
    """

    stage: str
    start: ModelRef
    data: TokensRef
    recipe: Recipe
    store: Path
    peft: PeftOptions = PeftOptions()
    machine: MachineOptions = MachineOptions()
    launcher: LauncherOptions = LauncherOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()
    alarms: AlarmOptions = AlarmOptions()
    dropped: dict[str, int] = Field(default={})
    forbidden: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _can_be_shared(self) -> "StageJob":
        if self.recipe.accumulation % self.launcher.world_size:
            raise ValueError(
                f"{self.stage}: accumulation ({self.recipe.accumulation}) must be a multiple of "
                f"the {self.launcher.world_size} processes that share it"
            )
        if self.launcher.sharded and self.peft.method != "none":
            raise ValueError(
                f"{self.stage}: sharded weights cannot carry updates; set launcher.sharded: false "
                "or peft.method: none"
            )
        return self

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

    @property
    def directory(self) -> Path:
        """Where the new model goes; replaced as a whole, or not at all."""
        return self.store / self.stage / self.fingerprint[:16]

    @property
    def workspace(self) -> Path:
        """Where checkpoints and the curve lie while the stage is under way."""
        return self.store / ".work" / f"{self.stage}-{self.fingerprint[:16]}"
