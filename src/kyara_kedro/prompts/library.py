"""Prompt templates: one jinja file a task and language, versioned by the hash of its source.

A template holds its parts as the jinja blocks ``system`` (optional) and ``user``. Whatever comes in
from outside is escaped before it is rendered, so that a document can neither close the delimiters
that hold it nor forge a citation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateNotFound, UndefinedError, meta
from jinja2.loaders import FileSystemLoader
from jinja2.sandbox import SandboxedEnvironment

from kyara_kedro.errors import UserError
from kyara_kedro.records import Message, content_id

TEMPLATES = Path(__file__).parent
LANGUAGES = ("zh-TW", "en")
REFUSAL = {
    "zh-TW": "參考文件缺乏與問題相關資訊",
    "en": "The reference documents lack information relevant to the question.",
}
"""What an answer says, and says alone, when no reference document bears on the question."""

_TAG = re.compile(r"</(\w+)>")
_INVISIBLE = r"[\s\u200b-\u200f\u2060\ufeff]*"
_BRACKETS = str.maketrans("【】", "〔〕")
_CONVERSATION = frozenset({"prompt", "answer_a", "answer_b", "history", "messages"})
"""Inputs that are conversations and may cite; everywhere else 【】 would be a forged citation."""


class PromptError(UserError):
    """A prompt cannot be rendered: unknown task or language, or a missing input."""


@dataclass(frozen=True)
class RenderedPrompt:
    """Messages ready to be sent, and the version of the template that made them.

    Attributes:
        messages: An optional system turn and one user turn.
        version: ``<task>/<language>@<8 hex digits of the source's hash>``.
    """

    messages: tuple[Message, ...]
    version: str


@dataclass(frozen=True)
class _Source:
    """A template with what is known from its source."""

    template: Template
    version: str
    variables: frozenset[str]
    delimiter: re.Pattern[str]


class PromptLibrary:
    """The prompt templates of the package, each replaceable by a file of the same relative path.

    Args:
        overrides: Folder searched before the package's own templates.

    Raises:
        PromptError: ``overrides`` is not a folder.
    """

    def __init__(self, overrides: Path | None = None) -> None:
        if overrides is not None and not overrides.is_dir():
            raise PromptError(f"prompt overrides {overrides}: no such folder; create or unset it")
        folders = [TEMPLATES] if overrides is None else [overrides, TEMPLATES]
        self._environment = SandboxedEnvironment(
            loader=FileSystemLoader(folders),
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._source = lru_cache(maxsize=None)(self._read)

    def render(self, task: str, language: str, **inputs: Any) -> RenderedPrompt:
        """Render a task's prompt.

        Args:
            task: Name of the task, a folder of templates.
            language: ``zh-TW``, ``en`` or a longer BCP 47 tag of one of the two languages.
            inputs: The template's variables.

        Raises:
            PromptError: unknown task or language, or an input that the template needs is missing.
        """
        return self._render(f"{task}/{template_language(language)}", inputs)

    def render_rag(
        self,
        documents: Sequence[Mapping[str, str]],
        question: str,
        language: str,
        variant: int = 0,
    ) -> RenderedPrompt:
        """Render the user turn of the retrieval-augmented training format.

        Args:
            documents: Mappings with ``passage_id``, ``title`` and ``text``.
            question: The user's question.
            language: As in :meth:`render`.
            variant: Any integer; taken modulo the number of wordings.
        """
        wordings = self.rag_variants(language)
        name = wordings[variant % len(wordings)]
        return self._render(name, {"documents": documents, "question": question})

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """Names of all templates, ``<task>/<language>``, sorted."""
        found = self._environment.list_templates(extensions=["jinja"])
        return tuple(sorted(name.removesuffix(".jinja") for name in found))

    def rag_variants(self, language: str) -> tuple[str, ...]:
        """Names of the wordings of the retrieval-augmented format in a language, sorted."""
        prefix = f"rag/{template_language(language)}."
        return tuple(name for name in self.templates if name.startswith(prefix))

    def variables(self, name: str) -> frozenset[str]:
        """Inputs that a template (``<task>/<language>``) uses."""
        return self._source(name).variables

    def version(self, name: str) -> str:
        """Version of a template (``<task>/<language>``)."""
        return self._source(name).version

    def _read(self, name: str) -> _Source:
        try:
            path = f"{name}.jinja"
            source, _, _ = self._environment.loader.get_source(  # type: ignore[union-attr]
                self._environment, path
            )
            template = self._environment.get_template(path)
        except TemplateNotFound as error:
            raise PromptError(
                f"prompt {name!r}: no such template; there are {', '.join(self.templates)}"
            ) from error
        tags = sorted({"document", "reference", *_TAG.findall(source)})
        return _Source(
            template=template,
            version=f"{name}@{content_id(source)[:8]}",
            variables=frozenset(
                meta.find_undeclared_variables(self._environment.parse(source)) - {"refusal"}
            ),
            delimiter=re.compile(
                rf"<(?={_INVISIBLE}/?{_INVISIBLE}(?:{'|'.join(tags)})\b)", re.IGNORECASE
            ),
        )

    def _render(self, name: str, inputs: Mapping[str, Any]) -> RenderedPrompt:
        source = self._source(name)
        language = name.partition("/")[2].partition(".")[0]
        values = {
            key: shield(value, source.delimiter, citations=key in _CONVERSATION)
            for key, value in inputs.items()
        }
        context = source.template.new_context({**values, "refusal": REFUSAL[language]})
        try:
            parts = {
                role: "".join(block(context)).strip()
                for role, block in source.template.blocks.items()
            }
        except UndefinedError as error:
            raise PromptError(
                f"prompt {name!r}: {error.message}; it needs {sorted(source.variables)}"
            ) from error
        messages = tuple(
            Message(role=role, content=parts[role]) for role in ("system", "user") if role in parts
        )
        return RenderedPrompt(messages, source.version)


def shield(value: Any, delimiter: re.Pattern[str], *, citations: bool = False) -> Any:
    """Replace what could close a prompt's delimiters by look-alikes, in all strings of a value.

    Args:
        value: A string, or mappings and sequences of strings.
        delimiter: Matches the ``<`` that opens or closes a delimiter; it becomes ``＜``.
        citations: Whether 【】 may stay; otherwise they become 〔〕.
    """
    if isinstance(value, str):
        plain = delimiter.sub("＜", value)
        return plain if citations else plain.translate(_BRACKETS)
    if isinstance(value, Mapping):
        return {key: shield(v, delimiter, citations=citations) for key, v in value.items()}
    if isinstance(value, Sequence):
        return [shield(item, delimiter, citations=citations) for item in value]
    return value


def template_language(language: str) -> str:
    """The templates' language for a BCP 47 tag: all of zh is served by zh-TW.

    Raises:
        PromptError: there are no templates in that language.
    """
    primary = language.partition("-")[0].lower()
    if primary == "zh":
        return "zh-TW"
    if primary == "en":
        return "en"
    raise PromptError(f"language {language!r}: there are templates in {', '.join(LANGUAGES)} only")
