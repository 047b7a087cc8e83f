"""What a prompt's author has to know of a task, from the ``meta.yml`` beside its templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError

from kyara_kedro.errors import UserError
from kyara_kedro.options import Options

Line = Annotated[str, Field(pattern=r"^\S[^\n]*$")]


class PromptError(UserError):
    """A prompt cannot be used: unknown task or language, a missing input, or a file at fault."""


class PromptParameters(Options):
    """How a task is sampled unless its caller says otherwise; None leaves it to the server.

    Attributes:
        temperature: Sampling temperature.
        top_p: Nucleus mass.
        max_tokens: Longest completion in tokens.
        top_logprobs: How many of the most probable tokens are asked for at each place of the reply.
    """

    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: PositiveInt | None = None
    top_logprobs: int = Field(0, ge=0, le=20)


class PromptMeta(Options):
    """A task as its prompts see it.

    Attributes:
        description: What the task is, one line in each of the two languages.
        inputs: What each input is, one line each; templates use no others.
        reply: Name of the reply's shape in ``kyara_kedro.teachers.tasks``, or ``text``.
        like: For a task of your own: the task of the package that has the same inputs and the same
            reply. Whoever answers is told no difference, so rules answer it as that one.
        parameters: Defaults of the sampling.
    """

    description: Annotated[dict[Literal["zh-TW", "en"], Line], Field(min_length=2)]
    inputs: dict[str, Line]
    reply: str
    like: str | None = None
    parameters: PromptParameters = PromptParameters()


def read_meta(path: Path) -> PromptMeta:
    """Read a ``meta.yml``.

    Raises:
        PromptError: it is not YAML in UTF-8, or a key is unknown, missing or has a wrong value.
    """
    import yaml

    try:
        return PromptMeta.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PromptError(f"{path}: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise PromptError(f"{path}: {where}: {first['msg']}") from error
