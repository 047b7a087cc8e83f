"""The project's commands: `kedro run` with errors in one line, and `kedro where`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation.exceptions import DataValidationError, ParameterValidationError


@click.group()
def cli() -> None:
    """Commands of kyara-kedro."""


def _in_one_line(error: Exception) -> str:
    cause: BaseException = error
    if isinstance(error, DataValidationError) and error.__cause__ is not None:
        return f"{error.dataset_name}: {error.__cause__}"
    while isinstance(cause, DatasetError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, DatasetError | ParameterValidationError):
        return " ".join(str(cause).split())
    return " ".join(f"{error}".split()) if isinstance(error, DatasetError) else str(cause)


def _told(command: click.Command) -> Callable[..., Any]:
    def told(**options: Any) -> Any:
        try:
            return command.callback(**options) if command.callback else None
        except (ValueError, OSError, DatasetError, ParameterValidationError) as error:
            raise click.ClickException(_in_one_line(error)) from error

    return told


cli.add_command(
    click.Command(
        "run",
        params=kedro_run.params,
        callback=_told(kedro_run),
        help=kedro_run.help,
    )
)


@cli.command()
def where() -> None:
    """Say where the results of the last run are, and how to open them."""
    root = Path.cwd()
    for title, path, how in (
        ("Report 報告", "data/08_reporting/evaluation_report.html", "open it in a browser"),
        ("Data set card 資料卡", "data/08_reporting/dataset/README.md", "open it in an editor"),
        ("Runs and models 模型庫", "data/mlflow/mlflow.db", "make mlflow"),
        ("Lineage 資料流向", "kedro-viz", "make viz"),
    ):
        place = root / path if "/" in path else path
        click.echo(f"{title:<24}{place}  ({how})")
