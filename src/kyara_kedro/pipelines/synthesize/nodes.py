"""One node a strategy; every attempt becomes a conversation or a drop."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.knowledge.quality import retrieval_quality
from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.balance import BalanceError
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf
from kyara_kedro.pipelines.synthesize.dialogue import hold_dialogues, openings
from kyara_kedro.pipelines.synthesize.document import write_prompts
from kyara_kedro.pipelines.synthesize.harvest import (
    Basket,
    Row,
    Stop,
    drawn_order,
    drop_table,
    gather,
)
from kyara_kedro.pipelines.synthesize.injection import Injection, not_asked
from kyara_kedro.pipelines.synthesize.magpie import draw_requests
from kyara_kedro.pipelines.synthesize.mathematics import pose_problems
from kyara_kedro.pipelines.synthesize.strategy import Sources
from kyara_kedro.pipelines.synthesize.told import answer_as_told
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import CONVERSATION, DROP, MATH_PROBLEM, QUESTION
from kyara_kedro.teachers.base import Teacher
from kyara_kedro.text.leaks import LeakReport

logger = logging.getLogger("kyara_kedro")
T = TypeVar("T")
Tally = dict[str, Any]
Strategy = tuple[pl.DataFrame, pl.DataFrame, Tally]

STRATEGIES = ("knowledge", "rag", "document", "math", "dialogue", "told", "magpie")
"""The flows whose rows are conversations."""
_MEASURED = 5_000
"""Questions that retrieval is measured by, which come in random order."""
_MAGPIE_ATTEMPTS = 8
"""Requests drawn for each conversation wanted, at most."""


def inject_knowledge(
    passages: pl.DataFrame,
    earlier_references: pl.DataFrame,
    knowledge_base: KnowledgeStore,
    writer: Teacher,
    checker: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> tuple[
    pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame, Tally
]:
    """Ask what passages answer, find what else is known about it, and answer with and without.

    Returns:
        Questions, search queries, references, conversations without and with references, drops,
        and the tally, with the quality of retrieval and of citations.
    """
    desk = _desk(writer, checker, prompts, params, params.knowledge.share)
    shelf = Shelf(passages, "passage_id", "passages")
    injection = Injection(desk, shelf, knowledge_base, earlier_references)
    ended_by = injection.run(passages["passage_id"].to_list())
    baskets = [
        injection.asked,
        injection.questions,
        injection.evolutions,
        injection.knowledge,
        injection.rag,
    ]
    roots = injection.questions.table(QUESTION)
    questions = pl.concat([roots, injection.evolutions.table(QUESTION)])
    queries, references = injection.grounds.tables()
    retrieval = retrieval_quality(
        knowledge_base,
        roots["text"].head(_MEASURED).to_list(),
        roots["passage_ids"].head(_MEASURED).to_list(),
        params.references.passages,
    )
    if advice := retrieval.get("advice"):
        logger.warning("retrieval: %s", advice)
    tally = _tally(desk, baskets, ended_by) | {
        "retrieval": retrieval,
        "citations": injection.citer.quality(),
    }
    return (
        questions,
        queries,
        references,
        injection.knowledge.table(CONVERSATION),
        injection.rag.table(CONVERSATION),
        drop_table(baskets),
        tally,
    )


def write_document_conversations(
    documents: pl.DataFrame,
    passages: pl.DataFrame,
    knowledge_base: KnowledgeStore,
    writer: Teacher,
    checker: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> Strategy:
    """Write the prompt whose answer a document is, and pair them."""
    desk = _desk(writer, checker, prompts, params, params.document.share)
    shelf, by_passage = (
        Shelf(documents, "id", "documents"),
        Shelf(passages, "passage_id", "passages"),
    )
    basket = Basket("document", params.document.target)

    def ask(names: Sequence[str]) -> None:
        found = [shelf[name] for name in names]
        write_prompts(desk, found, by_passage, knowledge_base, basket)

    return _strategy(desk, basket, drawn_order(shelf.names, "document"), ask)


def write_math_conversations(
    personas: pl.DataFrame,
    writer: Teacher,
    checker: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, Tally]:
    """Let personas pose problems; keep those whose solutions agree.

    Returns:
        Conversations, all problems with their votes, drops and the tally.
    """
    desk = _desk(writer, checker, prompts, params, params.math.share)
    shelf, basket = Shelf(personas, "id", "personas"), Basket("math", params.math.target)
    problems: dict[str, Row] = {}

    def ask(names: Sequence[str]) -> None:
        pose_problems(desk, [shelf[name] for name in names], basket, problems)

    rows, dropped, tally = _strategy(desk, basket, drawn_order(shelf.names, "math"), ask)
    return rows, MATH_PROBLEM.frame(problems.values()), dropped, tally


def write_dialogue_conversations(
    questions: pl.DataFrame,
    passages: pl.DataFrame,
    writer: Teacher,
    checker: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> Strategy:
    """Talk about passages over several rounds."""
    desk = _desk(writer, checker, prompts, params, params.dialogue.share)
    return _begun("dialogue", params.dialogue.target, desk, questions, passages, hold_dialogues)


def write_told_conversations(
    questions: pl.DataFrame,
    passages: pl.DataFrame,
    writer: Teacher,
    checker: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> Strategy:
    """Answer questions under system prompts, one question a passage."""
    desk = _desk(writer, checker, prompts, params, params.told.share)
    return _begun("told", params.told.target, desk, questions, passages, answer_as_told)


def write_magpie_conversations(
    magpie: Teacher, prompts: PromptLibrary, params: SynthesizeParams
) -> Strategy:
    """Let a model make up requests, and answer them."""
    desk = _desk(magpie, magpie, prompts, params, params.magpie.share)
    basket = Basket("magpie", params.magpie.target)
    seen: set[str] = set()

    def ask(numbers: Sequence[int]) -> None:
        draw_requests(desk, numbers, basket, seen)

    why, _ = gather(
        "magpie", range(_MAGPIE_ATTEMPTS * params.magpie.target), [basket], _until_spent(desk, ask)
    )
    return basket.table(CONVERSATION), drop_table([basket]), _tally(desk, [basket], why)


def write_own_conversations(
    documents: pl.DataFrame,
    passages: pl.DataFrame,
    questions: pl.DataFrame,
    personas: pl.DataFrame,
    writer: Teacher,
    checker: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> Strategy:
    """Let the strategies of the user's own write, one after the other.

    Raises:
        UserError: a strategy has not brought every seed to an end.
    """
    sources = Sources(
        Shelf(documents, "id", "documents"),
        Shelf(passages, "passage_id", "passages"),
        Shelf(questions.filter(pl.col("operation") == "none"), "id", "questions"),
        Shelf(personas, "id", "personas"),
    )
    leaks = LeakReport()
    done: list[Strategy] = []
    for name, own in params.own.items():
        desk = _desk(writer, checker, prompts, params, own.share)
        desk.leaks = leaks
        done.append(_own_strategy(desk, name, sources))
    rows, dropped, tallies = zip(*done, strict=True) if done else ((), (), ())
    flows = {name: flow for one in tallies for name, flow in one["flows"].items()}
    return (
        pl.concat([CONVERSATION.frame(), *rows]),
        pl.concat([DROP.frame(), *dropped]),
        {"flows": flows, "leaks": leaks.summary()},
    )


def _own_strategy(desk: Desk, name: str, sources: Sources) -> Strategy:
    own = desk.params.own[name]
    shelf: Shelf = getattr(sources, own.seeds)
    seeds = {content_id(name, seed): seed for seed in shelf.names}
    basket = Basket(name, own.target)

    def ask(attempts: Sequence[str]) -> None:
        before = basket.attempts
        chosen = {attempt: shelf[seeds[attempt]] for attempt in attempts}
        own.function.call(desk, chosen, sources, basket)
        if (ended := basket.attempts - before) != len(attempts):
            raise UserError(
                f"synthesize.own.{name}: {own.function.name} was given {len(attempts):,} "
                f"{own.seeds} and ended {ended:,}; each has to be put into the basket or dropped, "
                "once"
            )

    return _strategy(desk, basket, drawn_order(list(seeds), name), ask)


def merge_conversations(*strategies: pl.DataFrame) -> pl.DataFrame:
    """Put the strategies' conversations into one table, ordered by id."""
    return pl.concat(strategies).sort("id")


def close_synthesize(
    passages: pl.DataFrame,
    documents: pl.DataFrame,
    personas: pl.DataFrame,
    questions: pl.DataFrame,
    conversations: pl.DataFrame,
    knowledge: Tally,
    document: Tally,
    math: Tally,
    dialogue: Tally,
    told: Tally,
    magpie: Tally,
    own: Tally,
    knowledge_drops: pl.DataFrame,
    document_drops: pl.DataFrame,
    math_drops: pl.DataFrame,
    dialogue_drops: pl.DataFrame,
    told_drops: pl.DataFrame,
    magpie_drops: pl.DataFrame,
    own_drops: pl.DataFrame,
) -> tuple[pl.DataFrame, Tally, dict[str, Any]]:
    """Merge the drops and check the counts against the tables.

    Returns:
        The drops, the counts by flow with the quality of retrieval and citations, and what the
        replies leaked by strategy and teacher.

    Raises:
        BalanceError: something was lost or counted twice.
    """
    tallies = {
        "knowledge": (knowledge, knowledge_drops),
        "document": (document, document_drops),
        "math": (math, math_drops),
        "dialogue": (dialogue, dialogue_drops),
        "told": (told, told_drops),
        "magpie": (magpie, magpie_drops),
        "own": (own, own_drops),
    }
    flows: dict[str, Tally] = {
        name: flow for one, _ in tallies.values() for name, flow in one["flows"].items()
    }
    strategies = (*STRATEGIES, *own["flows"])
    spoken_about = (
        questions.filter(pl.col("operation") == "none")["passage_ids"].list.first().n_unique()
    )
    for name, entered in {
        "passages": passages.height,
        "document": documents.height,
        "math": personas.height,
        "dialogue": spoken_about,
        "told": spoken_about,
    }.items():
        _equal(f"{name}: entered", flows[name]["in"], entered)
    for name, flow in flows.items():
        _equal(f"{name}: out and dropped", flow["out"] + sum(flow["dropped"].values()), flow["in"])
    for one, table in tallies.values():
        counted = sum(sum(flow["dropped"].values()) for flow in one["flows"].values())
        _equal(f"drops of {', '.join(one['flows'])}", counted, table.height)
    written = sum(flows[name]["out"] for name in strategies)
    _equal("conversations", conversations.height, written)
    _equal("questions", questions.height, flows["questions"]["out"] + flows["evolutions"]["out"])
    leaks = {name: one["leaks"] for name, (one, _) in tallies.items()}
    summary = flows | {
        "total": {"attempts": sum(flows[name]["in"] for name in strategies), "written": written},
        "retrieval": knowledge["retrieval"],
        "citations": knowledge["citations"],
    }
    drops = pl.concat([DROP.frame(), *(table for _, table in tallies.values())])
    return drops, summary, leaks


def _desk(
    writer: Teacher,
    checker: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
    share: float | None,
) -> Desk:
    portion = writer.portion(share)
    if share is not None and portion is writer and writer.kind == "llm":
        logger.warning("share %s: %s has no budget to take a share of", share, writer.name)
    other = portion if checker is writer else checker.portion(share)
    return Desk(portion, other, prompts, params)


def _begun(
    name: str,
    target: int | None,
    desk: Desk,
    questions: pl.DataFrame,
    passages: pl.DataFrame,
    go_on: Callable[[Desk, Mapping[str, Row], Shelf, Basket], None],
) -> Strategy:
    """Gather from root questions, with which conversations about their passages begin."""
    begun = openings(questions, name)
    shelf, basket = Shelf(passages, "passage_id", "passages"), Basket(name, target)

    def ask(attempts: Sequence[str]) -> None:
        go_on(desk, {attempt: begun[attempt] for attempt in attempts}, shelf, basket)

    return _strategy(desk, basket, drawn_order(list(begun), name), ask)


def _strategy(
    desk: Desk, basket: Basket, names: Sequence[str], ask: Callable[[Sequence[str]], None]
) -> Strategy:
    """Gather from records, each of which is one attempt."""
    why, left = gather(basket.name, names, [basket], _until_spent(desk, ask))
    for name in left:
        basket.drop(name, not_asked(why))
    return basket.table(CONVERSATION), drop_table([basket]), _tally(desk, [basket], why)


def _until_spent(desk: Desk, ask: Callable[[Sequence[T]], None]) -> Callable[[Sequence[T]], bool]:
    def wave(seeds: Sequence[T]) -> bool:
        ask(seeds)
        return not desk.spent

    return wave


def _tally(desk: Desk, baskets: Sequence[Basket], ended_by: Stop) -> Tally:
    flows = {
        basket.name: basket.flow()
        | {"target": None if basket.open_ended else basket.target, "ended_by": ended_by}
        for basket in baskets
    }
    return {"flows": flows, "leaks": desk.leaks.summary()}


def _equal(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise BalanceError(f"synthesize, {what}: {found} instead of {expected}")
