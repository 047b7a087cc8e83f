"""What a person does about the champion: look, overrule the gate with a reason, go back."""

from __future__ import annotations

import getpass
import json

from kyara_kedro.errors import UserError
from kyara_kedro.tracking.registry import CANDIDATE, CHAMPION, FORMER, ModelRegistry

_SHOWN = 10
_NOBODY = "還沒有 there is none yet"


def told(registry: ModelRegistry) -> str:
    """Say who is the champion, what the gate said of the candidate, and how it came to this.

    Raises:
        UserError: a version's directory is gone.
        RegistryDown: the registry does not answer.
    """
    names = ((CHAMPION, "冠軍 champion"), (FORMER, "前任 former"), (CANDIDATE, "候選 candidate"))
    found = {alias: registry.resolve(alias) for alias, _ in names}
    lines = [registry.name]
    for alias, title in names:
        model = found[alias]
        lines.append(
            f"  {title}: {f'v{model.version}  {model.path}' if model else _NOBODY}",
        )
    candidate = found[CANDIDATE]
    if candidate and "decision" in candidate.tags:
        decision = json.loads(candidate.tags["decision"])
        lines.append(f"\n關卡 gate, v{candidate.version}: {decision['verdict']}")
        lines += [f"  {reason}" for reason in decision["reasons"]]
    if history := registry.history():
        lines.append("\n經過 history")
    for entry in history[:_SHOWN]:
        taken = f", v{entry.withdrawn} 撤回 taken back" if entry.withdrawn else ""
        lines.append(f"  {entry.at}  v{entry.version} ({entry.by}{taken}): {entry.reason}")
    if len(history) > _SHOWN:
        lines.append(f"  … 還有 {len(history) - _SHOWN} 筆 more")
    return "\n".join(lines)


def override(registry: ModelRegistry, version: int, reason: str | None) -> str:
    """Make a version the champion, whatever the gate has said of it.

    Args:
        registry: The registry.
        version: The version's number.
        reason: Why; may only be missing where the gate said promote and nobody took it back.

    Raises:
        UserError: there is no such version, its directory is gone, or the reason is missing.
        RegistryDown: the registry does not answer.
    """
    model = registry.version(version)
    verdict = model.tags.get("verdict", "not judged")
    back = registry.withdrawn(version)
    if back and not _said(reason):
        raise UserError(
            f"version {version} was taken back by {back.by} ({back.reason}): say with --reason "
            "why it is to be the champion nonetheless"
        )
    if verdict != "promote" and not _said(reason):
        raise UserError(
            f"the gate's verdict on version {version} is '{verdict}': say with --reason why it is "
            "to be the champion nonetheless"
        )
    why = _said(reason) or "the gate said promote"
    if not registry.promote(version, by=getpass.getuser(), reason=f"{why} (gate: {verdict})"):
        return f"v{version} 已經是冠軍 is the champion already"
    return f"v{version} 現在是冠軍 is the champion now (gate: {verdict})"


def roll_back(registry: ModelRegistry, reason: str | None) -> str:
    """Make the champion before this one the champion again.

    A version that was taken back is not promoted by the gate until a person does it.

    Raises:
        UserError: there was none, its directory is gone, or the reason is missing.
        RegistryDown: the registry does not answer.
    """
    if not (why := _said(reason)):
        raise UserError("say with --reason why the champion is taken back")
    version = registry.roll_back(by=getpass.getuser(), reason=why)
    return f"v{version} 又是冠軍 is the champion again"


def _said(reason: str | None) -> str:
    return (reason or "").strip()
