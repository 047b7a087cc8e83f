"""Judged answers: contestants answer prompts, judges compare the answers, the best make pairs."""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Trial
from kyara_kedro.judging.contest import assignment
from kyara_kedro.judging.ratings import contestant_ratings
from kyara_kedro.judging.reliability import (
    labelled_reliability,
    rated_reliability,
    reliability,
    side_ids,
    warnings,
)
from kyara_kedro.judging.round_robin import PairOptions, preference_pairs
from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.asking import (
    Duel,
    Fault,
    Side,
    about,
    answers,
    fault,
    judgements,
    prompt_language,
    user,
    verdicts,
)
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.pipelines.tuned import tuned_request, tuned_teacher
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.records import CANDIDATE, drops
from kyara_kedro.reporting.judges_page import judges_page
from kyara_kedro.teachers.base import Teacher, ask
from kyara_kedro.teachers.families import family_of
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.panel import Panel
from kyara_kedro.training.loading import load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef

logger = logging.getLogger("kyara_kedro")
PIPELINE = "preference"


class _Attempt(NamedTuple):
    """What a contestant said to a prompt, or why it said nothing."""

    prompt_id: str
    contestant: str
    text: str
    failure: Fault | None


def collect_responses(
    prompts: pl.DataFrame,
    passages: pl.DataFrame,
    knowledge_base: KnowledgeStore,
    contestants: Panel,
    prompt_library: PromptLibrary,
    sft_base_model: ModelRef,
    sft_refine_model: ModelRef,
    self_play_ledger: Ledger,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame, int, dict[str, Any]]:
    """Let some of the contestants answer each prompt.

    All answers go through a ledger, those of the models tuned here too: what a run that is started
    again judges is what it judged before. A contestant that cannot be reached leaves a gap, which
    is told; the others go on. Equal answers to one prompt count once.

    Returns:
        The answers, a drop for each contestant's failure, the number of attempts, and what became
        of each contestant.

    Raises:
        UserError: there are fewer than two contestants, two have the same name, or none answers.
    """
    prompts = prompts.filter(pl.col("language").is_in(list(params.languages)))
    models = {"sft_base": sft_base_model, "sft_refine": sft_refine_model}
    tuned = {str(name): models[name] for name in params.tuned}
    names = [*contestants.direct, *tuned]
    _check_contestants(names)
    drawn = assignment(prompts["id"].to_list(), names, params.contestants)
    mine = {name: prompts.filter(pl.Series(drawn[:, i])) for i, name in enumerate(names)}
    panel = contestants.going_on()
    grounds = _grounds(prompts, passages, knowledge_base, params.references)
    attempts = [
        *_asked(panel, {name: mine[name] for name in panel.direct}, grounds, prompt_library),
        *(
            one
            for name, model in tuned.items()
            for one in _generated(name, model, mine[name], self_play_ledger, params)
        ),
    ]
    if panel.gaps and all(attempt.failure for attempt in attempts):
        raise UserError(f"no contestant answers: {next(iter(panel.gaps.values()))}")
    who = {name: (one.name, one.family) for name, one in contestants.direct.items()}
    who |= {name: (name, family_of(model.base)) for name, model in tuned.items()}
    table, dropped = _candidates(attempts, prompts, who, params)
    answered = Counter(table["contestant"].to_list())
    summary = {
        name: {
            "teacher": who[name][0],
            "family": who[name][1],
            "grounded": name in contestants.grounded,
            "asked": mine[name].height,
            "answered": answered[name],
            "out_of_reach": panel.gaps.get(name),
        }
        for name in names
    }
    for name, why in panel.gaps.items():
        asked = mine[name].height
        logger.warning(
            "contestant %s: %d of its %d prompts are without its answer: %s",
            *(name, asked - answered[name], asked, why),
        )
    return table, drops(PIPELINE, dropped), len(attempts), {"contestants": summary}


def judge_responses(
    candidate_responses: pl.DataFrame,
    judge: Teacher,
    prompt_library: PromptLibrary,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Judge every two answers to one prompt in both orders.

    Returns:
        Verdicts, a drop for each duel that was not judged, and the number of both.
    """
    found = verdicts(
        judge,
        prompt_library,
        _duels(candidate_responses),
        "verdicts",
        judges=params.judges,
        allow_own_family=params.allow_own_family,
    )
    return found.table, drops(PIPELINE, found.dropped), found.tried


def pair_responses(
    prompts: pl.DataFrame,
    candidate_responses: pl.DataFrame,
    judged: pl.DataFrame,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take the best and the worst answer to each prompt (RLAIF), where the margin is wide enough.

    Returns:
        Pairs, and a drop for each prompt that gives none.
    """
    options = PairOptions(margin=params.margin, length_controlled=params.length_controlled)
    found = preference_pairs(candidate_responses, judged, options)
    unanswered = prompts.filter(~pl.col("id").is_in(candidate_responses["prompt_id"].to_list()))
    missing = [
        (row_id, "no_answer", "no contestant answered")
        if language in params.languages
        else (row_id, "language_not_wanted", language)
        for row_id, language in unanswered.select("id", "language").iter_rows()
    ]
    return found.pairs, drops(PIPELINE, [*found.drops.iter_rows(), *missing])


def rate_contestants(
    candidate_responses: pl.DataFrame, judged: pl.DataFrame, params: PreferenceParams
) -> pl.DataFrame:
    """Rate the contestants by Bradley and Terry's model, with intervals over prompts."""
    return contestant_ratings(
        candidate_responses, judged, resamples=params.resamples, seed=params.sampling.seed
    )


def judge_labelled(
    labelled_pairs: pl.DataFrame,
    judge: Teacher,
    prompt_library: PromptLibrary,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Judge what people have judged, in both orders.

    Returns:
        Verdicts, and a drop for each duel that was not judged.
    """
    duels = []
    for row in labelled_pairs.sort("id").iter_rows(named=True):
        first_id, second_id = side_ids(row["id"])
        sides = (
            Side(first_id, row["first"], row["first_contestant"]),
            Side(second_id, row["second"], row["second_contestant"]),
        )
        duels += [Duel(row["id"], row["prompt"], *order) for order in permutations(sides)]
    found = verdicts(judge, prompt_library, duels, "labelled duels", judges=params.judges)
    table = drops(PIPELINE, found.dropped)
    close([Flow("labelled", found.tried, found.table.height, table)])
    return found.table, table


def rate_labelled(
    labelled_ratings: pl.DataFrame,
    judge: Teacher,
    prompt_library: PromptLibrary,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rate what people have scored, as MT-Bench's judges do. Rules cannot, and are not asked.

    Returns:
        Judgements, and a drop for each answer that the judge gave no reply to.
    """
    if "rules" in {one.kind for one in Panel.of(judge).direct.values()}:
        if not labelled_ratings.is_empty():
            logger.warning(
                "labelled ratings: none of the %s answers is rated, for rules cannot: name a model "
                "as the catalog's 'judge'",
                f"{labelled_ratings.height:,}",
            )
        labelled_ratings = labelled_ratings.clear()
    trials = (
        Trial(
            benchmark=row["data_set"],
            item_id=row["id"],
            model=row["contestant"],
            task="judge_mt_bench",
            language=prompt_language(row["language"]),
            inputs={
                "turns": [{"question": row["prompt"], "answer": row["answer"]}],
                "references": [row["reference"]] if row["reference"] else [],
            },
            chars=len(row["answer"]),
        )
        for row in labelled_ratings.sort("id").iter_rows(named=True)
    )
    found = judgements(judge, prompt_library, trials, "labelled ratings", judges=params.judges)
    table = drops(PIPELINE, found.dropped)
    close([Flow("ratings", found.tried, found.table.height, table)])
    return found.table, table


def measure_judges(
    judged: pl.DataFrame,
    labelled_pairs: pl.DataFrame,
    labelled_verdicts: pl.DataFrame,
    labelled_ratings: pl.DataFrame,
    labelled_judgements: pl.DataFrame,
    params: PreferenceParams,
) -> pl.DataFrame:
    """Measure how far each judge can be trusted, and say what is wrong with it."""
    draws: dict[str, Any] = {"resamples": params.resamples, "seed": params.sampling.seed}
    found = pl.concat(
        [
            reliability(judged, **draws),
            labelled_reliability(labelled_pairs, labelled_verdicts, **draws),
            rated_reliability(labelled_ratings, labelled_judgements, **draws),
        ]
    )
    for line in warnings(found):
        logger.warning(line)
    return found


def draw_judges(
    judge_reliability: pl.DataFrame,
    ratings: pl.DataFrame,
    judged: pl.DataFrame,
    candidate_responses: pl.DataFrame,
    contest_summary: dict[str, Any],
) -> str:
    """Draw the page of the judges and the contestants."""
    return judges_page(
        judge_reliability,
        ratings,
        judged,
        candidate_responses,
        contest_summary["contestants"],
        warnings(judge_reliability),
    )


def _check_contestants(names: list[str]) -> None:
    if len(names) < 2:
        raise UserError(
            f"there is one contestant, {names[0] if names else 'or none'}: add another one to "
            "'contestants' in the catalog, or a model to preference.tuned"
        )
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise UserError(
            f"two contestants are called {twice[0]!r}: rename the one in the catalog's "
            "'contestants', or take the model out of preference.tuned"
        )


def _asked(
    panel: Panel,
    mine: dict[str, pl.DataFrame],
    grounds: dict[str, list[dict[str, str]]],
    prompt_library: PromptLibrary,
) -> Iterator[_Attempt]:
    """Ask the members of a panel for their prompts, all at once."""
    requests = [
        ask(
            prompt_library,
            f"{row['id']}:{name}",
            "respond",
            row["language"],
            prompt=row["text"],
            documents=grounds.get(row["id"], []) if name in panel.grounded else [],
        )
        for name, prompts in mine.items()
        for row in prompts.iter_rows(named=True)
    ]
    for row_id, found in answers(panel, requests, "answers of the contestants").items():
        prompt_id, _, name = row_id.partition(":")
        yield _Attempt(prompt_id, name, found.text, fault(found))


def _generated(
    name: str, model: ModelRef, prompts: pl.DataFrame, ledger: Ledger, params: PreferenceParams
) -> Iterator[_Attempt]:
    options, tokenizer = params.sampling, load_tokenizer(model)
    requests = [
        tuned_request(
            row_id,
            tokenizer,
            [user(text)],
            "contest",
            sample=options.seed,
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=options.max_new_tokens,
        )
        for row_id, text in prompts.select("id", "text").iter_rows()
    ]
    with quiet(options.threads):
        teacher = tuned_teacher(model, "contestant", options.batch_size, ledger)
        written = answers(teacher, requests, f"answers of {name}")
    for row_id, found in written.items():
        yield _Attempt(row_id, name, found.text, fault(found))


def _candidates(
    attempts: list[_Attempt],
    prompts: pl.DataFrame,
    who: dict[str, tuple[str, str]],
    params: PreferenceParams,
) -> tuple[pl.DataFrame, list[tuple[str, str, str]]]:
    """Table of ``records.CANDIDATE``, and (id, reason, detail) of every attempt without a row."""
    texts = dict(prompts.select("id", "text").iter_rows())
    rows: dict[str, dict[str, Any]] = {}
    dropped: list[tuple[str, str, str]] = []
    for prompt_id, contestant, response, failure in attempts:
        attempt = content_id("response", contestant, prompt_id)
        row_id = content_id("candidate", prompt_id, response)
        if failure:
            dropped.append((attempt, *about(f"{contestant}, prompt", prompt_id, failure)))
        elif not response.strip():
            said = "blank", f"{contestant} said nothing"
            dropped.append((attempt, *about("prompt", prompt_id, said)))
        elif row_id in rows:
            dropped.append((attempt, "repeated", f"same as {rows[row_id]['contestant']}: {row_id}"))
        else:
            teacher, family = who[contestant]
            rows[row_id] = {
                "id": row_id,
                "prompt_id": prompt_id,
                "messages": [user(texts[prompt_id])],
                "response": response,
                "contestant": contestant,
                "teacher": teacher,
                "family": family,
                "licence": params.licence,
            }
    return CANDIDATE.frame(rows.values()), dropped


def _grounds(
    prompts: pl.DataFrame, passages: pl.DataFrame, store: KnowledgeStore, limit: int
) -> dict[str, list[dict[str, str]]]:
    ids = prompts["id"].to_list()
    hits = store.search(prompts["text"].to_list(), limit).join(
        passages.select("passage_id", "title", "text"), on="passage_id"
    )
    grounds: dict[str, list[dict[str, str]]] = {}
    for row in hits.sort("query", "rank").iter_rows(named=True):
        document = {name: row[name] for name in ("passage_id", "title", "text")}
        grounds.setdefault(ids[row["query"]], []).append(document)
    return grounds


def _duels(candidates: pl.DataFrame) -> Iterator[Duel]:
    ordered = candidates.sort("prompt_id", "id")
    for (prompt_id,), group in ordered.group_by("prompt_id", maintain_order=True):
        prompt = group["messages"][0][-1]["content"]
        sides = map(Side._make, group.select("id", "response", "contestant", "family").rows())
        for first, second in permutations(sides, 2):
            yield Duel(str(prompt_id), prompt, first, second)
