"""Requests that a model makes up by itself, and its answers (Magpie, arXiv:2406.08464)."""

from collections.abc import Sequence

from kyara_kedro.content import content_id
from kyara_kedro.pipelines.asking import Fault, assistant, fault, synthetic, user
from kyara_kedro.pipelines.synthesize.desk import Desk, chain
from kyara_kedro.pipelines.synthesize.harvest import Basket
from kyara_kedro.teachers.base import Completion, complete
from kyara_kedro.teachers.magpie import pre_query, stops
from kyara_kedro.text.fold import match_key
from kyara_kedro.text.normalise import normalise
from kyara_kedro.text.script import language_of
from kyara_kedro.text.taiwan import to_taiwan

_LONGEST = 512
"""Tokens of a request; a longer one is cut, and dropped."""


def draw_requests(desk: Desk, numbers: Sequence[int], basket: Basket, seen: set[str]) -> None:
    """Let the model write users' turns, then answer them.

    Args:
        desk: The writer is the model that is drawn from.
        numbers: Samples of the empty user's turn.
        basket: Takes the conversations.
        seen: Match keys of the requests so far; a request is taken once.
    """
    params = desk.params.magpie
    opening = pre_query(params.template, params.system)
    version = f"magpie@{content_id(opening)[:8]}"
    attempts = {content_id("magpie", opening, number): number for number in numbers}
    drawn = desk.write(
        [
            complete(
                name,
                "magpie_query",
                opening,
                language="zh-TW",
                prompt_version=version,
                sample=number,
                temperature=params.temperature,
                top_p=params.top_p,
                max_tokens=_LONGEST,
                stop=stops(params.template),
            )
            for name, number in attempts.items()
        ],
        "made-up requests",
    )
    asked: dict[str, tuple[str, str, Completion]] = {}
    for name, completion in drawn.items():
        text = normalise(completion.text).strip()
        if desk.params.simplified == "convert" and language_of(text) == "zh-Hans-CN":
            text = to_taiwan(text, written_by_model=True).text
        language = language_of(text)
        why = fault(completion) or _unfit(desk, text, language, seen)
        text, why = (text, why) if why else desk.reviewed(text, language, completion)
        if why:
            basket.drop(name, why)
        else:
            seen.add(match_key(text))
            asked[name] = text, language, completion
    replies = desk.write(
        [
            desk.ask(name, "respond", language, prompt=text, documents=[])
            for name, (text, language, _) in asked.items()
        ],
        "answers to made-up requests",
    )
    for name, (text, language, completion) in asked.items():
        answer, why = desk.answered(replies[name], language)
        if why:
            basket.drop(name, why)
            continue
        turns = [user(text), assistant(answer)]
        basket.put(
            name,
            synthetic(
                turns,
                "magpie",
                language,
                replies[name],
                [f"{version}#{attempts[name]}"],
                params.licence,
                calls=chain(completion),
            ),
        )


def _unfit(desk: Desk, text: str, language: str, seen: set[str]) -> Fault | None:
    low, high = desk.params.magpie.chars
    if not low <= len(text) <= high:
        return "request_length", f"{len(text)} characters: {text[:40]}"
    if language not in desk.params.languages:
        return "language_not_wanted", f"{language}: {text[:40]}"
    if match_key(text) in seen:
        return "repeated", f"made up before: {text[:40]}"
    return None
