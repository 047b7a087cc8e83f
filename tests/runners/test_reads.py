import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, TypeAdapter

from kyara_kedro.options import Options
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.runners.reads import Reads, plain, prompt, setting


class Inner(Options):
    low: float = 0.5
    names: tuple[str, ...] = ("a",)

    @property
    def doubled(self) -> float:
        return 2 * self.low


class Outer(Options):
    inner: Inner = Inner()
    other: Inner = Inner()
    size: int = 3
    salt: SecretStr = SecretStr("pepper")


class Job(BaseModel):
    inner: Inner


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def outer(reads: Reads) -> Outer:
    watched = reads.watch("params:pipe", Outer())
    assert isinstance(watched, Outer)
    return watched


def test_nothing_is_read_by_handing_settings_on(reads: Reads, outer: Outer) -> None:
    Job(inner=outer.inner)

    assert reads.parameters == {}


def test_fields_are_noted_where_they_are_read(reads: Reads, outer: Outer) -> None:
    assert outer.inner.low == 0.5
    assert outer.size == 3
    assert outer.other.doubled == 1.0

    assert reads.parameters == {"pipe.inner.low": 0.5, "pipe.size": 3, "pipe.other.low": 0.5}


@pytest.mark.parametrize(
    "look",
    [
        lambda inner: inner.model_dump(),
        lambda inner: inner.model_dump_json(),
        lambda inner: TypeAdapter(Inner).dump_json(inner),
        lambda inner: Job(inner=inner).model_dump(),
        dict,
        vars,
        lambda inner: inner == Inner(),
        hash,
        repr,
        lambda inner: copy.copy(inner).low,
        lambda inner: copy.deepcopy(inner).low,
        lambda inner: inner.model_copy(update={"low": 0.1}).names,
        lambda inner: pickle.loads(pickle.dumps(inner)).low,  # noqa: S301
    ],
)
def test_who_takes_settings_as_a_whole_has_read_them_all(
    reads: Reads, outer: Outer, look: Any
) -> None:
    assert look(outer.inner) == look(Inner())

    assert reads.parameters["pipe.inner"] == {"low": 0.5, "names": ["a"]}


def test_of_a_secret_only_a_hash_is_noted(reads: Reads, outer: Outer) -> None:
    assert outer.salt.get_secret_value() == "pepper"

    noted = reads.parameters["pipe.salt"]
    assert "pepper" not in noted
    assert noted != plain(SecretStr("salt"))


def test_what_was_read_is_looked_up_again_by_its_path() -> None:
    roots = {"pipe": Outer(size=4)}

    assert setting(roots, "pipe.size") == 4
    assert setting(roots, "pipe.inner") == {"low": 0.5, "names": ["a"]}
    assert setting(roots, "pipe.inner.gone") is None


def test_inputs_that_are_no_parameters_stay_what_they_are(reads: Reads) -> None:
    settings = Inner()

    assert reads.watch("tracking", settings) is settings
    assert reads.watch("params:x", 3) == 3
    assert reads.parameters == {"x": 3}


def test_only_the_prompts_that_are_rendered_are_noted(reads: Reads) -> None:
    library = PromptLibrary()
    watched = reads.watch("prompt_library", library)

    watched.render("expand_query", "en", question="Who?", count=1)

    assert reads.prompts == {"expand_query/en": library.template("expand_query/en").sha}
    assert prompt(library, "expand_query/en") == reads.prompts["expand_query/en"]


def test_an_edited_prompt_and_an_edited_meta_are_told(reads: Reads, tmp_path: Path) -> None:
    library = PromptLibrary()
    watched = reads.watch("prompt_library", library)
    watched.template("expand_query/en")
    watched.meta("expand_query")
    own = tmp_path / "expand_query"
    own.mkdir()
    for name in ("en.jinja", "meta.yml"):
        text = (library.meta_file("expand_query").parent / name).read_text("utf-8")
        (own / name).write_text(f"{text}\n{'#' if name == 'meta.yml' else ''}\n", "utf-8")
    edited = PromptLibrary([tmp_path])

    assert reads.prompts == {name: prompt(library, name) for name in reads.prompts}
    assert all(prompt(edited, name) != sha for name, sha in reads.prompts.items())
    assert prompt(edited, "gone/en") is None
