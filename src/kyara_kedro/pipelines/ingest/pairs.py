"""The foreign forms of preference data, and how each becomes a pair of ours.

A form is told by the row's keys; the table is in docs/preference.md. Ratings that lie outside
their scale, or do not set the chosen answer above the rejected one, never make a pair.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kyara_kedro.content import Message, content_id
from kyara_kedro.pipelines.ingest.formats import (
    Malformed,
    alternating,
    keys_of,
    list_at,
    plain_text,
    text_at,
    turn_of,
)
from kyara_kedro.text.leaks import Policy, guarded
from kyara_kedro.text.normalise import visible
from kyara_kedro.text.script import language_of
from kyara_kedro.training.chat import CONTROL_TOKENS

GPT_4, ARMORM = "gpt-4", "ArmoRM"
ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")

_LARGEST_REWARD = 1e9
_WRITTEN_TURNS = re.compile(r"\s*\[\s*\{\s*[\"'](?:role|content|from|value)[\"']\s*:")
"""How turns begin that are written as a text, and an answer in JSON hardly ever."""
_CONTROL = re.compile("|".join([*map(re.escape, CONTROL_TOKENS), r"<\|[a-z_0-9]{1,30}\|>"]))


class Scale(NamedTuple):
    """The ratings that there are, and who gave them; without a range, a model's rewards."""

    low: float = -_LARGEST_REWARD
    high: float = _LARGEST_REWARD
    judge: str | None = None


_FIVE, _TEN = Scale(1, 5, GPT_4), Scale(1, 10, GPT_4)
_RATED: tuple[tuple[str, str, Scale], ...] = (
    ("chosen_avg_rating", "rejected_avg_rating", _FIVE),  # argilla, the means of the aspects
    ("chosen-rating", "rejected-rating", _FIVE),  # argilla, cleaned
    ("score_chosen", "score_rejected", _TEN),  # HuggingFaceH4 and trl-lib, the overall score
)
_SCORED: tuple[tuple[str, str, Scale], ...] = (
    ("responses", "rewards_armorm", Scale(judge=ARMORM)),  # Magpie
    ("all_generated_responses", "all_rm_scores", Scale(judge=ARMORM)),  # SimPO
    ("generations", "ratings", Scale(1, 5)),  # distilabel
)


@dataclass(frozen=True)
class Pair:
    """One preference pair in the making; see :data:`kyara_kedro.records.PREFERENCE`."""

    kind: str
    prompt: list[Message]
    prefix: str | None
    chosen: str
    rejected: str
    score_chosen: float | None = None
    score_rejected: float | None = None
    judge: str | None = None

    @property
    def margin(self) -> float | None:
        """How far the chosen answer is rated above the rejected one."""
        if self.score_chosen is None or self.score_rejected is None:
            return None
        return self.score_chosen - self.score_rejected

    def texts(self) -> Iterator[str]:
        """Everything that is said in it."""
        yield from (turn["content"] for turn in self.prompt)
        yield from (self.prefix or "", self.chosen, self.rejected)


def preference(row: Mapping[str, Any], reward_margin: float = 0.0) -> Pair:
    """Read a preference pair, or make one of several rated answers.

    Args:
        row: The raw row.
        reward_margin: Smallest difference of two rewards that is worth a pair.

    Raises:
        Malformed: for an unknown form, a missing or blank field, a control token, a rating that is
            none or out of range, a chosen answer that is not rated higher, or equal sides.
    """
    pair = _read(row, reward_margin)
    for text in pair.texts():
        if found := _CONTROL.search(text):
            raise Malformed("control_token", f"{found[0]} is written out in it")
    if pair.chosen.strip() == pair.rejected.strip():
        raise Malformed("equal_sides", "chosen and rejected are the same")
    if pair.margin is not None and pair.margin <= 0:
        raise Malformed("no_margin", "the chosen answer is not rated above the rejected one")
    judge = row.get("judge")
    return replace(pair, judge=judge) if isinstance(judge, str) and judge.strip() else pair


def taiwanese(pair: Pair, policy: Policy) -> Pair:
    """Apply the policy for Simplified and Mainland Chinese to a pair.

    The chosen answer decides. If it has to be repaired, so has all of the pair; if not, a rejected
    answer in Simplified Chinese is part of what the pair teaches.

    Raises:
        Malformed: the policy is to drop it, or its sides are equal once they are repaired.
    """
    answer = (pair.prefix or "") + pair.chosen
    if not language_of(answer).startswith("zh"):
        return pair
    found = guarded(answer, policy)
    if found.fault:
        raise Malformed(*found.fault)
    if found.text == answer:
        return pair

    def repaired(text: str) -> str:
        return guarded(text, policy).text

    whole = replace(
        pair,
        prompt=[
            Message(role=turn["role"], content=repaired(turn["content"])) for turn in pair.prompt
        ],
        prefix=None if pair.prefix is None else repaired(pair.prefix),
        chosen=repaired(pair.chosen),
        rejected=repaired(pair.rejected),
    )
    if whole.chosen.strip() == whole.rejected.strip():
        raise Malformed("equal_sides", "chosen and rejected differ in their script alone")
    return whole


def _read(row: Mapping[str, Any], reward_margin: float) -> Pair:
    if "initial_reason_steps" in row:
        return _step(row)
    if "completions" in row:
        return _ultrafeedback(row)
    for answers, scores, scale in _SCORED:
        if answers in row and scores in row:
            return _best_and_worst(row, answers, scores, scale, reward_margin)
    if "chosen_response" in row:
        prompt = [_asked(row, "instruction")]
        return _rated(
            row, prompt, text_at(row, "chosen_response"), text_at(row, "rejected_response")
        )
    if "chosen" in row and "rejected" in row:
        return _rated(row, *_sides(row))
    raise Malformed("unknown_format", f"no known preference form has keys {keys_of(row)}")


def _rated(row: Mapping[str, Any], prompt: list[Message], chosen: str, rejected: str) -> Pair:
    """A pair of whole answers, with the ratings that its form has."""
    pair = Pair("conversation", prompt, None, chosen, rejected)
    for better, worse, scale in _RATED:
        ratings = [rating(row.get(key), key, scale) for key in (better, worse)]
        if None not in ratings:
            first, second = ratings
            return replace(pair, score_chosen=first, score_rejected=second, judge=scale.judge)
        if ratings != [None, None]:
            raise Malformed("missing_field", f"one of {better!r} and {worse!r} is not there")
    return pair


def _asked(row: Mapping[str, Any], key: str) -> Message:
    return Message(role="user", content=text_at(row, key))


def _sides(row: Mapping[str, Any]) -> tuple[list[Message], str, str]:
    """Prompt and answers of texts, of answers as turns, or of two whole conversations."""
    asked: list[Message] = []
    if isinstance(row.get("prompt"), str):
        asked = [_asked(row, "prompt")]
    elif row.get("prompt") is not None:
        asked = [turn_of(turn)[0] for turn in list_at(row, "prompt")]
    chosen, rejected = (_whole(row, side, asked) for side in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise Malformed("different_prompts", "chosen and rejected answer different prompts")
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]


def _whole(row: Mapping[str, Any], side: str, asked: list[Message]) -> list[Message]:
    """One side as a conversation, after the prompt unless it holds that itself."""
    if isinstance(row[side], str) and not _WRITTEN_TURNS.match(row[side]):
        said = [Message(role="assistant", content=text_at(row, side))]
    else:
        said = [turn_of(turn)[0] for turn in list_at(row, side)]
    if said[0]["role"] == "assistant":
        if not asked:
            raise Malformed("missing_field", f"no prompt, and {side!r} begins with the answer")
        said = [*asked, *said]
    system = said[0]["role"] == "system"
    return alternating(said[system and not said[0]["content"] :], last="assistant")


def rating(value: Any, key: str, scale: Scale) -> float | None:
    """A rating, which may be written as a text; None when there is none.

    Raises:
        Malformed: it is no number, or out of the scale's range.
    """
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or abs(number) > _LARGEST_REWARD:
        raise Malformed("not_a_number", f"{key!r} must be a finite number, not {value!r:.40}")
    if not scale.low <= number <= scale.high:
        raise Malformed(
            "rating_out_of_range", f"{key!r} is {number:g}, not {scale.low:g} to {scale.high:g}"
        )
    return number


def _ultrafeedback(row: Mapping[str, Any]) -> Pair:
    """The best answer against one drawn of those rated lower, by the mean of their aspects.

    The ``overall_score`` of the data set is not looked at, since it contradicts the aspects
    (argilla/ultrafeedback-binarized-preferences, whose pairs are made in the same way). The draw
    follows from the row's content.
    """
    prompt = [_asked(row, "instruction")]
    answers = [
        (mean, text_at(completion, "response"))
        for completion in list_at(row, "completions")
        if (mean := _mean_of_aspects(completion)) is not None
    ]
    if len(answers) < 2:
        raise Malformed("not_rated", f"{len(answers)} of the answers have a rating")
    top, chosen = max(answers, key=lambda answer: answer[0])
    lower = [answer for answer in answers if answer[0] < top]
    if not lower:
        raise Malformed("no_margin", f"all {len(answers)} answers are rated {top:g}")
    drawn = int(content_id("rejected", prompt, answers)[:16], 16) % len(lower)
    score, rejected = lower[drawn]
    return Pair("conversation", prompt, None, chosen, rejected, top, score, GPT_4)


def _mean_of_aspects(completion: Any) -> float | None:
    """The mean of the aspects that are rated; None when none is."""
    notes = completion.get("annotations") if isinstance(completion, Mapping) else None
    if not isinstance(notes, Mapping):
        raise Malformed("malformed_completion", "a completion must be an object with annotations")
    given = []
    for aspect in ASPECTS:
        note = notes.get(aspect)
        value = note.get("Rating") if isinstance(note, Mapping) else None
        if isinstance(value, str) and value.strip().upper() in ("N/A", ""):
            continue
        if (found := rating(value, aspect, _FIVE)) is not None:
            given.append(found)
    return sum(given) / len(given) if given else None


def _best_and_worst(
    row: Mapping[str, Any], answers: str, scores: str, scale: Scale, floor: float
) -> Pair:
    """The answers with the highest and the lowest score; Magpie's own pairs know no margin."""
    asked = next((key for key in ("instruction", "prompt") if key in row), "instruction")
    texts, given = list_at(row, answers), list_at(row, scores)
    if len(texts) != len(given):
        raise Malformed("malformed_scores", f"{len(texts)} answers, but {len(given)} scores")
    rated = [
        (score, plain_text(text, answers))
        for text, value in zip(texts, given, strict=True)
        if (score := rating(_score(value), scores, scale)) is not None
    ]
    if len(rated) < 2:
        raise Malformed("not_rated", f"{len(rated)} of the answers have a score")
    (top, chosen), (least, rejected) = _ends(rated)
    if scale.high == _LARGEST_REWARD and 0 < top - least < floor:
        raise Malformed("margin_below_floor", f"{top - least:.4g} < {floor:g}")
    return Pair(
        "conversation", [_asked(row, asked)], None, chosen, rejected, top, least, scale.judge
    )


def _score(value: Any) -> Any:
    return value.get("score") if isinstance(value, Mapping) else value


def _ends(rated: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], tuple[float, str]]:
    """The best and the worst; the first of equal ones."""
    return max(rated, key=lambda one: one[0]), min(rated, key=lambda one: one[0])


def _step(row: Mapping[str, Any]) -> Pair:
    """A next step against another, after the steps before them (Step-DPO, arXiv:2406.18629)."""
    steps, chosen, rejected = (
        _spaced(row, key) for key in ("initial_reason_steps", "chosen", "rejected")
    )
    prefix, (chosen, rejected) = joined(steps, chosen, rejected, _optional(row, "full_chosen"))
    return Pair("continuation", [_asked(row, "prompt")], prefix, chosen, rejected)


def joined(
    prefix: str, chosen: str, rejected: str, full_chosen: str = ""
) -> tuple[str, tuple[str, str]]:
    """A prefix and two steps that continue it, with the white space that belongs at the joint.

    Both steps begin with the same white space, or the prefix ends with some; so what they have in
    common is no part of the preference. Where the row shows none, the whole solution tells; else a
    label as ``Step 3:`` is followed by a blank, and a finished step by a line feed.

    Args:
        prefix: The steps before, blank for none.
        chosen: The better step.
        rejected: The worse one.
        full_chosen: The solution from the beginning or from the better step on, if known.

    Returns:
        The prefix, the chosen and the rejected step.

    Raises:
        Malformed: the solution does not contain the chosen step where it should.
    """
    head, step = prefix.strip(), chosen.strip()
    if not head:
        return "", (step, rejected.strip())
    gap = _gap_of(head, step, full_chosen.strip())
    if gap is None:
        gap = prefix[len(prefix.rstrip()) :] or chosen[: len(chosen) - len(chosen.lstrip())]
        gap = gap or {":": " ", "：": ""}.get(head[-1], "\n")
    return head + gap, (step, rejected.strip())


def _gap_of(head: str, step: str, full: str) -> str | None:
    """The white space at the joint in a whole solution; None if it does not show the joint."""
    if not full or full.startswith(step):
        return None
    rest = full.removeprefix(head)
    if rest == full or not rest.lstrip().startswith(step):
        raise Malformed("step_not_in_solution", "'full_chosen' is not the prefix with 'chosen'")
    return rest[: len(rest) - len(rest.lstrip())]


def _spaced(row: Mapping[str, Any], key: str) -> str:
    """A text with the white space around it; only the steps before may be blank."""
    value = row.get(key)
    if isinstance(value, str) and key == "initial_reason_steps":
        return visible(value)
    plain_text(value, key)
    return visible(str(value))


def _optional(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return visible(value) if isinstance(value, str) else ""
