"""Jobs as files of an engine."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kyara_kedro.errors import UserError
from kyara_kedro.files import written_whole
from kyara_kedro.jobs.options import JobsOptions, Machine, Tag
from kyara_kedro.jobs.plan import Job

_SCARCE: tuple[Tag, ...] = ("gpu", "llm", "cpu")
Engine = Literal["slurm", "kubernetes", "airflow"]


class Run(NamedTuple):
    """What all jobs of a plan have in common.

    Attributes:
        project: The project's folder.
        arguments: Options of `kedro run` beside those that choose nodes, such as ``--env=gemma2``.
    """

    project: Path
    arguments: Sequence[str] = ()


def write_jobs(
    engine: Engine, jobs: Sequence[Job], run: Run, options: JobsOptions, target: Path
) -> list[Path]:
    """Write the files that an engine needs to run jobs in their order.

    Args:
        engine: Who runs them.
        jobs: In an order in which they can run.
        run: What they have in common.
        options: What the machines offer.
        target: The folder; files of the same names are replaced.

    Returns:
        The files, the one to begin with first.

    Raises:
        UserError: the folder cannot be written.
    """
    written = []
    try:
        for name, text in _files(engine, jobs, run, options).items():
            path = target / name
            with written_whole(path) as part:
                part.write_text(text, encoding="utf-8")
                part.chmod(0o755 if path.suffix == ".sh" else 0o644)
            written.append(path)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from error
    return written


def machine(job: Job, options: JobsOptions) -> Machine:
    """What a job needs: of each amount the most that one of its tags says."""
    of_tags = [found for tag, found in options.machines.items() if tag in job.tags]
    known = of_tags or list(options.machines.values())
    return Machine(
        cpus=max(one.cpus for one in known),
        memory=max(one.memory for one in known),
        hours=max(one.hours for one in known),
    )


def command(job: Job, run: Run, shard: str) -> str:
    """The line of shell that does a job.

    Args:
        job: The job.
        run: What all jobs have in common.
        shard: What the number of a task of several is, such as a variable of the shell.
    """
    chosen = job.selection.replace("{shard}", shard)
    return " ".join(["kedro run", chosen, *map(shlex.quote, run.arguments)])


def queue(job: Job, options: JobsOptions) -> str:
    """Airflow's queue of a job; that of the scarcest of its tags."""
    queues = options.airflow.queues
    return next((queues[tag] for tag in _SCARCE if tag in job.tags and tag in queues), "default")


def _files(
    engine: Engine, jobs: Sequence[Job], run: Run, options: JobsOptions
) -> Mapping[str, str]:
    def render(template: str, **values: Any) -> str:
        return _TEMPLATES.get_template(template).render(
            jobs=jobs,
            run=run,
            options=options,
            machine=machine,
            command=command,
            queue=queue,
            **values,
        )

    if engine == "slurm":
        submit = {"submit.sh": render("slurm_submit.sh.jinja")}
        return submit | {f"{job.name}.sh": render("slurm_job.sh.jinja", job=job) for job in jobs}
    if engine == "kubernetes":
        return {
            "submit.sh": render("kubernetes_submit.sh.jinja"),
            "jobs.yml": render("kubernetes_jobs.yml.jinja"),
        }
    return {"kyara_kedro_dag.py": render("airflow_dag.py.jinja")}


def _duration(hours: float) -> str:
    """Hours as SLURM writes them."""
    minutes = max(1, round(hours * 60))
    return f"{minutes // 60:02}:{minutes % 60:02}:00"


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    comment_start_string="{##",  # shell has {#
    comment_end_string="##}",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - shell, YAML and Python, no HTML
)
_TEMPLATES.filters |= {"quote": shlex.quote, "duration": _duration, "literal": repr}
