"""Which settings and prompts a node really reads: told by watching it.

A node takes the parameters of its whole pipeline, and the library of all prompts. What it does
follows from those that it looks at; a change of another one is no reason to run it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, SecretStr

from kyara_kedro.content import content_id
from kyara_kedro.lineage.reproduce import HIDDEN
from kyara_kedro.options import Options
from kyara_kedro.prompts.library import PromptLibrary, PromptTemplate
from kyara_kedro.prompts.meta import PromptMeta

_ALL = "*"
"""Stands for the names of all prompts."""


@dataclass
class Reads:
    """What one node has read so far.

    Attributes:
        parameters: Values by their paths, such as ``train.dpo.beta``; settings that were read as a
            whole stand as a mapping.
        prompts: Hashes of templates and of ``meta.yml`` files by name.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)

    def watch(self, name: str, value: Any) -> Any:
        """Give a node's input so that what is read of it is noted; other inputs as they are."""
        if isinstance(value, PromptLibrary):
            return _WatchedLibrary(value, self)
        if not name.startswith("params:"):
            return value
        name = name.removeprefix("params:")
        if isinstance(value, Options):
            return _watched(value, name, self)
        self.parameters[name] = plain(value)
        return value


def plain(value: Any) -> Any:
    """A setting's value as JSON has it; of a secret only a hash."""
    if isinstance(value, SecretStr):
        return f"{HIDDEN}{content_id(value.get_secret_value())}"
    if isinstance(value, Options):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): plain(held) for key, held in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value))
    if isinstance(value, list | tuple):
        return list(map(plain, value))
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def setting(roots: Mapping[str, Any], path: str) -> Any:
    """The value at a path, as :func:`plain` tells it; None where there is nothing.

    Args:
        roots: Settings by their names, such as ``train``.
        path: As ``train.dpo.beta``.
    """
    name, *rest = path.split(".")
    value = roots.get(name)
    for key in rest:
        value = getattr(value, key, None)
    return plain(value)


def prompt(library: PromptLibrary, name: str) -> str | None:
    """The hash of what stands under a name that :attr:`Reads.prompts` holds; None if nothing."""
    if name == _ALL:
        return content_id(library.templates)
    if name.endswith(".yml"):
        task = name.partition("/")[0]
        return _meta_hash(library.meta_file(task)) if task in library.tasks else None
    return library.sha(name) if name in library.templates else None


class _Watched:
    """What is put before a settings class: fields are noted as they are read.

    Whoever goes for ``__dict__``, as pydantic itself does to copy, compare, hash or write settings,
    has read all of them.
    """

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        look = object.__getattribute__
        settings, path, reads = look(self, "_kyara_watch")
        if name == "__class__":
            return type(settings)
        if name == "__dict__":
            reads.parameters[path] = plain(settings)
        elif name in type(settings).model_fields:
            value = getattr(settings, name)
            if isinstance(value, Options):
                return _watched(value, f"{path}.{name}", reads)
            reads.parameters[f"{path}.{name}"] = plain(value)
            return value
        return look(self, name)

    def __copy__(self) -> Any:
        return self._whole().__copy__()

    def __deepcopy__(self, memo: Any = None) -> Any:
        return self._whole().__deepcopy__(memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._whole().__reduce_ex__(protocol)

    def __iter__(self) -> Any:
        return iter(self._whole())

    def __repr__(self) -> str:
        return repr(self._whole())

    def _whole(self) -> Any:
        settings, path, reads = object.__getattribute__(self, "_kyara_watch")
        reads.parameters[path] = plain(settings)
        return settings


def _watched(settings: Options, path: str, reads: Reads) -> Options:
    cls = _watched_class(type(settings))
    copy = object.__new__(cls)
    for slot in ("__dict__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(copy, slot, getattr(settings, slot))
    object.__setattr__(copy, "__pydantic_fields_set__", settings.model_fields_set)
    object.__setattr__(copy, "_kyara_watch", (settings, path, reads))
    return copy


@cache
def _watched_class(cls: type[Options]) -> type[Options]:
    metaclass: Any = type(cls)
    made: type[Options] = metaclass(
        cls.__name__,
        (_Watched, cls),
        {
            "__module__": cls.__module__,
            "__slots__": ("_kyara_watch",),
            "model_config": ConfigDict(defer_build=True),
        },
    )
    return made


class _WatchedLibrary(PromptLibrary):
    """The same library; every prompt that is taken from it is noted."""

    def __init__(self, library: PromptLibrary, reads: Reads) -> None:
        self.__dict__ |= library.__dict__
        self._library, self._reads = library, reads

    @property
    def templates(self) -> tuple[str, ...]:
        """Names of all templates, sorted."""
        self._reads.prompts[_ALL] = content_id(self._library.templates)
        return self._library.templates

    def template(self, name: str) -> PromptTemplate:
        """A template by its name."""
        found = self._library.template(name)
        self._reads.prompts[name] = found.sha
        return found

    def meta(self, task: str) -> PromptMeta:
        """What a task is."""
        found = self._library.meta(task)
        file = self._library.meta_file(task)
        self._reads.prompts[f"{task}/{file.name}"] = _meta_hash(file)
        return found


def _meta_hash(file: Path) -> str:
    return content_id(file.read_text("utf-8"))[:8]
