"""Policies for Simplified and Mainland Chinese in text that should be Taiwan's, and reports."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, assert_never

from kyara_kedro.text.taiwan import Change, examine

Policy = Literal["convert", "drop", "report"]

_EXAMPLES = 5
_SHOWN = 40


class Guarded(NamedTuple):
    """A text after the guard.

    `changed` is what the guard found, whether or not it was repaired; `reported` the Mainland words
    that no policy touches, for people in Taiwan write them too; `fault` the reason and detail of a
    text that must be dropped.
    """

    text: str
    changed: tuple[Change, ...]
    reported: tuple[Change, ...]
    fault: tuple[str, str] | None


def guarded(text: str, policy: Policy, *, written_by_model: bool = False) -> Guarded:
    """Apply a policy to a text that should be Taiwan's Chinese.

    Args:
        text: The text.
        policy: "convert" repairs it, "report" leaves it as it is, "drop" finds fault with it, under
            the reason "simplified_chinese", when there is anything to repair.
        written_by_model: Whether to be as strict as with what a model wrote, see `to_taiwan`.
    """
    repaired, changed, reported = examine(text, written_by_model=written_by_model)
    match policy:
        case "convert":
            return Guarded(repaired, changed, reported, None)
        case "report":
            return Guarded(text, changed, reported, None)
        case "drop":
            fault = ("simplified_chinese", _detail(changed)) if changed else None
            return Guarded(text, changed, reported, fault)
        case _:
            assert_never(policy)


@dataclass
class LeakReport:
    """Counts what the guard found, by where the texts came from: a source file or a teacher."""

    _tallies: dict[str, "_Tally"] = field(default_factory=dict)

    def add(self, who: str, found: Guarded, text: str) -> None:
        """Count a text.

        Args:
            who: Where it came from.
            found: What the guard found in it.
            text: The text before.
        """
        self._tallies.setdefault(who, _Tally()).add(found, text)

    def summary(self) -> dict[str, dict[str, Any]]:
        """What was found, by `who` in alphabetical order, ready for JSON.

        Each entry counts `texts`, `characters`, `texts_with_leaks`, `leaked_characters` and `spans`
        by kind, and shows the first `examples` that differ. The words that are only reported are
        counted apart, in `reported`: `texts`, `spans` and `examples`.
        """
        return {who: self._tallies[who].summary() for who in sorted(self._tallies)}


@dataclass
class _Tally:
    texts: int = 0
    characters: int = 0
    leaking: int = 0
    leaked_characters: int = 0
    spans: dict[str, int] = field(default_factory=dict)
    examples: dict[str, None] = field(default_factory=dict)
    reporting: int = 0
    reported: int = 0
    reported_examples: dict[str, None] = field(default_factory=dict)

    def add(self, found: Guarded, text: str) -> None:
        self.texts += 1
        self.characters += len(text)
        self.leaking += bool(found.changed)
        for change in found.changed:
            self.leaked_characters += change.end - change.start
            self.spans[change.kind] = self.spans.get(change.kind, 0) + 1
        _show(found.changed, self.examples)
        self.reporting += bool(found.reported)
        self.reported += len(found.reported)
        _show(found.reported, self.reported_examples)

    def summary(self) -> dict[str, Any]:
        return {
            "texts": self.texts,
            "characters": self.characters,
            "texts_with_leaks": self.leaking,
            "leaked_characters": self.leaked_characters,
            "spans": dict(sorted(self.spans.items())),
            "examples": list(self.examples),
            "reported": {
                "texts": self.reporting,
                "spans": self.reported,
                "examples": list(self.reported_examples),
            },
        }


def _show(changes: Sequence[Change], examples: dict[str, None]) -> None:
    """Keep the first few that differ."""
    for change in changes:
        if len(examples) < _EXAMPLES:
            examples[_shown(change)] = None


def _detail(changed: Sequence[Change]) -> str:
    first = changed[0]
    more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"characters {first.start} to {first.end}: {_shown(first)}{more}"


def _shown(change: Change) -> str:
    return f"{_short(change.before)} -> {_short(change.after)}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
