"""Doing a recorded run again: what is restored, what is not as it was then, and what came out."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.files import written_whole
from kyara_kedro.lineage.manifest import NodeReport, RunManifest
from kyara_kedro.prompts.library import TEMPLATES, PromptLibrary
from kyara_kedro.reporting.terminal import aligned

HIDDEN = "secret "
"""What the manifest's hash of a secret begins with."""
_META = "meta.yml"
_SHORT = 8
_GIT_PATIENCE = 10

Outcome = Literal["identical", "different", "not comparable"]


class Compared(NamedTuple):
    """An output of the recorded run beside that of its repetition.

    Attributes:
        node: The node.
        dataset: The output.
        outcome: Whether they are the same.
        why: What differs, or why they cannot be compared.
    """

    node: str
    dataset: str
    outcome: Outcome
    why: str = ""


def restored_settings(recorded: Any, configured: Any, path: str = "") -> Any:
    """Recorded settings, with secrets from the configuration, since a manifest holds none.

    Args:
        recorded: As a manifest has them: of a secret only a hash.
        configured: What is configured now.
        path: Where they stand, for messages.

    Raises:
        UserError: a secret is not configured, or is another one.
    """
    if isinstance(recorded, Mapping):
        known = configured if isinstance(configured, Mapping) else {}
        return {
            name: restored_settings(value, known.get(name), f"{path}.{name}".lstrip("."))
            for name, value in recorded.items()
        }
    if not isinstance(recorded, str) or not recorded.startswith(HIDDEN):
        return recorded
    secret = configured or ""
    if recorded != f"{HIDDEN}{content_id(secret)}":
        problem = "is another one now" if secret else "is not configured"
        raise UserError(
            f"{path}: {problem}, and the manifest holds no secrets; set that of the run in "
            "conf/local/parameters.yml"
        )
    return secret


def other_circumstances(
    then: RunManifest, git: str | None, lock: str | None, python: str, packages: Mapping[str, str]
) -> Iterator[str]:
    """What is not as it was when a run was made, in a line each.

    Args:
        then: The run.
        git: The commit that is checked out.
        lock: Hash of ``requirements.lock``.
        python: Version of Python.
        packages: Versions of packages.
    """
    if then.git.commit and then.git.commit != git:
        commit = then.git.commit[:12]
        yield f"code: of commit {commit} then, {str(git)[:12]} now (git checkout {commit})"
    if then.git.dirty:
        yield "code: had changes then that were not committed"
    if then.lock != lock:
        yield f"requirements.lock: {_short(then.lock)} then, {_short(lock)} now"
    if then.python != python:
        yield f"python: {then.python} then, {python} now"
    for name in sorted(then.packages.keys() | packages.keys()):
        before, now = then.packages.get(name), packages.get(name)
        if before != now:
            yield f"{name}: {before or 'not installed'} then, {now or 'not installed'} now"


def restore_prompts(
    then: RunManifest, library: PromptLibrary, kept: Path, project: Path, target: Path
) -> Iterator[str]:
    """Write the prompts of a run that are other ones now, as a folder of overrides.

    Texts come from what the run has kept, from the package, and from git's history.

    Args:
        then: The run.
        library: The prompts of now.
        kept: Where runs keep the texts of overriding prompts, see :func:`keep_prompts`.
        project: The checkout.
        target: The folder of overrides to write.

    Yields:
        A line for each prompt that was another one.
    """
    package = PromptLibrary()
    commit = then.git.commit
    wanted = {_file(name): sha for name, sha in then.prompts.items()}
    metas = (file for file in library.overrides if file.endswith(_META) and package.text(file))
    wanted = {file: str(_sha(package.text(file))) for file in metas} | wanted
    for file, sha in sorted(wanted.items()):
        now = _sha(library.text(file))
        if now == sha:
            continue
        sources = (
            ("as kept by the run", _read(kept / f"{sha}{Path(file).suffix}")),
            ("the package's", package.text(file)),
            (f"from commit {str(commit)[:12]}", _from_git(commit, TEMPLATES / file, project)),
        )
        found = next(((how, text) for how, text in sources if text and _sha(text) == sha), None)
        told = f"prompt {file}: {sha} then, {now or 'none'} now"
        if found is None:
            yield f"{told}; its text is nowhere to be found"
        else:
            how, text = found
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
            yield f"{told}; restored, {how}"


def keep_prompts(library: PromptLibrary, folder: Path) -> dict[str, str]:
    """Keep the texts of a project's own prompt files, named by their hashes.

    Args:
        library: The prompts of a run.
        folder: Where texts are kept.

    Returns:
        Hashes of its own ``meta.yml`` files by their relative paths.
    """
    metas = {}
    for file, path in library.overrides.items():
        text = path.read_text("utf-8")
        sha = str(_sha(text))
        place = folder / f"{sha}{path.suffix}"
        if not place.exists():
            with written_whole(place) as part:
                part.write_text(text, encoding="utf-8")
        if file.endswith(_META):
            metas[file] = sha
    return metas


def compare(
    then: Mapping[str, NodeReport],
    now: Mapping[str, NodeReport],
    incomparable: Mapping[str, str],
) -> list[Compared]:
    """Lay what nodes stored beside what they stored again.

    Args:
        then: The nodes of the recorded run.
        now: Those of its repetition.
        incomparable: Outputs that cannot be compared, with the reason.
    """
    found = []
    for name, node in then.items():
        again = now.get(name)
        for dataset, before in node.outputs.items():
            after = again.outputs.get(dataset) if again else None
            found.append(Compared(name, dataset, *_outcome(dataset, before, after, incomparable)))
    return found


def compared_text(compared: Iterable[Compared]) -> str:
    """A table of outcomes by node, with a line for each output that is not the same."""
    every = list(compared)
    counts = Counter((one.node, one.outcome) for one in every)
    states: tuple[Outcome, ...] = ("identical", "different", "not comparable")
    head = ("節點 node", "相同 identical", "不同 different", "無法比較 not comparable")
    rows = [
        (node, *(str(counts[node, state] or "") for state in states))
        for node in dict.fromkeys(one.node for one in every)
    ]
    total = Counter(one.outcome for one in every)
    rows.append(("共 in all", *(str(total[state]) for state in states)))
    lines = [aligned([head, *rows])]
    lines += [
        f"{one.dataset} ({one.node}): {one.outcome}: {one.why}"
        for one in every
        if one.outcome != "identical"
    ]
    return "\n".join(lines)


def _outcome(
    dataset: str, before: Any, after: Any, incomparable: Mapping[str, str]
) -> tuple[Outcome, str]:
    if after and before.hash is not None and before.hash == after.hash:
        return "identical", ""
    if dataset in incomparable:
        return "not comparable", incomparable[dataset]
    if after is None:
        return "different", "it was not made again"
    if before.hash is None:
        return "not comparable", "the run has noted no hash"
    told = f"{_short(before.hash)} then, {_short(after.hash)} now"
    counts = "" if before.rows == after.rows else f"; {before.rows} rows then, {after.rows} now"
    return "different", told + counts


def _short(value: str | None) -> str:
    return value[:_SHORT] if value else "none"


def _sha(text: str | None) -> str | None:
    return None if text is None else content_id(text)[:_SHORT]


def _file(prompt: str) -> str:
    """The file that a name in a manifest stands for."""
    return prompt if prompt.endswith(_META) else f"{prompt}.jinja"


def _read(file: Path) -> str | None:
    return file.read_text("utf-8") if file.is_file() else None


def _from_git(commit: str | None, file: Path, project: Path) -> str | None:
    """A file's text as of a commit; None where git does not know it."""
    git = shutil.which("git")
    home, file = project.resolve(), file.resolve()
    if git is None or commit is None or not file.is_relative_to(home):
        return None
    named = f"{commit}:./{file.relative_to(home).as_posix()}"
    try:
        done = subprocess.run(  # noqa: S603
            [git, "-C", str(project), "show", named],
            capture_output=True,
            timeout=_GIT_PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
