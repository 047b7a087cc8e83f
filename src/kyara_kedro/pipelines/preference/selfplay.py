"""The tuned model against the corpus (SPIN) and against itself (SPPO)."""

import logging
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.statistics import wilson
from kyara_kedro.judging import round_robin
from kyara_kedro.judging.self_play import (
    SPIN,
    SPPO,
    answer_key,
    prompt_key,
    spin_pairs,
    sppo_pairs,
    unusable,
    win_probabilities,
)
from kyara_kedro.params import PreferenceParams, SelfPlayParams
from kyara_kedro.pipelines.asking import Duel, Side, answers, assistant, verdicts
from kyara_kedro.pipelines.tuned import tuned_request, tuned_teacher
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.quality.scorers import JudgeOptions, Scorer, local_scorer
from kyara_kedro.records import CANDIDATE, DROP, GENERATION, PREFERENCE, drops
from kyara_kedro.teachers.base import Teacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import LanguageModel
from kyara_kedro.training.likelihood import answer_lengths, log_likelihoods
from kyara_kedro.training.loading import load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef, find_model

logger = logging.getLogger("kyara_kedro")
PIPELINE = "preference"
_STEP = 64
"""Limits are multiples of this, so that one longer row does not make all answers anew."""
_ADVICE = {
    "stop": "stop, another iteration has nothing to learn",
    "continue": "another iteration can learn from it",
    "undecided": "too few to tell; raise preference.self_play.held_out or rows",
}


class Draw(NamedTuple):
    """One answer that is wanted.

    Attributes:
        row: The conversation, whose last turn is replaced.
        method: ``self_play`` or ``sppo``.
        sample: Which of several.
        temperature: Of the sampling.
        top_p: Of the sampling.
    """

    row: dict[str, Any]
    method: str
    sample: int
    temperature: float
    top_p: float


def choose_player(
    sft_refine_model: ModelRef,
    earlier_self_play_generations: pl.DataFrame,
    earlier_dpo_model: list[ModelRef],
    model_store: Path,
    params: PreferenceParams,
) -> ModelRef:
    """Say which model plays this iteration, and is trained on its pairs.

    Iteration 0 is played by the refined model, iteration t by what preference training made of
    iteration t - 1. An iteration that is run again has the player that it had.

    Raises:
        UserError: the iteration before has not been played or trained, or by other models.
    """
    iteration = params.self_play.iteration
    if iteration == 0:
        return sft_refine_model
    players = _players(earlier_self_play_generations)
    wanted = f"preference.self_play.iteration {iteration}"
    if players.get(0) != sft_refine_model.fingerprint or iteration - 1 not in players:
        raise UserError(
            f"{wanted}: iteration {iteration - 1} of this sft_refine_model has not been played; "
            "begin with iteration 0 and train on its pairs"
        )
    if iteration in players:
        return find_model(model_store, players[iteration])
    if not earlier_dpo_model or earlier_dpo_model[0].start != players[iteration - 1]:
        raise UserError(
            f"{wanted}: there is no model trained on the pairs of iteration {iteration - 1}; run "
            "`kedro run --pipelines=train` first"
        )
    return earlier_dpo_model[0]


def play_against_itself(
    sft_refine_rows: pl.DataFrame,
    self_play_model: ModelRef,
    earlier_self_play_generations: pl.DataFrame,
    self_player: Teacher,
    self_play_ledger: Ledger,
    params: PreferenceParams,
) -> pl.DataFrame:
    """Let the model answer what it was trained on, as long as the answers there are at most.

    Every answer is in a ledger before it is used, under a key of the model's content, the prompt
    and the sampling: a run that was killed goes on with what is missing.

    Returns:
        The answers of this iteration, and of those before it.
    """
    options = params.self_play
    rows = played(sft_refine_rows, options)
    limit = _limit(self_play_model, rows["messages"].to_list())
    draws = {_name(draw, self_play_model, limit, options): draw for draw in _draws(rows, options)}
    tokenizer = load_tokenizer(self_play_model)
    requests = [
        tuned_request(
            name,
            tokenizer,
            draw.row["messages"][:-1],
            draw.method,
            sample=draw.sample,
            temperature=draw.temperature,
            top_p=draw.top_p,
            max_tokens=limit,
        )
        for name, draw in draws.items()
    ]
    player = _player(self_play_model, self_player, self_play_ledger, options)
    with quiet(options.threads):
        written = answers(player, requests, "self-play")
    made = []
    for name, draw in draws.items():
        completion = written[name]
        said = completion.status in ("ok", "truncated") or completion.fault == "empty"
        made.append(
            {
                "id": name,
                "conversation_id": draw.row["id"],
                "method": draw.method,
                "iteration": options.iteration,
                "sample": draw.sample,
                "model": self_play_model.fingerprint,
                "max_tokens": limit,
                "output": completion.text,
                "tokens": completion.completion_tokens,
                "stopped": completion.status != "truncated",
                "fault": None if said else f"teacher_{completion.status}",
            }
        )
    before = earlier_self_play_generations.filter(pl.col("iteration") < options.iteration)
    return pl.concat([before, GENERATION.frame(made)])


def pair_self_play(
    sft_refine_rows: pl.DataFrame, self_play_generations: pl.DataFrame, params: PreferenceParams
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Pair what the model learned with its own answers, of this iteration and of the one before.

    Returns:
        Pairs (SPIN), a drop for each answer that gives none, and the number of answers.
    """
    rows = played(sft_refine_rows, params.self_play)
    recent = _recent(self_play_generations, rows, params.self_play)
    found = spin_pairs(rows, recent, held_out(rows, params.self_play))
    return found.pairs, drops(PIPELINE, found.drops.iter_rows()), recent.height


def rank_self_play(
    sft_refine_rows: pl.DataFrame,
    self_play_generations: pl.DataFrame,
    judge: Teacher,
    prompt_library: PromptLibrary,
    reward_values: Path,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Pair the best and the worst of several answers of this iteration.

    A scorer ranks them, or the judge in a round robin.

    Returns:
        Pairs (SPPO), a drop for each conversation that gives none, and the number of these.
    """
    options = params.self_play.sppo
    if options is None:
        return PREFERENCE.frame(), DROP.frame(), 0
    rows = played(sft_refine_rows, params.self_play)
    rows = rows.filter(~pl.col("id").is_in(held_out(rows, params.self_play)))
    samples = self_play_generations.filter(
        pl.col("method") == SPPO, pl.col("iteration") == params.self_play.iteration
    )
    good = [unusable(one) is None for one in samples.iter_rows(named=True)]
    prompts = rows.select("language", conversation_id="id", prompt="messages")
    answered = samples.filter(pl.Series(good, dtype=pl.Boolean)).join(
        prompts, on="conversation_id", maintain_order="left"
    )
    if isinstance(options.ranker, JudgeOptions):
        wins = _judged(answered, judge, prompt_library, params.judges)
        who = judge.name
    else:
        scorer = local_scorer(options.ranker, reward_values)
        wins, who = _scored(answered, scorer, options.sharpness), scorer.name
    found = sppo_pairs(rows, samples, wins, options.margin, who)
    return found.pairs, drops(PIPELINE, found.drops.iter_rows()), rows.height


def assess_self_play(
    sft_refine_rows: pl.DataFrame,
    self_play_model: ModelRef,
    self_play_generations: pl.DataFrame,
    model_store: Path,
    params: PreferenceParams,
) -> dict[str, Any]:
    """Say how well the corpus can be told from the model's answers, and whether to go on.

    On conversations that make no pair, the share where the answer of the corpus is preferred to
    the model's; an answer that equals it counts one half. At iteration 0 the model prefers what it
    finds more probable for each token: would it write as the corpus does, either would be so
    equally often. Later it prefers what it finds more probable than the model before did, whose
    answers they are (the implicit reward). SPIN has converged when nothing is told apart any more,
    so that the share is near one half, whichever side it came from.
    """
    options = params.self_play
    rows = played(sft_refine_rows, options)
    rows = rows.filter(pl.col("id").is_in(held_out(rows, options)))
    told = max(options.iteration - 1, 0)
    opponent = self_play_generations.filter(pl.col("method") == SPIN, pl.col("iteration") == told)
    texts = {one["conversation_id"]: one for one in opponent.iter_rows(named=True)}
    equal, corpus, own = 0, [], []
    for messages, row_id in rows.select("messages", "id").iter_rows():
        if row_id not in texts or unusable(texts[row_id]):
            continue
        said = texts[row_id]["output"]
        if answer_key(said) == answer_key(messages[-1]["content"]):
            equal += 1
        else:
            corpus.append(messages)
            own.append([*messages[:-1], assistant(said)])
    before = None
    if options.iteration:
        before = find_model(model_store, _players(self_play_generations)[told])
    preferred = _preferred(self_play_model, before, corpus, own, options)
    return _report(options, self_play_model, rows.height, equal, preferred, len(corpus))


def played(rows: pl.DataFrame, options: SelfPlayParams) -> pl.DataFrame:
    """The conversations that are played: those of the smallest ids, which are hashes."""
    first = rows["id"].sort().head(options.rows or rows.height)
    return rows.filter(pl.col("id").is_in(first.implode()))


def held_out(rows: pl.DataFrame, options: SelfPlayParams) -> list[str]:
    """Ids of the conversations that make no pair; those of one origin or prompt stay together."""
    prompts = {
        row_id: prompt_key(messages[:-1])
        for row_id, messages in rows.select("id", "messages").iter_rows()
    }
    drawn = {
        prompts[row_id]
        for row_id, parents in rows.select("id", "parents").iter_rows()
        if int(content_id("held_out", parents[0])[:8], 16) / 2**32 < options.held_out
    }
    return [row_id for row_id, prompt in prompts.items() if prompt in drawn]


def _players(generations: pl.DataFrame) -> dict[int, str]:
    """Fingerprint of the model that played each iteration."""
    return dict(generations.select("iteration", "model").unique().sort("iteration").iter_rows())


def _draws(rows: pl.DataFrame, options: SelfPlayParams) -> Iterator[Draw]:
    kept_back = frozenset(held_out(rows, options))
    for row in rows.select("id", "messages").iter_rows(named=True):
        yield Draw(row, SPIN, 0, options.temperature, options.top_p)
        if options.sppo and row["id"] not in kept_back:
            for sample in range(options.sppo.samples):
                yield Draw(row, SPPO, sample, options.sppo.temperature, options.sppo.top_p)


def _limit(model: ModelRef, conversations: Sequence[list[Message]]) -> int:
    """Longest answer in tokens: that of the corpus, and a little more."""
    longest = max(answer_lengths(model, conversations), default=1)
    return -(-longest // _STEP) * _STEP


def _name(draw: Draw, model: ModelRef, limit: int, options: SelfPlayParams) -> str:
    return content_id(
        "generation",
        draw.row["id"],
        draw.row["messages"][:-1],
        [draw.method, draw.sample, draw.temperature, draw.top_p],
        [model.fingerprint, options.iteration, limit],
    )


def _player(model: ModelRef, served: Teacher, ledger: Ledger, options: SelfPlayParams) -> Teacher:
    """Who answers: the model itself, or a server that says it has it.

    Raises:
        UserError: the server has another model, or may have.
    """
    if not options.served:
        return tuned_teacher(model, "self_player", options.batch_size, ledger)
    name = Path(model.path).name
    members = [one for one in served.members.values() if isinstance(one, LanguageModel)]
    if not members:
        raise UserError(
            "preference.self_play.served: 'self_player' of the catalog answers by rules; name a "
            f"server of {model.path} there, or set served to false"
        )
    for served_as in (one.caller.options.model for one in members):
        if name not in served_as:
            raise UserError(
                f"self_player: it serves {served_as!r}, but the model to play is {name!r}: serve "
                f"{model.path}, and write its name into the catalog, so that replies of another "
                "model are never taken for its own"
            )
    return served


def _recent(generations: pl.DataFrame, rows: pl.DataFrame, options: SelfPlayParams) -> pl.DataFrame:
    """Answers against the corpus, of this iteration and of the one before."""
    return generations.filter(
        pl.col("method") == SPIN,
        pl.col("iteration").is_between(options.iteration - 1, options.iteration),
        pl.col("conversation_id").is_in(rows["id"].implode()),
    )


def _scored(answered: pl.DataFrame, scorer: Scorer, sharpness: float) -> dict[str, float]:
    """Win probability of each sample among those to its prompt that the scorer has a value for."""
    turns = [
        [*prompt[:-1], assistant(output)]
        for prompt, output in answered.select("prompt", "output").iter_rows()
    ]
    frames = [
        answered.select("id", "language").with_columns(
            messages=pl.Series(turns, dtype=answered.schema["prompt"])
        )
    ]
    scorer.prepare(frames)
    values = pl.concat(scorer.score(frames))["value"]
    ranked = answered.with_columns(value=values).filter(pl.col("value").is_not_null())
    wins: dict[str, float] = {}
    for _, group in ranked.group_by("conversation_id", maintain_order=True):
        found = win_probabilities(group["value"].to_list(), sharpness)
        wins.update(zip(group["id"], found.tolist(), strict=True))
    return wins


def _judged(
    answered: pl.DataFrame, judge: Teacher, prompts: PromptLibrary, judges: int
) -> dict[str, float]:
    """Win probability of each sample in a round robin of both orders."""
    duels = (
        Duel(str(prompt_id), _asked(group["prompt"].to_list()[0][:-1]), first, second)
        for (prompt_id,), group in answered.group_by("conversation_id", maintain_order=True)
        for first, second in permutations(
            [Side(row_id, said, "sft_refine", "") for row_id, said in _texts(group)], 2
        )
    )
    met = verdicts(judge, prompts, duels, "self-play verdicts", judges=judges).table
    table = round_robin.win_probabilities(CANDIDATE.frame(), met)
    return dict(table.select("id", "p").iter_rows())


def _asked(turns: list[Message]) -> str:
    """What a judge sees of a prompt: its text, or all turns with who said them."""
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _texts(group: pl.DataFrame) -> list[tuple[str, str]]:
    return group.select("id", "output").rows()


def _preferred(
    model: ModelRef,
    before: ModelRef | None,
    corpus: list[list[Message]],
    own: list[list[Message]],
    options: SelfPlayParams,
) -> int:
    """How often the answer of the corpus is preferred."""
    both = [*corpus, *own]
    if not both:
        return 0
    values = [
        total if before else total / tokens
        for total, tokens in log_likelihoods(model, both, threads=options.threads)
    ]
    if before:
        earlier = log_likelihoods(before, both, threads=options.threads)
        values = [now - then for now, (then, _) in zip(values, earlier, strict=True)]
    pairs = zip(values[: len(corpus)], values[len(corpus) :], strict=True)
    return sum(first > second for first, second in pairs)


def _report(
    options: SelfPlayParams, model: ModelRef, asked: int, equal: int, preferred: int, told: int
) -> dict[str, Any]:
    counted = told + equal
    report: dict[str, Any] = {
        "iteration": options.iteration,
        "model": model.fingerprint,
        "measure": "implicit_reward" if options.iteration else "log_likelihood",
        "held_out": asked,
        "unusable": asked - counted,
        "equal": equal,
        "corpus_preferred": preferred,
        "accuracy": None,
        "verdict": "undecided",
    }
    if counted:
        low, high = wilson(round(preferred + equal / 2), counted)
        near = low >= 0.5 - options.tolerance and high <= 0.5 + options.tolerance
        apart = low > 0.5 or high < 0.5
        report |= {
            "accuracy": (preferred + equal / 2) / counted,
            "low": low,
            "high": high,
            "verdict": "stop" if near else "continue" if apart else "undecided",
        }
        logger.info(
            "self-play, iteration %d: the corpus is told from the model's answers in %.1f %% "
            "(%.1f to %.1f) of %d held-out prompts: %s",
            options.iteration,
            *(100 * report[name] for name in ("accuracy", "low", "high")),
            counted,
            _ADVICE[report["verdict"]],
        )
    return report
