"""What is restored of a recorded run, and how its repetition is compared with it."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.lineage.manifest import Git, NodeReport, OutputState, RunManifest
from kyara_kedro.lineage.reproduce import (
    HIDDEN,
    compare,
    compared_text,
    keep_prompts,
    other_circumstances,
    restore_prompts,
    restored_settings,
)
from kyara_kedro.prompts.library import TEMPLATES, PromptLibrary

PROMPT = "judge_pair/en"
values = st.none() | st.booleans() | st.integers() | st.text().filter(lambda t: HIDDEN not in t)
settings = st.recursive(
    values, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def manifest(**known: object) -> RunManifest:
    return RunManifest(run_id="run-1", started_at="2026-01-01T00:00:00+00:00", **known)


def overridden(folder: Path, text: str) -> PromptLibrary:
    place = folder / f"{PROMPT}.jinja"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text((TEMPLATES / f"{PROMPT}.jinja").read_text("utf-8") + text, "utf-8")
    return PromptLibrary([folder])


@given(settings, settings)
def test_what_was_recorded_wins_over_what_is_configured(recorded: object, now: object) -> None:
    assert restored_settings(recorded, now) == recorded


def test_a_secret_is_that_of_the_configuration() -> None:
    recorded = {"ingest": {"salt": f"{HIDDEN}{content_id('s')}", "low": 1}}
    found = restored_settings(recorded, {"ingest": {"salt": "s", "low": 2}})
    assert found == {"ingest": {"salt": "s", "low": 1}}


def test_an_empty_secret_needs_no_configuration() -> None:
    assert restored_settings({"salt": f"{HIDDEN}{content_id('')}"}, {}) == {"salt": ""}


@pytest.mark.parametrize(
    ("configured", "problem"), [({}, "not configured"), ({"salt": "x"}, "another")]
)
def test_another_secret_is_refused(configured: dict[str, str], problem: str) -> None:
    with pytest.raises(UserError, match=rf"ingest\.salt: is {problem}"):
        restored_settings(
            {"ingest": {"salt": f"{HIDDEN}{content_id('s')}"}}, {"ingest": configured}
        )


def test_other_circumstances_are_told_one_by_one() -> None:
    then = manifest(
        git=Git(commit="a" * 40, dirty=True), lock="l1", python="3.11", packages={"polars": "2.1"}
    )
    told = list(other_circumstances(then, "b" * 40, "l2", "3.12", {"polars": "2.2"}))
    assert [line.partition(":")[0] for line in told] == [
        *("code", "code", "requirements.lock", "python", "polars"),
    ]
    same = manifest(lock="l1", python="3.11")
    assert list(other_circumstances(same, "b" * 40, "l1", "3.11", {})) == []


def test_a_prompt_of_the_project_comes_back_from_what_the_run_kept(tmp_path: Path) -> None:
    library = overridden(tmp_path / "own", "\n")
    metas = keep_prompts(library, tmp_path / "kept")
    then = manifest(prompts={PROMPT: library.sha(PROMPT)} | metas)
    told = restore(then, PromptLibrary(), tmp_path)
    assert len(told) == 1
    assert "restored, as kept by the run" in told[0]
    again = PromptLibrary([tmp_path / "restored"])
    assert again.sha(PROMPT) == library.sha(PROMPT)


def test_a_prompt_that_is_overridden_only_now_is_the_packages_again(tmp_path: Path) -> None:
    then = manifest(prompts={PROMPT: PromptLibrary().sha(PROMPT)})
    own = tmp_path / "own"
    library = overridden(own, "\n")
    (own / "judge_pair" / "meta.yml").write_text(
        (TEMPLATES / "judge_pair" / "meta.yml").read_text("utf-8") + "\n", "utf-8"
    )
    library = PromptLibrary([own])
    told = restore(then, library, tmp_path)
    assert [line.split()[1] for line in told] == [f"{PROMPT}.jinja:", "judge_pair/meta.yml:"]
    again = PromptLibrary([own, tmp_path / "restored"])
    assert again.text("judge_pair/meta.yml") == PromptLibrary().text("judge_pair/meta.yml")
    assert again.sha(PROMPT) == then.prompts[PROMPT]


def test_a_prompt_of_the_package_comes_back_from_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "src" / "prompts"
    file = home / f"{PROMPT}.jinja"
    file.parent.mkdir(parents=True)
    then = (TEMPLATES / f"{PROMPT}.jinja").read_text("utf-8") + "\n"
    file.write_text(then, "utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "then")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    file.write_text("now", "utf-8")
    monkeypatch.setattr("kyara_kedro.lineage.reproduce.TEMPLATES", home)
    run = manifest(git=Git(commit=commit), prompts={PROMPT: content_id(then)[:8]})
    told = restore(run, PromptLibrary(), tmp_path)
    assert f"restored, from commit {commit[:12]}" in told[0]
    assert (tmp_path / "restored" / f"{PROMPT}.jinja").read_text("utf-8") == then


def test_a_prompt_that_nobody_has_kept_is_told(tmp_path: Path) -> None:
    told = restore(manifest(prompts={PROMPT: "00000000"}), PromptLibrary(), tmp_path)
    assert "nowhere to be found" in told[0]


def test_outputs_are_the_same_different_or_not_comparable() -> None:
    then = {"n": node(a=("1", 5), b=("1", 5), c=("1", None), d=(None, None), e=("1", None))}
    now = {"n": node(a=("1", 5), b=("2", 6), c=("2", None), d=(None, None))}
    found = compare(then, now, {"c": "never alike"})
    assert [one.outcome for one in found] == [
        *("identical", "different", "not comparable", "not comparable", "different"),
    ]
    assert found[1].why == "1 then, 2 now; 5 rows then, 6 now"
    assert found[4].why == "it was not made again"
    text = compared_text(found)
    assert "c (n): not comparable: never alike" in text
    assert "a (n)" not in text


def node(**outputs: tuple[str | None, int | None]) -> NodeReport:
    states = {name: OutputState(hash=told, rows=rows) for name, (told, rows) in outputs.items()}
    return NodeReport(state="ran", why="", outputs=states)


def restore(then: RunManifest, library: PromptLibrary, folder: Path) -> list[str]:
    return list(restore_prompts(then, library, folder / "kept", folder, folder / "restored"))


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
