"""The base of every settings model: unknown keys are refused, values are frozen."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kyara_kedro.errors import UserError


class Options(BaseModel):
    """Settings of one room or pipeline; a misspelt key is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, values: Mapping[str, Any], what: str) -> Self:
        """Make settings from a configuration file's values.

        Args:
            values: As they stand in the file.
            what: What they are settings of, for the message.

        Raises:
            UserError: a value is impossible or a key unknown; the message names the first.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            more = ""
            if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
                more = f"; there are {', '.join(sorted(cls.model_fields))}"
            elif isinstance(first["input"], int | float | None):
                more = f", not {first['input']}"
            # other values are not repeated: an address may hold a password
            raise UserError(f"{what}: '{where}': {first['msg']}{more}") from None
