"""The base of every settings model: unknown keys are refused, values are frozen."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Settings of one room or pipeline; a misspelt key is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)
