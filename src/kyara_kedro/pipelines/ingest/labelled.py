"""The foreign forms of what people have judged, pairs and single answers, and how it becomes ours.

A form is told by the row's keys; the table is in docs/preference.md.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kyara_kedro.pipelines.ingest.formats import Malformed
from kyara_kedro.text.normalise import visible

_SIDES = (
    ("response1", "response2"),  # PandaLM
    ("output_1", "output_2"),  # LLMBar, AlpacaEval
    ("response_1", "response_2"),  # CritiqueLLM
    ("response_a", "response_b"),
    ("first", "second"),
)
_ASKED = ("prompt", "question", "instruction", "input")
_ANSWERS = ("response", "answer", "output")
_SCORES = ("human_score", "rating", "score")
_ANNOTATORS = ("annotator1", "annotator2", "annotator3")
_ANNOTATED = {0: "C", 1: "A", 2: "B"}
_CALLED: Mapping[str | int, str] = {
    **dict.fromkeys(("A", "a", "first", "model_a", 1, "1"), "A"),
    **dict.fromkeys(("B", "b", "second", "model_b", 2, "2"), "B"),
    **dict.fromkeys(("C", "c", "tie", "Tie", "tie (bothbad)"), "C"),
}


@dataclass(frozen=True)
class Labelled:
    """A pair of answers with what people said; see :data:`kyara_kedro.records.LABELLED_PAIR`."""

    prompt: str
    first: str
    second: str
    label: str
    labels: list[str]
    contestants: tuple[str, str]


@dataclass(frozen=True)
class Rated:
    """An answer with its score by people; see :data:`kyara_kedro.records.LABELLED_RATING`."""

    prompt: str
    answer: str
    reference: str | None
    rating: float
    contestant: str


def is_rating(row: Mapping[str, Any]) -> bool:
    """Whether a row is a single answer with a score, and so no pair."""
    return _sides(row) is None and any(name in row for name in _SCORES)


def labelled_rating(row: Mapping[str, Any]) -> Rated:
    """Read a scored answer of CritiqueLLM's form, or with a ``rating`` or ``score``.

    Raises:
        Malformed: there is no question or answer in it, or its score is no finite number.
    """
    answer = next((row[name] for name in _ANSWERS if name in row), None)
    reference = row.get("reference")
    name = next(name for name in _SCORES if name in row)
    return Rated(
        prompt=_asked(row),
        answer=_said(answer),
        reference=(visible(reference).strip() or None) if isinstance(reference, str) else None,
        rating=_score(row[name], name),
        contestant=_named(row.get("model")) or "unknown",
    )


def _score(value: Any, name: str) -> float:
    try:
        score = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise Malformed("unknown_score", f"'{name}' is {value!r:.40}, no finite number")
    return score


def labelled_pair(row: Mapping[str, Any]) -> Labelled:
    """Read a judged pair of PandaLM's form (three annotators, their majority counts), LLMBar's
    (label 1 or 2), CritiqueLLM's (two human scores), or with a ``label`` or ``winner``.

    Raises:
        Malformed: there is no pair in it, or no label that decides about it.
    """
    sides = _sides(row)
    if sides is None:
        keys = sorted(map(str, row))
        raise Malformed("no_pair", f"neither two answers nor a score under the keys {keys}")
    labels = _labels(row)
    most = Counter(labels).most_common(2)
    if len(most) > 1 and most[0][1] == most[1][1]:
        raise Malformed("no_majority", f"the annotators say {', '.join(labels)}")
    first, second = (_said(row[side]) for side in sides)
    return Labelled(_asked(row), first, second, most[0][0], labels, _contestants(row))


def _sides(row: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((names for names in _SIDES if all(name in row for name in names)), None)


def _labels(row: Mapping[str, Any]) -> list[str]:
    if all(name in row for name in _ANNOTATORS):
        return [_one_of(_ANNOTATED, row[name], name) for name in _ANNOTATORS]
    if "human_score_1" in row and "human_score_2" in row:
        first, second = row["human_score_1"], row["human_score_2"]
        if not all(isinstance(one, int | float) for one in (first, second)):
            raise Malformed("unknown_label", f"'human_score_1' and 2 are {first!r}, {second!r}")
        return ["A" if first > second else "B" if second > first else "C"]
    name = "label" if "label" in row else "winner"
    return [_one_of(_CALLED, row.get(name), name)]


def _one_of(known: Mapping[Any, str], value: Any, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str) or value not in known:
        raise Malformed(
            "unknown_label", f"'{name}' is {value!r:.40}, none of {sorted(map(str, known))}"
        )
    return known[value]


def _asked(row: Mapping[str, Any]) -> str:
    said = [visible(row[name]).strip() for name in _ASKED if isinstance(row.get(name), str)]
    if not any(said):
        raise Malformed("missing_field", f"no text under {' or '.join(map(repr, _ASKED))}")
    return "\n\n".join(filter(None, said))


def _said(value: Any) -> str:
    """An answer, which may be blank, or a value that JSON took for a number or a truth value."""
    if isinstance(value, bool | int | float | str):
        return visible(str(value)).strip()
    raise Malformed("not_text", f"an answer is {type(value).__name__}, no text")


def _contestants(row: Mapping[str, Any]) -> tuple[str, str]:
    models = row.get("model_a"), row.get("model_b")
    if isinstance(row.get("cmp_key"), str) and row["cmp_key"].count("_") == 1:
        models = tuple(row["cmp_key"].split("_"))
    one, other = map(_named, models)
    return one or "first", other or "second"


def _named(model: Any) -> str | None:
    return model if isinstance(model, str) and model else None
