"""Prompt templates, one jinja file a task and language, and the library that renders them."""

from kyara_kedro.prompts.library import (
    LANGUAGES,
    REFUSAL,
    PromptError,
    PromptLibrary,
    RenderedPrompt,
    template_language,
)

__all__ = [
    "LANGUAGES",
    "REFUSAL",
    "PromptError",
    "PromptLibrary",
    "RenderedPrompt",
    "template_language",
]
