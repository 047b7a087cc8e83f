"""Conversations under a system prompt whose constraints code can check."""

from collections.abc import Mapping

from kyara_kedro.content import Message
from kyara_kedro.pipelines.asking import about, assistant, synthetic, user
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf, chain, shown
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.pipelines.synthesize.knowledge import parents_of
from kyara_kedro.pipelines.synthesize.support import another_answer, unsupported
from kyara_kedro.prompts.library import template_language
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.tasks import SystemPrompt
from kyara_kedro.text.constraints import Constraint, draw


def answer_as_told(
    desk: Desk, openings: Mapping[str, Row], passages: Shelf, basket: Basket
) -> None:
    """Write a system prompt with drawn constraints for each question, and answer under it.

    An answer is kept when it holds every constraint and its passage supports it.
    """
    seeds: dict[str, tuple[Row, Row, tuple[Constraint, ...]]] = {}
    for name, question in openings.items():
        passage = passages[question["passage_ids"][0]]
        seeds[name] = question, passage, draw(name, template_language(question["language"]))
    written: dict[str, tuple[str, Completion]] = {}
    requests = [
        desk.ask(
            name,
            "write_system_prompt",
            question["language"],
            title=passage["title"],
            text=passage["text"],
            constraints=[one.wording(name) for one in constraints],
        )
        for name, (question, passage, constraints) in seeds.items()
    ]
    for name, completion in desk.write(requests, "system prompts").items():
        said = completion.parsed.system if isinstance(completion.parsed, SystemPrompt) else ""
        text, why = desk.reviewed(said, seeds[name][0]["language"], completion)
        unsaid = [one.wording(name) for one in seeds[name][2] if not one.is_named(text)]
        if not why and unsaid:
            why = "constraint_not_stated", f"not in the system prompt: {unsaid[0]}"
        if why:
            basket.drop(name, about("question", seeds[name][0]["id"], why))
        else:
            written[name] = text, completion
    answers = desk.write(
        [
            desk.ask(
                name,
                "answer_as_told",
                seeds[name][0]["language"],
                system=system,
                question=seeds[name][0]["text"],
                documents=[shown(seeds[name][1])],
            )
            for name, (system, _) in written.items()
        ],
        "answers as told",
    )
    for name, (system, told_by) in written.items():
        question, passage, constraints = seeds[name]
        text, why = desk.answered(answers[name], question["language"])
        broken = [one.wording(name) for one in constraints if not one.holds(text)]
        if not why and broken:
            why = "constraint_broken", f"not held: {broken[0]}: {text[:40]}"
        why = (
            why
            or another_answer(text, question)
            or unsupported(text, question, [passage], desk.params.told.support)
        )
        if why:
            basket.drop(name, about("question", question["id"], why))
            continue
        row = synthetic(
            [Message(role="system", content=system), user(question["text"]), assistant(text)],
            "told",
            question["language"],
            answers[name],
            parents_of(question, question["id"], passages),
            passage["licence"],
            [passage["passage_id"]],
            chain(question["calls"], told_by),
        )
        basket.put(name, row)
