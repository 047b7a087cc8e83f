"""Symptoms of a model that is being ruined while its loss looks well, and when they are alarming.

Preference losses fall as long as the margin between two answers grows, also when both become
improbable and the model forgets how to write (eric-mitchell/direct-preference-optimization#36).
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from statistics import median
from typing import NamedTuple

from kyara_kedro.training.options import AlarmOptions

_RECENT, _BEFORE = 10, 20
"""Logged points of which the median is taken: the newest, and those before them."""
_BRIEF = 8
"""Tokens added to lengths before they are compared: a word more is no drift of brief answers."""
_LEAST_LOSS = 0.25
"""Losses below it are not told apart: a training set that is known by heart has noise only."""

_MEANING = {
    "loss": ("the loss is not a number", "lower learning_rate"),
    "grad_norm": ("the gradients are not numbers", "lower learning_rate"),
    "chosen_fall": (
        "chosen answers lose probability (nats a token)",
        "lower learning_rate, raise beta or the weight of losses.sft",
    ),
    "kl": (
        "the model leaves the one it started from (nats a token)",
        "lower learning_rate or epochs, or raise beta",
    ),
    "length_drift": (
        "answers are so many times as long or as short as at the start",
        "look at the lengths of chosen and rejected answers, lower learning_rate or raise beta",
    ),
    "unstopped": (
        "so many more of the answers do not end",
        "check that the data's answers end, lower learning_rate or epochs",
    ),
    "repetition": (
        "so much more of the answers repeats itself",
        "lower learning_rate or epochs",
    ),
    "loss_spike": ("the loss is so many times what it was", "lower learning_rate"),
    "gradient_spike": (
        "the gradients are so many times what they were",
        "lower learning_rate or max_grad_norm",
    ),
}


class Alarm(NamedTuple):
    """A symptom that has gone beyond a limit."""

    step: int
    symptom: str
    value: float
    limit: float
    severe: bool

    def __str__(self) -> str:
        meaning, advice = _MEANING[self.symptom]
        beyond = f" (limit {self.limit:g})" if math.isfinite(self.value) else ""
        return (
            f"{self.symptom} is {self.value:.3g} at step {self.step}{beyond}: {meaning}; {advice}"
        )


class Measures(NamedTuple):
    """What some answers are like.

    Attributes:
        answer_tokens: Their mean length, without their ends.
        unstopped: Share of those that do not end.
        repetition: Mean share of their runs of four characters that occur before.
        kl: Nats a token by which the first answers have become less probable.
    """

    answer_tokens: float
    unstopped: float
    repetition: float
    kl: float = 0.0


class Preference(NamedTuple):
    """What is known of a preference stage: its beta, and the mean tokens of its chosen answers."""

    beta: float
    chosen_tokens: float


class Vitals:
    """Tells how a training is from what is logged of it and from answers on the way.

    Args:
        options: The limits.
        max_grad_norm: Norm below which gradients are never alarming, since they are not clipped.
        preference: What is known of a preference stage; None for a supervised one, in which
            lengths and probabilities of answers are meant to change.
    """

    def __init__(
        self, options: AlarmOptions, max_grad_norm: float, preference: Preference | None
    ) -> None:
        self._options = options
        self._floors = {"loss": _LEAST_LOSS, "grad_norm": max_grad_norm}
        self._preference = preference
        self._points: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT + _BEFORE))

    def logged(self, step: int, logs: Mapping[str, float]) -> list[Alarm]:
        """Judge what the trainer logs of a step."""
        alarms = [
            Alarm(step, name, logs[name], math.inf, severe=True)
            for name in self._floors
            if name in logs and not math.isfinite(logs[name])
        ]
        return alarms or self._judged(step, dict(self._logged_symptoms(logs)))

    def _logged_symptoms(self, logs: Mapping[str, float]) -> Iterator[tuple[str, float]]:
        for name, symptom in (("loss", "loss_spike"), ("grad_norm", "gradient_spike")):
            if name in logs:
                yield symptom, self._spike(name, logs[name])
        if self._preference and "rewards/chosen" in logs:
            fall = chosen_fall(logs, self._preference)
            yield "chosen_fall", median(self._recent("chosen_fall", fall))

    def _recent(self, name: str, value: float) -> list[float]:
        self._points[name].append(value)
        return list(self._points[name])[-_RECENT:]

    def _spike(self, name: str, value: float) -> float:
        """How many times what it was a value is, by medians; 1 until enough is known."""
        recent = self._recent(name, value)
        before = list(self._points[name])[:-_RECENT]
        if len(before) < _RECENT:
            return 1.0
        return median(recent) / max(median(before), self._floors[name])

    def probed(self, step: int, now: Measures, start: Measures, data: Measures) -> list[Alarm]:
        """Judge answers on the way.

        Args:
            step: When they were written.
            now: What they are like.
            start: What the answers before the first step were like.
            data: What the data's own answers to the same prompts are like.
        """
        symptoms = {
            "unstopped": now.unstopped - max(start.unstopped, data.unstopped),
            "repetition": now.repetition - max(start.repetition, data.repetition),
        }
        if self._preference:
            lengths = now.answer_tokens + _BRIEF, start.answer_tokens + _BRIEF
            symptoms |= {"kl": now.kl, "length_drift": max(lengths) / min(lengths)}
        return self._judged(step, symptoms)

    def _judged(self, step: int, symptoms: Mapping[str, float]) -> list[Alarm]:
        alarms = []
        for symptom, value in symptoms.items():
            limits = getattr(self._options, symptom)
            severe = limits.stop is not None and value > limits.stop
            if value > limits.warn:
                limit = limits.stop if severe else limits.warn
                alarms.append(Alarm(step, symptom, value, limit, severe))
        return alarms


def chosen_fall(logs: Mapping[str, float], preference: Preference) -> float:
    """Nats a token by which chosen answers are less probable than at the start.

    TRL's reward is beta times the logarithm of how many times as probable an answer is, so the
    rows of a batch are compared with themselves, whatever their lengths.
    """
    return -logs["rewards/chosen"] / preference.beta / preference.chosen_tokens
