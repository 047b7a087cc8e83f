"""Prompts around a run: checked before it, mirrored to MLflow's registry after it."""

import logging
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from kyara_kedro.prompts.library import PromptLibrary, PromptTemplate
from kyara_kedro.runners.log import due_part
from kyara_kedro.tracking.store import answers, tracking_uri

logger = logging.getLogger("kyara_kedro")
LIBRARY = "prompt_library"
_NEWEST = "newest"
"""Tag of a registered prompt: the hash of the text that was registered last."""


class PromptHooks:
    """Stops a run whose prompts are at fault, and mirrors the prompts of a finished one.

    Only runs that read the prompt library are concerned. A registry that is down fails no run.
    """

    def __init__(self) -> None:
        self._config: dict[str, Any] = {}
        self._folder = Path()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read conf/<env>/mlflow.yml."""
        self._config = dict(context.config_loader["mlflow"])
        self._folder = Path(context.project_path) / self._config["folder"]

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Open the library, so that a faulty file stops the run before anything is paid for.

        Raises:
            DatasetError: naming the file and what is wrong with it.
        """
        if LIBRARY in due_part(pipeline, catalog).inputs():
            catalog.load(LIBRARY)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Register the templates whose text the registry does not hold as their newest."""
        if LIBRARY not in due_part(pipeline, catalog).inputs():
            return
        if not (self._config.get("enabled") and self._config.get("prompts")):
            return
        uri = tracking_uri(self._config["tracking_uri"], self._folder)
        if not answers(uri):
            logger.warning("MLflow's prompt registry does not answer; the next run mirrors prompts")
            return
        try:
            new = mirror(catalog.load(LIBRARY), uri)
        except Exception as error:
            logger.warning("MLflow's prompt registry is unavailable and skipped: %s", error)
        else:
            if new:
                logger.info("prompt registry: %d new versions", len(new))


def mirror(library: PromptLibrary, uri: str) -> list[str]:
    """Register templates in MLflow where their text is not the newest version there.

    MLflow makes a new version of a text that it has already, so the hash of the newest one is kept
    as a tag of the prompt; one search tells what is new.

    Args:
        library: The templates.
        uri: Address of the tracking server or store.

    Returns:
        Names of the prompts that got a new version.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.search_prompts("name LIKE 'kyara-%'")
    newest = {prompt.name: prompt.tags.get(_NEWEST) for prompt in found}
    registered = []
    for template in map(library.template, library.templates):
        name = registry_name(template)
        if newest.get(name) == template.sha:
            continue
        client.register_prompt(
            name,
            template.source,
            commit_message=library.meta(template.task).description["en"],
            tags={"sha": template.sha, "task": template.task, "language": template.language},
        )
        client.set_prompt_tag(name, _NEWEST, template.sha)
        registered.append(name)
    return registered


def registry_name(template: PromptTemplate) -> str:
    """Name of a template in MLflow: ``kyara-<task>-<language>``."""
    return f"kyara-{template.name.replace('/', '-')}"
