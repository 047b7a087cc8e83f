"""Prompt templates: one jinja file a task and language, versioned by the hash of its source.

A template holds its parts as the jinja blocks ``system`` (optional) and ``user``. Whatever comes in
from outside is escaped before it is rendered, so that a document can neither close the delimiters
that hold it nor forge a citation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, meta
from jinja2.sandbox import SandboxedEnvironment

from kyara_kedro.content import Message, content_id
from kyara_kedro.prompts.meta import PromptError, PromptMeta, read_meta

TEMPLATES = Path(__file__).parent
LANGUAGES = ("zh-TW", "zh-CN", "en")
REFUSAL = {
    "zh-TW": "參考文件缺乏與問題相關資訊",
    "zh-CN": "参考文档缺乏与问题相关的信息",
    "en": "The reference documents lack information relevant to the question.",
}
"""What an answer says, and says alone, when no reference document bears on the question."""

_META = "meta.yml"
_ROLES = ("system", "user")
_TAG = re.compile(r"</(\w+)>")
_INVISIBLE = r"[\s\u200b-\u200f\u2060\ufeff]*"
_BRACKETS = str.maketrans("【】", "〔〕")
_CONVERSATION = frozenset(
    {
        *("prompt", "answer_a", "answer_b", "history", "messages", "system", "constraints"),
        *("answer", "reference", "turns", "references"),
    }
)
"""Inputs that are conversations and may cite; everywhere else 【】 would be a forged citation.

System prompts belong to them, and the constraints that these state: one asks for a title in 【】.
"""


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
class PromptTemplate:
    """A template with what is known from its source.

    Attributes:
        name: ``<task>/<language>``, with ``.<number>`` where a task has several wordings.
        path: Its file.
        source: The file's text.
        sha: First 8 hex digits of the text's hash.
        variables: The inputs that it uses.
    """

    name: str
    path: Path
    source: str
    sha: str
    variables: frozenset[str]
    compiled: Template = field(repr=False)
    delimiter: re.Pattern[str] = field(repr=False)

    @property
    def task(self) -> str:
        """The task that it is for."""
        return self.name.partition("/")[0]

    @property
    def language(self) -> str:
        """One of :data:`LANGUAGES`."""
        return self.name.partition("/")[2].partition(".")[0]

    @property
    def version(self) -> str:
        """What records made with it carry, ``<name>@<sha>``."""
        return f"{self.name}@{self.sha}"

    @property
    def overridden(self) -> bool:
        """Whether a file of the project stands in place of the package's."""
        return not self.path.is_relative_to(TEMPLATES)


class PromptLibrary:
    """The prompt templates of the package, each replaceable by a file of the same relative path.

    A ``meta.yml`` can be replaced too, to change a task's parameters. Hidden files are passed over.

    Args:
        overrides: Folders of replacements; a later one wins.

    Raises:
        PromptError: a folder is not there, or holds a file that would never be used or that cannot
            be rendered from the task's inputs.
    """

    def __init__(self, overrides: Sequence[Path] = ()) -> None:
        self._files = dict(_packaged())
        self._template = lru_cache(maxsize=None)(
            lambda name: _read(name, self._files[f"{name}.jinja"])
        )
        self._meta = lru_cache(maxsize=None)(lambda task: read_meta(self._files[f"{task}/{_META}"]))
        for folder in overrides:
            if not folder.is_dir():
                raise PromptError(f"prompt overrides {folder}: no such folder; create or unset it")
            self._files |= _replacements(folder, self._files)

    def render(self, task: str, language: str, **inputs: Any) -> RenderedPrompt:
        """Render a task's prompt.

        Args:
            task: Name of the task, a folder of templates.
            language: One of :data:`LANGUAGES`, or another BCP 47 tag of Chinese or English.
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
        """Names of all templates, sorted."""
        names = (name.removesuffix(".jinja") for name in self._files if name.endswith(".jinja"))
        return tuple(sorted(names))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names of all tasks, sorted."""
        return tuple(sorted({name.partition("/")[0] for name in self.templates}))

    def rag_variants(self, language: str) -> tuple[str, ...]:
        """Names of the wordings of the retrieval-augmented format in a language, sorted."""
        prefix = f"rag/{template_language(language)}."
        return tuple(name for name in self.templates if name.startswith(prefix))

    def template(self, name: str) -> PromptTemplate:
        """A template by its name.

        Raises:
            PromptError: there is none.
        """
        if f"{name}.jinja" not in self._files:
            raise PromptError(f"prompt {name!r}: no such template; tasks: {', '.join(self.tasks)}")
        return self._template(name)

    @property
    def overrides(self) -> Mapping[str, Path]:
        """The files that stand in place of the package's, or beside them, by relative path."""
        own = (item for item in self._files.items() if not item[1].is_relative_to(TEMPLATES))
        return dict(own)

    def text(self, file: str) -> str | None:
        """The text of a template or ``meta.yml`` by its relative path; None if there is none."""
        path = self._files.get(file)
        return None if path is None else path.read_text("utf-8")

    def sha(self, name: str) -> str:
        """First 8 hex digits of the hash of a template's text; the text is not compiled."""
        return _sha(self._files[f"{name}.jinja"].read_text("utf-8"))

    def meta(self, task: str) -> PromptMeta:
        """What a task is, its inputs, its reply and the defaults of its parameters.

        Raises:
            PromptError: there is no such task.
        """
        if task not in self.tasks:
            raise PromptError(f"task {task!r}: no prompts; there are {', '.join(self.tasks)}")
        return self._meta(task)

    def form(self, task: str) -> str:
        """The task of the package that has a task's inputs and reply: mostly itself.

        Raises:
            PromptError: there is no such task.
        """
        return self.meta(task).like or task

    def meta_file(self, task: str) -> Path:
        """Where the ``meta.yml`` of a task is."""
        return self._files[f"{task}/{_META}"]

    def _render(self, name: str, inputs: Mapping[str, Any]) -> RenderedPrompt:
        template = self.template(name)
        values = {
            key: shield(value, template.delimiter, citations=key in _CONVERSATION)
            for key, value in inputs.items()
        }
        context = template.compiled.new_context({**values, "refusal": REFUSAL[template.language]})
        try:
            parts = {
                role: "".join(block(context)).strip()
                for role, block in template.compiled.blocks.items()
            }
        except UndefinedError as error:
            raise PromptError(
                f"prompt {name!r}: {error.message}; it needs {sorted(template.variables)}"
            ) from error
        messages = tuple(
            Message(role=role, content=parts[role]) for role in _ROLES if role in parts
        )
        return RenderedPrompt(messages, template.version)


@cache
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )


@cache
def _packaged() -> Mapping[str, Path]:
    """The package's templates and metas by relative path."""
    files = (*TEMPLATES.glob("*/*.jinja"), *TEMPLATES.glob(f"*/{_META}"))
    return {path.relative_to(TEMPLATES).as_posix(): path for path in sorted(files)}


def _read(name: str, path: Path) -> PromptTemplate:
    """Read and compile one template.

    Raises:
        PromptError: it is not UTF-8 or not Jinja, includes another file, or has no ``user`` block.
    """
    try:
        source = path.read_text("utf-8")
        tree = _environment().parse(source)
        compiled = _environment().from_string(source)
    except UnicodeDecodeError as error:
        raise PromptError(f"{path}: {error}") from error
    except TemplateSyntaxError as error:
        raise PromptError(f"{path}: line {error.lineno}: {error.message}") from error
    if any(meta.find_referenced_templates(tree)):
        raise PromptError(f"{path}: refers to another file; its version would not tell, copy it in")
    if "user" not in compiled.blocks or not set(_ROLES).issuperset(compiled.blocks):
        raise PromptError(
            f"{path}: has the blocks {sorted(compiled.blocks)}; 'user' and perhaps 'system' wanted"
        )
    tags = sorted({"document", "reference", *_TAG.findall(source)})
    return PromptTemplate(
        name=name,
        path=path,
        source=source,
        sha=_sha(source),
        variables=frozenset(meta.find_undeclared_variables(tree) - {"refusal"}),
        compiled=compiled,
        delimiter=delimiter(tags),
    )


def _sha(source: str) -> str:
    return content_id(source)[:8]


def delimiter(tags: Iterable[str]) -> re.Pattern[str]:
    """What :func:`shield` replaces where these tags delimit a prompt's inputs."""
    return re.compile(
        rf"<(?={_INVISIBLE}/?{_INVISIBLE}(?:(?:{'|'.join(tags)})\b|\Z))", re.IGNORECASE
    )


def _replacements(folder: Path, known: Mapping[str, Path]) -> dict[str, Path]:
    """The files of a folder of overrides by relative path.

    Args:
        folder: The folder.
        known: The files of the package and of the folders before.

    Raises:
        PromptError: a file would never be used, or cannot be rendered from the task's inputs.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_dir() or any(part.startswith(".") for part in relative.parts):
            continue
        task, _, name = relative.as_posix().partition("/")
        own = _packaged_meta(folder, task, path, known)
        if name == _META:
            _check_meta(path, own)
        else:
            _check_template(path, task, name, own)
        found[relative.as_posix()] = path
    return found


def _packaged_meta(folder: Path, task: str, path: Path, known: Mapping[str, Path]) -> PromptMeta:
    """What the package says of a task, or of the one that a task of the user's own is like."""
    if packaged := _packaged().get(f"{task}/{_META}"):
        return read_meta(packaged)
    tasks = ", ".join(sorted({file.partition("/")[0] for file in _packaged()}))
    added = folder / task / _META
    if not added.is_file():
        added = known.get(f"{task}/{_META}", added)
    if not added.is_file():
        raise PromptError(
            f"{path}: no such task; there are {tasks}; one of your own needs a {_META}"
        )
    like = read_meta(added).like
    if f"{like}/{_META}" not in _packaged():
        raise PromptError(f"{added}: 'like' must name one of {tasks}, not {like}")
    return read_meta(_packaged()[f"{like}/{_META}"])


def _check_meta(path: Path, own: PromptMeta) -> None:
    replaced = read_meta(path)
    if replaced.like and f"{path.parent.name}/{_META}" in _packaged():
        raise PromptError(f"{path}: 'like' is for tasks of your own")
    if replaced.inputs.keys() != own.inputs.keys() or replaced.reply != own.reply:
        raise PromptError(f"{path}: inputs must be {sorted(own.inputs)} and reply '{own.reply}'")


def _check_template(path: Path, task: str, name: str, own: PromptMeta) -> None:
    numbered = any(file.startswith(f"{task}/{LANGUAGES[0]}.1.") for file in _packaged())
    number = r"\.\d+" if numbered else ""
    if not re.fullmatch(rf"(?:{'|'.join(LANGUAGES)}){number}\.jinja", name, re.ASCII):
        wanted = [f"{language}{'.<number>' if numbered else ''}.jinja" for language in LANGUAGES]
        raise PromptError(f"{path}: would never be used; name it {', '.join(wanted)} or {_META}")
    if (
        unknown := _read(f"{task}/{name.removesuffix('.jinja')}", path).variables
        - own.inputs.keys()
    ):
        raise PromptError(
            f"{path}: unknown inputs {sorted(unknown)}; there are {sorted(own.inputs)}"
        )


def shield(value: Any, delimiter: re.Pattern[str], *, citations: bool = False) -> Any:
    """Replace what could close a prompt's delimiters by look-alikes, in all strings of a value.

    Args:
        value: A string, or mappings and sequences of strings.
        delimiter: Matches the ``<`` that opens or closes a delimiter, and one at a value's end,
            which the next value could complete; it becomes ``＜``.
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
    """The templates' language for a BCP 47 tag.

    Simplified Chinese (zh-Hans, zh-CN, zh-SG) is served by zh-CN, all other Chinese by zh-TW.

    Raises:
        PromptError: there are no templates in that language.
    """
    primary, *subtags = language.lower().split("-")
    if primary == "zh":
        simplified = "hans" in subtags or (
            "hant" not in subtags and not {"cn", "sg"}.isdisjoint(subtags)
        )
        return "zh-CN" if simplified else "zh-TW"
    if primary == "en":
        return "en"
    raise PromptError(f"language {language!r}: there are templates in {', '.join(LANGUAGES)} only")
