"""Prompt templates, one jinja file a task and language, and the library that renders them."""

from kyara_kedro.prompts.library import (
    LANGUAGES,
    REFUSAL,
    PromptLibrary,
    PromptTemplate,
    RenderedPrompt,
    template_language,
)
from kyara_kedro.prompts.meta import PromptError, PromptMeta, PromptParameters

__all__ = [
    "LANGUAGES",
    "REFUSAL",
    "PromptError",
    "PromptLibrary",
    "PromptMeta",
    "PromptParameters",
    "PromptTemplate",
    "RenderedPrompt",
    "template_language",
]
