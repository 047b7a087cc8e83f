"""Two pages of the documentation, written from the code: ``python -m kyara_kedro.reference docs``.

``parameters.md`` comes from the settings models and ``conf/base``, ``records.md`` from the records,
the catalog and the pipelines. ``make docs`` writes both; a test compares them with what is there.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import polars as pl
from kedro.framework.project import configure_project
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from kyara_kedro import records
from kyara_kedro.config import ConfigLoader
from kyara_kedro.knowledge.store import KnowledgeOptions
from kyara_kedro.options import Options
from kyara_kedro.params import (
    CurateParams,
    DedupParams,
    EvaluateParams,
    IngestParams,
    PreferenceParams,
    ShardsParams,
    SynthesizeParams,
    TrainParams,
)
from kyara_kedro.pipeline_registry import PIPELINES, register_pipelines
from kyara_kedro.records import Record
from kyara_kedro.similarity.contamination import ContaminationOptions
from kyara_kedro.teachers.extractive import ExtractiveOptions
from kyara_kedro.teachers.local import LocalOptions
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.team import TeamOptions

Schema = Mapping[str, Any]

_PARAMETERS: Mapping[str, tuple[type[Options], str]] = {
    "ingest": (IngestParams, "ingest.md"),
    "synthesize": (SynthesizeParams, "synthesize.md"),
    "dedup": (DedupParams, "dedup.md"),
    "contamination": (ContaminationOptions, "dedup.md"),
    "curate": (CurateParams, "curate.md"),
    "preference": (PreferenceParams, "preference.md"),
    "train": (TrainParams, "train.md"),
    "evaluate": (EvaluateParams, "evaluate.md"),
    "shards": (ShardsParams, "scale-out.md"),
}
_ENTRIES: Mapping[str, type[Options]] = {
    "`options` of teachers of the kinds `openai`, `batch` and `replay`": EndpointOptions,
    "`options` of teachers of the kind `transformers-local`": LocalOptions,
    "`options` of teachers of the kind `extractive`": ExtractiveOptions,
    "`options` of teachers of the kinds `team` and `panel`": TeamOptions,
    "The catalog entry `knowledge_base`": KnowledgeOptions,
}
_NOTE = "<!-- Written by `make docs` from the code: edit the code, not this page. -->"
_KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "null": "`null`",
}
_BOUNDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "ge": ">=",
    "gt": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "le": "<=",
    "lt": "<",
}


def parameters_page(conf: Path) -> str:
    """The page of all settings: name, values, default and effect.

    Args:
        conf: Folder of the configuration, whose ``base`` says what holds unless it is changed.
    """
    base = _loader(conf)["parameters"]
    tables = _Tables()
    parts = [
        "# Parameters",
        _NOTE,
        "All that can be set, from the models that check it: a misspelt key or an impossible "
        "value stops the run before it starts. *Default* is what holds unless an environment "
        "(`conf/<env>/parameters/*.yml`) or `kedro run --params ingest.min_chars=20` says other"
        "wise.",
    ]
    for name, (model, page) in _PARAMETERS.items():
        chosen = model.model_validate(base.get(name, {}))
        parts += [f"## {name}", f"{_summary(model)} See [{page}]({page})."]
        parts.append(tables.of(model, chosen, f"{name}."))
    parts.append("## Options in the catalog")
    for title, model in _ENTRIES.items():
        parts += [f"### {model.__name__}", f"{title}. {_summary(model)}", tables.of(model)]
    parts += ["## Settings inside others", *tables.mentioned()]
    return "\n\n".join(parts) + "\n"


def records_page(conf: Path) -> str:
    """The page of all tables: columns, types, rules in words, where they are and who writes them.

    Args:
        conf: Folder of the configuration, for the catalog.
    """
    holders: dict[str, list[str]] = {}
    for entry, settings in sorted(_loader(conf)["catalog"].items()):
        for named in filter(None, (settings.get("validator"), settings.get("record"))):
            name = named["class"] if isinstance(named, Mapping) else named
            holders.setdefault(name.removeprefix(f"{records.__name__}."), []).append(entry)
    pipelines = register_pipelines()
    writers = {entry: name for name in PIPELINES for entry in pipelines[name].all_outputs()}
    said = _docstrings(Path(inspect.getfile(records)))
    parts = [
        "# Records",
        _NOTE,
        "The shape of every table that crosses a pipeline, as `records.py` declares it and the "
        "catalog enforces it whenever one is read or written. Columns stand in the order in which "
        "they are stored; those that are not nullable are always filled. A row's `id` is unique "
        "and a hash of its content (xxh3-128), the same on every machine.",
    ]
    for variable, record in vars(records).items():
        if isinstance(record, Record):
            where = ", ".join(_place(entry, writers) for entry in holders.get(variable, []))
            parts += [f"## {record.name.capitalize()}", said.get(variable, ""), _columns(record)]
            parts.append(f"Catalog: {where or 'no entry of its own'}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def write(folder: Path) -> None:
    """Write both pages into a folder, from the project in the current one."""
    configure_project("kyara_kedro")
    for name, page in (("parameters.md", parameters_page), ("records.md", records_page)):
        (folder / name).write_text(page(Path("conf")), encoding="utf-8")


def _loader(conf: Path) -> ConfigLoader:
    return ConfigLoader(str(conf), base_env="base", default_run_env="base")


class _Tables:
    """Tables of settings; models within lists, mappings and choices get tables of their own."""

    def __init__(self) -> None:
        self._told: set[type[Options]] = set()
        self._mentioned: dict[type[Options], None] = {}

    def of(self, model: type[Options], chosen: Options | None = None, prefix: str = "") -> str:
        """The table of a model's settings; those of its parts have dotted names."""
        self._told.add(model)
        head = ("| name | values | default | effect |", "|---|---|---|---|")
        return "\n".join([*head, *self._rows(model, chosen, prefix)])

    def mentioned(self) -> Iterator[str]:
        """The tables of models that others have mentioned, until there is none left."""
        while waiting := [model for model in self._mentioned if model not in self._told]:
            for model in waiting:
                yield from (f"### {model.__name__}", _summary(model), self.of(model))

    def _rows(self, model: type[Options], chosen: Options | None, prefix: str) -> Iterator[str]:
        effects = _attributes(model)
        schemas = model.model_json_schema()["properties"]
        for name, field in model.model_fields.items():
            value = getattr(chosen, name) if chosen else _in_code(field)
            if inspect.isclass(field.annotation) and issubclass(field.annotation, Options):
                part = value if isinstance(value, Options) else None
                yield from self._rows(field.annotation, part, f"{prefix}{name}.")
                continue
            self._mentioned |= dict.fromkeys(_models_in(field.annotation))
            cells = (_values(schemas[name]), _default(value), effects.get(name, ""))
            told = (cell.replace("|", "\\|") for cell in cells)
            yield f"| `{prefix}{name}` | {' | '.join(told)} |"


def _in_code(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _models_in(annotation: Any) -> Iterator[type[Options]]:
    """The settings models that a type names anywhere."""
    if inspect.isclass(annotation) and issubclass(annotation, Options):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _values(schema: Schema) -> str:
    """What a setting may be, in words.

    Args:
        schema: JSON schema of the setting.
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "anything" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        kinds = " or ".join(dict.fromkeys(map(_values, choices)))
        return f"{kinds}{_bounds(schema)}"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") in ("array", "object"):
        return _held(schema)
    return f"{_KINDS.get(schema.get('type', ''), 'anything')}{_bounds(schema)}"


def _held(schema: Schema) -> str:
    """What a list or a mapping holds, in words."""
    if "prefixItems" in schema:
        return f"[{', '.join(map(_values, schema['prefixItems']))}]"
    if schema["type"] == "array":
        return f"list of {_values(schema['items'])}"
    patterns = schema.get("patternProperties", {})
    inner = next(iter(patterns.values()), schema.get("additionalProperties"))
    names = _values(schema.get("propertyNames", {"type": "string"}))
    return f"mapping of {names} to {_values(inner)}" if isinstance(inner, dict) else "mapping"


def _bounds(schema: Schema) -> str:
    """Bounds of a number, such as `` >= 0, < 1``."""
    return ",".join(f" {sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema)


def _default(value: Any) -> str:
    """A default as it would be written in YAML."""
    if value is PydanticUndefined:
        return "to be given"
    if isinstance(value, SecretStr):
        return "none"
    if isinstance(value, Options):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        value = kind | value.model_dump(exclude_defaults=True)
    return f"`{_yaml(to_jsonable_python(value))}`"


def _yaml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) or "''"


def _summary(model: type[Options]) -> str:
    """The first paragraph of a model's docstring."""
    return _prose((inspect.getdoc(model) or "").partition("\n\n")[0])


def _attributes(model: type[Options]) -> dict[str, str]:
    """What the docstrings of a model and of those it builds on say of each attribute."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        section = (inspect.getdoc(one) or "").partition("Attributes:\n")[2]
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE):
            found[name] = _prose(text)
    return found


def _prose(text: str) -> str:
    """A docstring's text as one line of Markdown."""
    linked = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", " ".join(text.split()))
    return linked.replace("``", "`")


def _docstrings(path: Path) -> dict[str, str]:
    """The strings that stand below the assignments of a module, by variable."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {
        target.id: _prose(below.value.value)
        for above, below in pairwise(body)
        if isinstance(above, ast.Assign) and isinstance(below, ast.Expr)
        for target in above.targets
        if isinstance(target, ast.Name)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def _place(entry: str, writers: Mapping[str, str]) -> str:
    return f"`{entry}` ({writers[entry]})" if entry in writers else f"`{entry}`"


def _columns(record: Record) -> str:
    lines = ["| column | type | nullable | must |", "|---|---|---|---|"]
    for name, dtype in record.columns.items():
        rules = "; ".join(rule.text for rule in record.rules if rule.column == name)
        nullable = "yes" if name in record.nullable else ""
        told = rules.replace("|", "\\|")
        lines.append(f"| `{name}` | {_type(dtype)} | {nullable} | {told} |")
    return "\n".join(lines)


def _type(dtype: object) -> str:
    """A column's type in words, with what lists and structures hold."""
    if isinstance(dtype, pl.List):
        return f"list of {_type(dtype.inner)}"
    if isinstance(dtype, pl.Struct):
        parts = (f"{field.name}: {_type(field.dtype)}" for field in dtype.fields)
        return "{" + ", ".join(parts) + "}"
    return str(dtype)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
