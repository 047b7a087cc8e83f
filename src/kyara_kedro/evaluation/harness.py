"""Benchmarks of EleutherAI's lm-evaluation-harness, on a model on disk or a completions endpoint.

Tasks that compare log-probabilities, such as TMMLU+ and most of the Open LLM Leaderboard, are left
to it (https://github.com/EleutherAI/lm-evaluation-harness, the extra ``eval-harness``). It runs in
this process, reads only the folders of tasks that are asked for, and never runs code of a model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import PositiveInt

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Question, item_row
from kyara_kedro.evaluation.benchmarks.harness import PREFIX, TMMLUPLUS, HarnessTask
from kyara_kedro.evaluation.benchmarks.tmmluplus import GROUPS_66, GROUPS_67
from kyara_kedro.options import Options
from kyara_kedro.records import BENCHMARK_ITEM

_log = logging.getLogger(__name__)

_FAMILIES = {
    "leaderboard_bbh": f"{PREFIX}leaderboard_bbh",
    "leaderboard_gpqa": f"{PREFIX}leaderboard_gpqa",
    "leaderboard_math": f"{PREFIX}leaderboard_math_hard",
    "leaderboard_musr": f"{PREFIX}leaderboard_musr",
    "tmmluplus": TMMLUPLUS,
}
"""What the names of tasks that form one benchmark begin with, and its name."""
_RENAMED = {"acc": "accuracy"}


@dataclass(frozen=True)
class LocalModel:
    """A model in a directory.

    Attributes:
        name: Its name in all tables.
        path: The directory, with weights and tokenizer.
        device: As torch names it.
    """

    name: str
    path: Path
    device: str = "cpu"


class Endpoint(Options):
    """A model behind an endpoint as OpenAI has defined it.

    The key is read from the environment variable ``OPENAI_API_KEY``.

    Attributes:
        name: Its name in all tables.
        url: The whole address, which ends in ``/completions`` or ``/chat/completions``.
        model: The endpoint's name for it.
        tokenizer: Directory or published name of its tokenizer.
    """

    name: str
    url: str
    model: str
    tokenizer: str

    @property
    def chat(self) -> bool:
        """Whether it takes messages and gives no log-probabilities of a prompt."""
        return self.url.endswith("/chat/completions")


class HarnessOptions(Options):
    """What lm-evaluation-harness is to run.

    Attributes:
        tasks: Names of its tasks, groups or tags, or of those in ``include``; without any it does
            not run.
        include: Folders with task files of one's own.
        few_shot: Number of examples, for tasks that do not fix it.
        limit: Only the first questions of each task, to try things out.
        batch_size: Requests at a time.
        chat_template: Whether prompts are written as the model's chat template has them.
        subjects: Which list of TMMLU+ counts, see ``benchmarks.tmmluplus``.
        endpoints: Models that are measured beside those of the run.
    """

    tasks: tuple[str, ...] = ()
    include: tuple[Path, ...] = ()
    few_shot: int | None = None
    limit: PositiveInt | None = None
    batch_size: PositiveInt = 8
    chat_template: bool = False
    subjects: Literal[66, 67] = 66
    endpoints: tuple[Endpoint, ...] = ()


def run_harness(
    model: LocalModel | Endpoint, options: HarnessOptions
) -> tuple[pl.DataFrame, list[HarnessTask]]:
    """Run tasks on a model.

    Returns:
        Rows of ``records.BENCHMARK_ITEM``, one a question and metric, and the benchmarks that they
        are of, see :func:`harness_items`.

    Raises:
        UserError: lm-evaluation-harness is not installed, there is no model, a task is unknown,
            its data cannot be had, or it compares log-probabilities and the endpoint is for chat.
            Nothing has been sent then.
    """
    _check(model)
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(
            f"lm-evaluation-harness is missing ({error}); pip install 'kyara-kedro[eval-harness]'"
        ) from None
    folders = [*_folders(options.tasks), *options.include]
    manager = TaskManager(include_path=folders, include_defaults=False)
    for task in options.tasks:
        if task not in manager.all_tasks:
            raise UserError(f"task '{task}': neither lm-evaluation-harness nor 'include' has it")
    try:
        tasks = list(manager.load(list(options.tasks))["tasks"].values())
    except (ImportError, LookupError, OSError) as error:
        raise UserError(
            f"tasks {', '.join(options.tasks)}: a package or their data is missing ({error})"
        ) from error
    if isinstance(model, Endpoint) and model.chat:
        _refuse_likelihoods(tasks, model)
    kind, arguments = _model(model)
    results = simple_evaluate(
        kind,
        model_args=arguments,
        tasks=tasks,
        task_manager=manager,
        num_fewshot=options.few_shot,
        limit=options.limit,
        batch_size=options.batch_size,
        device=model.device if isinstance(model, LocalModel) else None,
        apply_chat_template=options.chat_template or kind == "local-chat-completions",
        bootstrap_iters=0,
    )
    return harness_items(results, model.name, metadata.version("lm-eval"), options.subjects)


def harness_items(
    results: Mapping[str, Any], model: str, harness: str, subjects: Literal[66, 67] = 66
) -> tuple[pl.DataFrame, list[HarnessTask]]:
    """Turn the results of ``lm_eval.simple_evaluate`` into items.

    The parts of BBH, GPQA, MATH, MuSR and TMMLU+ are strata of one benchmark, any other task is a
    benchmark; their names begin with ``lm-eval/``. A metric has the name that lm-evaluation-harness
    gives it, with its filter where there is one; ``acc`` is ``accuracy``. Where a question has
    several marks, as in IFEval's ``inst_level_strict_acc``, the item's value is their mean and its
    weight their number. Metrics that are no shares, such as perplexities, are left out and logged.

    Args:
        results: With ``samples`` and ``versions``.
        model: Name of the model in all tables.
        harness: Version of lm-evaluation-harness.
        subjects: Which list of TMMLU+ counts; subjects beyond it are left out.

    Returns:
        Rows of ``records.BENCHMARK_ITEM``, and one benchmark for each that occurs in them.
    """
    groups = GROUPS_66 if subjects == 66 else GROUPS_67
    rows: list[dict[str, Any]] = []
    questions: dict[str, dict[str, Question]] = {}
    left_out: set[tuple[str, str]] = set()
    for task, samples in results["samples"].items():
        family, stratum = _place(task)
        if family == TMMLUPLUS and stratum not in groups:
            continue
        benchmark = f"{family}-67" if family == TMMLUPLUS and subjects == 67 else family
        version = f"lm-eval-{harness}@{results['versions'].get(task)}"
        for sample in samples:
            number = str(sample["doc_id"])
            item_id = number if stratum == "all" else f"{stratum}/{number}"
            question = Question(item_id, _prompt(sample), str(sample["target"]), stratum=stratum)
            questions.setdefault(benchmark, {})[item_id] = question
            for name in sample["metrics"]:
                marks = _marks(sample[name])
                if not marks:
                    left_out.add((task, name))
                    continue
                rows.append(
                    item_row(
                        benchmark,
                        item_id,
                        model,
                        _metric(name, sample["filter"]),
                        value=sum(marks) / len(marks),
                        weight=float(len(marks)),
                        no_answer=False,
                        stratum=stratum,
                        scorer_version=version,
                    )
                )
    for task, name in sorted(left_out):
        _log.warning("%s: %s is no share, left out", task, name)
    items = BENCHMARK_ITEM.frame(rows)
    tasks = []
    for name, asked in questions.items():
        mine = items.filter(pl.col("benchmark") == name)
        if mine.height:
            details = {
                "metrics": mine["metric"].unique(maintain_order=True).to_list(),
                "version": "+".join(mine["scorer_version"].unique().sort()),
            }
            told = (replace(question, details=details) for question in asked.values())
            tasks.append(HarnessTask(name, told))
    return items, tasks


def _check(model: LocalModel | Endpoint) -> None:
    if isinstance(model, LocalModel) and not (model.path / "config.json").is_file():
        raise UserError(f"model '{model.name}': {model.path} holds no config.json")
    if isinstance(model, Endpoint) and not model.url.endswith("/completions"):
        raise UserError(
            f"model '{model.name}': {model.url} ends neither in /completions nor in "
            "/chat/completions"
        )


def _model(model: LocalModel | Endpoint) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of a model as lm-evaluation-harness knows them."""
    if isinstance(model, LocalModel):
        return "hf", {"pretrained": str(model.path)}
    return "local-chat-completions" if model.chat else "local-completions", {
        "model": model.model,
        "base_url": model.url,
        "tokenizer": model.tokenizer,
        "tokenizer_backend": "huggingface",
        "add_bos_token": not model.chat and _begins_with_bos(model.tokenizer),
    }


def _begins_with_bos(tokenizer: str) -> bool:
    """Whether a tokenizer puts its first token before every text, as Gemma's does.

    lm-evaluation-harness goes by that for a model on disk, but not for an endpoint, which would
    then give other log-probabilities.
    """
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    return loaded.bos_token_id is not None and loaded("a").input_ids[0] == loaded.bos_token_id


def _folders(tasks: Sequence[str]) -> list[Path]:
    """The folders of lm-evaluation-harness whose names the tasks begin with, the longest ones."""
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    folders = {path.name.replace("-", "_"): path for path in root.iterdir() if path.is_dir()}
    found = []
    for task in tasks:
        words = task.replace("-", "_").split("_")
        prefixes = ("_".join(words[:number]) for number in range(len(words), 0, -1))
        found += [folders[prefix] for prefix in prefixes if prefix in folders][:1]
    return list(dict.fromkeys(found))


def _refuse_likelihoods(tasks: Iterable[Any], model: Endpoint) -> None:
    for task in tasks:
        if task.get_config("output_type") != "generate_until":
            raise UserError(
                f"task '{task.task_name}' compares log-probabilities, which the chat endpoint of "
                f"model '{model.name}' does not give; use a /completions endpoint, a model on "
                "disk, or a benchmark that reads answers, such as 'tmmluplus'"
            )


def _place(task: str) -> tuple[str, str]:
    """Benchmark and stratum of a task."""
    for prefix, benchmark in _FAMILIES.items():
        if task.startswith(f"{prefix}_"):
            return benchmark, task.removeprefix(f"{prefix}_")
    return f"{PREFIX}{task}", "all"


def _prompt(sample: Mapping[str, Any]) -> str:
    """What the model was shown; a conversation is wrapped, as JSON."""
    shown = sample["arguments"][0][0]
    return str(getattr(shown, "prompt", shown))


def _metric(name: str, chosen_filter: str) -> str:
    """Name of a metric, with the filter of its answers where there is one."""
    renamed = _RENAMED.get(name, name)
    return renamed if chosen_filter == "none" else f"{renamed},{chosen_filter}"


def _marks(found: Any) -> list[float]:
    """The marks that a metric gives a sample; none where they are no shares."""
    listed = found if isinstance(found, list) else [found]
    try:
        marks = [float(mark) for mark in listed]
    except (TypeError, ValueError):
        return []
    return marks if all(0 <= mark <= 1 for mark in marks) else []
