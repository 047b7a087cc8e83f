"""The project's commands: `run` with errors in one line, `where`, `dedup-report`, `review`,
`estimate`, `costs`, `viz-offline`, `track-sync`, `ledger`, `serve-model`, `chat`, `export-data`,
`score`, `promote`, `explain`, `jobs`, `reproduce`, `runs` and `gc`."""

import logging
import sys
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _split_params, env_option, split_string
from kedro.io import DatasetError
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project
from kedro.validation.exceptions import DataValidationError, ParameterValidationError

from kyara_kedro.errors import UserError
from kyara_kedro.pipeline_registry import PIPELINES, maker_of
from kyara_kedro.storage import is_url, place

_TRAINING = (
    "accelerate",
    "datasets",
    "peft",
    "safetensors",
    "starlette",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "uvicorn",
)


@click.group()
def cli() -> None:
    """Commands of kyara-kedro."""


def _in_one_line(error: BaseException) -> str:
    """What a person has to change, without the layers that Kedro wraps around it."""
    if isinstance(error, DataValidationError) and error.__cause__ is not None:
        maker = maker_of(str(error.dataset_name)) if error.mode == "load" else None
        again = f"; run `{maker}` again" if maker else ""
        return f"{error.dataset_name}: {error.__cause__}{again}"
    while isinstance(error, DatasetError) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())


class _Plain(click.Command):
    """A command that tells in one line what has to change."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if error.name not in _TRAINING:
                raise
            needed = "models on this machine need: pip install 'kyara-kedro[train]'"
            raise click.ClickException(f"{error.name} is not installed; {needed}") from error
        except (
            ValueError,
            OSError,
            DatasetError,
            MissingConfigException,
            ParameterValidationError,
        ) as error:
            raise click.ClickException(_in_one_line(error)) from error


class _Run(_Plain):
    """Kedro's own, but what is up to date is passed over, and `--pipeline` stays an alias."""

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.params["pipeline"] and not ctx.params["pipelines"]:
            ctx.params |= {"pipelines": [ctx.params["pipeline"]], "pipeline": None}
        ctx.params["only_missing_outputs"] = not ctx.params.pop("fresh")
        runner = ctx.params["runner"] or "SequentialRunner"
        if runner in _RUNNERS:
            ctx.params["runner"] = f"kyara_kedro.runners.{runner}"
        return super().invoke(ctx)


_RUNNERS = ("RayRunner", "SequentialRunner", "ThreadRunner")
_FRESH = click.Option(
    ["--fresh"], is_flag=True, help="Run all nodes, those that are up to date as well."
)
# Kedro looks for this name when the packaged project is run.
run = _Run(
    "run",
    params=[
        *(option for option in kedro_run.params if option.name != "only_missing_outputs"),
        _FRESH,
    ],
    callback=kedro_run.callback,
    help="Run what is not up to date: of all pipelines, or of the part that the options name.",
)
cli.add_command(run)


@cli.command(cls=_Plain)
@env_option
def where(env: str | None) -> None:
    """Say where the results of the last run are, and how to open them."""
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    data, disk = _place(root, "data", env), _place(root, "disk", env)
    models, pages = disk / "06_models/export", data / "08_reporting"
    exported = sorted(models.glob("*/config.json"), key=lambda file: file.stat().st_mtime)
    for title, found, how in (
        ("Report 報告", pages / "evaluation_report.html", "open it in a browser"),
        ("Data set card 資料集說明卡", pages / "dataset/README.md", "open it in an editor"),
        ("Model 可交付的模型", exported[-1].parent if exported else models, "kedro chat"),
        ("Duplicates 重複資料", pages / "duplicates.html", "open it in a browser"),
        ("Leaks 評測洩漏", pages / "contamination.html", "open it in a browser"),
        ("Review 審閱", pages / "review.html", "open it in a browser"),
        ("Judge 評審", pages / "judge_reliability.html", "open it in a browser"),
        ("Runs and models 執行紀錄與模型", disk / "mlflow/mlflow.db", "make mlflow"),
    ):
        click.echo(f"{title}: {found}  ({how if found.exists() else 'not there yet: make run'})")
    click.echo("Lineage 資料來龍去脈: kedro-viz  (make viz)")
    click.echo("A record 一筆資料的來歷: kedro explain ID")


def _place(root: Path, which: str, env: str | None) -> Path:
    """The folder, or the address in an object store, that globals.yml names."""
    from kyara_kedro.config import ConfigLoader

    loader = ConfigLoader(str(root / "conf"), env=env, base_env="base", default_run_env="local")
    named = loader["globals"][which]
    return place(named) if is_url(named) else root / named


def _project(env: str | None, params: dict[str, Any] | None = None) -> tuple[Path, Any]:
    """The project's folder and its context; Kedro's own messages are left out."""
    from kedro.framework.session import KedroSession

    logging.getLogger("kedro").setLevel(logging.WARNING)
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    session = KedroSession.create(root, save_on_close=False, env=env, runtime_params=params)
    return root, session.load_context()


_SHARE = click.FloatRange(0, 1, min_open=True)


@cli.command("dedup-report", cls=_Plain)
@click.option("--lexical", type=_SHARE, help="Threshold of n-gram overlap; else as configured.")
@click.option("--semantic", type=_SHARE, help="Threshold of closeness in meaning; likewise.")
@env_option
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page goes; else data/08_reporting/duplicates.html in the project.",
)
def dedup_report(
    lexical: float | None, semantic: float | None, env: str | None, page: Path | None
) -> None:
    """Show what other thresholds would take for duplicates; nothing is searched or changed."""
    from kyara_kedro.datasets.files import HTMLDataset
    from kyara_kedro.pipelines.dedup import report

    root, context = _project(env)
    tables = report.load_tables(context.catalog)
    wishes = {"lexical": lexical, "semantic": semantic}
    thresholds = report.chosen_thresholds(tables.thresholds, tables.floors, wishes)
    found = report.review(tables.pairs, tables.texts, thresholds, tables.floors)
    target = page or _place(root, "data", env) / "08_reporting/duplicates.html"
    HTMLDataset(filepath=str(target)).save(found.page())
    for line in report.told(found, tables.duplicates):
        click.echo(line)
    click.echo(f"\n{report.adoption(thresholds, env or 'local')}\nPage 頁面: {target}")


@cli.command(cls=_Plain)
@click.option(
    "--sample", type=click.IntRange(min=1), help="Most conversations; else as configured."
)
@click.option("--which", help="all, selected, dropped, decided or margin; likewise.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the sample; likewise.")
@click.option("--language", "languages", multiple=True, help="Only these languages.")
@click.option("--source", "sources", multiple=True, help="Only these sources.")
@click.option("--tag", "tags", multiple=True, help="Only conversations with one of these tags.")
@click.option("--score", type=(float, float), help="Lowest and highest score.")
@click.option("--id", "ids", multiple=True, help="Exactly these conversations.")
@env_option
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page goes; else data/08_reporting/review.html in the project.",
)
def review(env: str | None, page: Path | None, **wishes: Any) -> None:
    """Make a page to accept, reject and edit conversations; nothing is selected anew."""
    from kyara_kedro.datasets.files import HTMLDataset
    from kyara_kedro.pipelines.curate import reviewing
    from kyara_kedro.reporting.review_page import ReviewOptions

    root, context = _project(env)
    catalog = context.catalog
    wanted = {name: wish for name, wish in wishes.items() if wish not in (None, ())}
    configured = catalog.load("params:curate").review.model_dump()
    options = ReviewOptions.read(configured | wanted, "kedro review")
    target = page or _place(root, "data", env) / "08_reporting/review.html"
    HTMLDataset(filepath=str(target)).save(reviewing.page(reviewing.load_tables(catalog), options))
    click.echo(f"Page 頁面: {target}")


_SELECTION = {
    "pipelines": "pipelines",
    "tags": "tags",
    "from_nodes": "from_nodes",
    "to_nodes": "to_nodes",
    "node_names": "node_names",
    "namespaces": "node_namespaces",
}
"""Options of `kedro run` that select nodes, and what a pipeline's filter calls them."""


def _estimate(
    env: str | None, params: dict[str, Any], sample: int, as_json: bool, **selection: Any
) -> None:
    """Tell what a run will ask, and what that will cost, before anything is sent.

    The nodes that ask teachers are rehearsed in memory on what is on disk. What the ledger holds
    costs nothing. Takes the options of `kedro run` that select nodes.
    """
    import json

    from kedro.framework.project import pipelines

    from kyara_kedro.costs.bill import bill
    from kyara_kedro.costs.rehearsal import Rehearsal
    from kyara_kedro.costs.telling import told
    from kyara_kedro.hooks.gatekeeper import check_parameters

    catalog = _project(env, params)[1].catalog
    check_parameters(catalog.load("parameters"))
    names = selection.pop("pipelines") or ["__default__"]
    if unknown := [name for name in names if name not in (*PIPELINES, "__default__")]:
        raise UserError(f"no pipeline '{unknown[0]}': there are {', '.join(PIPELINES)}")
    pipeline = sum((pipelines[name] for name in names), Pipeline([]))
    chosen = {_SELECTION[name]: wish for name, wish in selection.items() if wish}
    rehearsal = Rehearsal(catalog, pipeline.filter(**chosen) if chosen else pipeline, sample)
    rehearsal.run()
    found = bill(rehearsal)
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
    else:
        for line in told(found):
            click.echo(line)


cli.add_command(
    _Plain(
        "estimate",
        params=[
            *(one for one in kedro_run.params if one.name in (*_SELECTION, "params", "env")),
            click.Option(
                ["--sample"],
                type=click.IntRange(min=1),
                default=300,
                show_default=True,
                help="Conversations of a strategy, and rows of a table, that are rehearsed.",
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, not a table."),
        ],
        callback=_estimate,
        help=_estimate.__doc__,
    )
)


@cli.command("costs", cls=_Plain)
@env_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
def show_costs(env: str | None, as_json: bool) -> None:
    """Tell what teachers have cost, by pipeline, teacher and task, and for an accepted record.

    `cost` was paid in the last run of each node; `worth` is what all of its replies cost when they
    were paid for, rejected and repeated ones included, and what `for each` goes by.
    """
    import json

    from kyara_kedro.hooks.accounts import ENTRY, known_accounts
    from kyara_kedro.reporting.costs import costs, told

    file = _project(env)[1].catalog.get(ENTRY).path
    rows = costs(known_accounts(file))
    if not rows:
        raise UserError(f"{file} holds no accounts: run a pipeline that asks teachers first")
    if as_json:
        plain = [row._asdict() | {"for_each": row.for_each} for row in rows]
        click.echo(json.dumps(plain, ensure_ascii=False, indent=1))
    else:
        for line in told(rows):
            click.echo(line)


@cli.command("viz-offline", cls=_Plain)
@click.argument(
    "folder", default="build", type=click.Path(path_type=Path, file_okay=False), required=False
)
def viz_offline(folder: Path) -> None:
    """Make the site in FOLDER, built by `kedro viz build`, ask no other host for fonts."""
    from kyara_kedro.site import offline

    offline(folder)
    click.echo(f"Site 網站: {folder}")


@cli.command("track-sync", cls=_Plain)
@env_option
def track_sync(env: str | None) -> None:
    """Send MLflow what it did not take while runs were under way."""
    from kyara_kedro.hooks.tracking import configured
    from kyara_kedro.tracking.delivery import send_rest

    root, context = _project(env)
    tracking = configured(context.config_loader["mlflow"], root)
    rest = send_rest(tracking)
    click.echo(f"{rest.sent} runs sent, {rest.waiting} waiting in {tracking.spool}")
    if rest.waiting:
        raise ValueError("MLflow does not take them; is the server up?")


@cli.group()
def ledger() -> None:
    """Look at the replies that were paid for, or move them as Parquet."""


_FILE = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default=Path("data/ledger/replies.db"),
    show_default=True,
    help="The ledger.",
)


@ledger.command(cls=_Plain)
@_FILE
def show(path: Path) -> None:
    """Tell what each teacher was paid for."""
    from kyara_kedro.teachers.ledger import Entry, Ledger

    with Ledger(path, read_only=True) as book:
        entries = book.summary()
    form = "{:<32}{:<28}{:>10}{:>14}{:>12}"
    click.echo(form.format("teacher", "task", "replies", "tokens", "cost"))
    total = Entry(
        "in all",
        "",
        sum(entry.number for entry in entries),
        sum(entry.tokens for entry in entries),
        sum(entry.cost for entry in entries),
    )
    for teacher, what, number, tokens, cost in (*entries, total):
        click.echo(form.format(teacher, what, f"{number:,}", f"{tokens:,}", f"{cost:.4f}"))


@ledger.command("export", cls=_Plain)
@_FILE
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
def export_ledger(path: Path, target: Path) -> None:
    """Write all replies to TARGET, a Parquet file; kind: replay can answer from it."""
    from kyara_kedro.teachers.archive import export_replies
    from kyara_kedro.teachers.ledger import Ledger

    with Ledger(path, read_only=True) as book:
        click.echo(f"{export_replies(book, target):,} replies written to {target}")


@ledger.command("import", cls=_Plain)
@_FILE
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False))
def import_ledger(path: Path, source: Path) -> None:
    """Put the replies of SOURCE, an exported file, into the ledger."""
    from kyara_kedro.teachers.archive import import_replies
    from kyara_kedro.teachers.ledger import Ledger

    with Ledger(path) as book:
        before = sum(entry.number for entry in book.summary())
        read = import_replies(book, source)
        new = sum(entry.number for entry in book.summary()) - before
    click.echo(f"{read:,} replies read from {source}, {new:,} of them new")


@cli.command("serve-model", cls=_Plain)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Requests answered at once.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def serve_model(directory: Path, host: str, port: int, batch_size: int, device: str) -> None:
    """Serve the chat model in DIRECTORY to OpenAI clients on this machine, until Ctrl-C."""
    from kyara_kedro.teachers.serving import Address, is_loopback, serve

    def ready(address: Address) -> None:
        click.echo(
            f"Serving {address.base_url}; as a teacher: kind: openai, options: "
            f"{{base_url: {address.base_url}, model: {address.model}, dialect: transformers}}"
        )

    if not is_loopback(host):
        click.echo(
            f"Warning: anyone who reaches {host} can use the model; no key is asked.", err=True
        )
    serve(directory, host, port, batch_size, device, ready)


@cli.command(cls=_Plain)
@click.argument("model", required=False)
@click.option("--system", help="System prompt.")
@click.option("--temperature", type=float, help="0, the default, is the most probable answer.")
@click.option("--top-p", type=float, help="Share of the probability that is sampled from.")
@click.option("--max-tokens", type=int, help="Longest answer in tokens.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@env_option
def chat(model: str | None, env: str | None, device: str, **wishes: Any) -> None:
    """Chat with MODEL: a folder, @candidate or @champion; the newest export by default.

    From a pipe, each line is answered with one line.
    """
    from kyara_kedro.teachers.local import load
    from kyara_kedro.teachers.talk import Talk, TalkOptions, talk_by_lines, talk_in_terminal

    given = {name: wish for name, wish in wishes.items() if wish is not None}
    options = TalkOptions.read(given, "kedro chat")
    directory = _model_folder(model, env)

    def write(text: str) -> None:
        click.echo(text, nl=False)

    def warn(text: str) -> None:
        click.echo(text, nl=False, err=True)

    if sys.stdin.isatty():
        warn(f"載入 loading {directory}\n")
        talk_in_terminal(Talk(load(directory, device), options), write)
    else:
        talk_by_lines(Talk(load(directory, device), options), sys.stdin, write, warn)


def _model_folder(model: str | None, env: str | None) -> Path:
    """The folder of a model that is named as `chat` takes it."""
    if model is not None and not model.startswith("@"):
        return Path(model)
    catalog = _project(env)[1].catalog
    if model is None:
        if not catalog.exists("exported_model"):
            raise UserError("no model has been exported yet: run `kedro run`, or name a folder")
        return Path(catalog.load("exported_model").path)
    registered = catalog.load("model_registry").resolve(model.removeprefix("@"))
    if registered is None:
        raise UserError(f"no model is registered as '{model}': run `kedro run`, or name a folder")
    return Path(registered.path)


@cli.command("export-data", cls=_Plain)
@click.option(
    "--format",
    "trainer",
    required=True,
    type=click.Choice(["llama-factory", "axolotl"]),
    help="Who reads it.",
)
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@env_option
def export_training_data(trainer: Any, target: Path, env: str | None) -> None:
    """Write the training data into the folder TARGET, for another trainer."""
    from kyara_kedro.training.other_trainers import export_data

    catalog = _project(env)[1].catalog
    tables = {}
    for file, name in (
        ("sft_base", "base_conversations"),
        ("sft_refine", "refined_conversations"),
        ("preferences", "preferences"),
    ):
        if not catalog.exists(name):
            raise UserError(f"'{name}' is not there yet: run `{maker_of(name)}` first")
        tables[file] = catalog.get(name).scan()
    for file, written in export_data(tables, trainer, target).items():
        dropped = ", ".join(f"{reason} {rows:,}" for reason, rows in written.dropped.items())
        click.echo(f"{file}.jsonl: {written.rows:,} rows; dropped: {dropped or 'none'}")
    click.echo(f"Folder 資料夾: {target}  (docs/train.md)")


@cli.command(cls=_Plain)
@click.option("--format", "form", required=True, help="Format of the files, such as zeroeval.")
@click.option("--benchmark", required=True, help="What they are about, such as gsm.")
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="NAME=FILE",
    help="A file of the benchmark itself, such as questions=gsm.jsonl, where the results lack it.",
)
@click.option("--parts", "in_parts", is_flag=True, help="Show groups and subjects, too.")
@click.option(
    "--json",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where scores, comparisons and items go as JSON.",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def score(
    form: str,
    benchmark: str,
    parts: tuple[str, ...],
    in_parts: bool,
    target: Path | None,
    files: tuple[Path, ...],
) -> None:
    """Score results in FILES as the benchmark's own scorer does, with intervals."""
    from kyara_kedro.datasets.files import JSONDataset
    from kyara_kedro.evaluation.scoring import comparison_table, score_files, score_table

    named = dict(part.partition("=")[::2] for part in parts)
    if broken := [name for name, file in named.items() if not file]:
        raise UserError(f"--part {broken[0]}: is not NAME=FILE, such as questions=gsm.jsonl")
    suites = (find_kedro_project(Path.cwd()) or Path.cwd()) / "data/01_raw/suites"
    scored = score_files(
        form, benchmark, files, {name: Path(file) for name, file in named.items()}, [suites]
    )
    click.echo(score_table(scored.scores, parts=in_parts))
    if compared := comparison_table(scored.comparisons):
        click.echo(f"\n{compared}")
    if target:
        JSONDataset(filepath=str(target)).save(scored.to_dict())
        click.echo(f"\nJSON: {target}")


@cli.command(cls=_Plain)
@click.argument("version", type=int, required=False)
@click.option("--rollback", is_flag=True, help="Make the champion before this one it again.")
@click.option("--reason", help="Why; needed where the gate has not said promote.")
@env_option
def promote(version: int | None, rollback: bool, reason: str | None, env: str | None) -> None:
    """Show the champion and the candidate; or make VERSION the champion, or take one back."""
    from kyara_kedro.tracking.promotion import override, roll_back, told

    registry = _project(env)[1].catalog.load("model_registry")
    if rollback and version is not None:
        raise UserError("--rollback goes back to the champion before; name no version with it")
    if rollback:
        click.echo(roll_back(registry, reason))
    elif version is not None:
        click.echo(override(registry, version, reason))
    else:
        click.echo(told(registry))


@cli.command(cls=_Plain)
@click.argument("wanted", metavar="[ID]", required=False)
@click.option("--text", help="List the records that hold this text, instead of an ID.")
@click.option("--all", "everything", is_flag=True, help="Check that every final record resolves.")
@click.option("--json", "as_json", is_flag=True, help="Tell it as JSON.")
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it as a web page, too.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Records listed of each kind that was made.",
)
@env_option
@click.pass_context
def explain(
    ctx: click.Context,
    wanted: str | None,
    text: str | None,
    everything: bool,
    as_json: bool,
    page: Path | None,
    limit: int,
    env: str | None,
) -> None:
    """Explain where ID comes from, what befell it and what was made of it.

    ID is that of any record, or its beginning: a conversation, passage, document, question,
    preference pair, benchmark item, reply, dropped record ...; the place of a raw row
    (alpaca.json#3); or a model version (3, @champion).
    """
    from kyara_kedro.datasets.lineage import read_store
    from kyara_kedro.lineage import told
    from kyara_kedro.lineage.audit import audit
    from kyara_kedro.lineage.chain import explain as explained

    if sum((wanted is not None, text is not None, everything)) != 1:
        raise UserError("give an ID, --text or --all; `kedro explain --help` says what an ID is")
    root, context = _project(env)
    store = read_store(context.catalog, root / "data/ledger")
    if everything:
        checked = audit(store)
        click.echo(told.audit_text(checked, as_json=as_json))
        ctx.exit(0 if checked.holds else 1)
    if text is not None:
        click.echo(told.hits_text(store, text, limit, as_json=as_json))
        return
    found = explained(store, str(wanted), limit)
    click.echo(told.explanation_text(found, as_json=as_json))
    if page:
        from kyara_kedro.datasets.files import HTMLDataset

        HTMLDataset(filepath=str(page)).save(told.explanation_page(found))
        click.echo(f"Page 頁面: {page}", err=True)


@cli.command(cls=_Plain)
@click.argument("engine", type=click.Choice(["slurm", "kubernetes", "airflow"]))
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--pipelines", default="", callback=split_string, help="Only these, by commas; else all."
)
@click.option(
    "--group",
    type=click.Choice(["namespace", "node"]),
    default="namespace",
    show_default=True,
    help="What is a job: about a pipeline, or each node.",
)
@click.option("--params", default="", help="Parameters of all runs, as `kedro run` takes them.")
@env_option
def jobs(
    engine: Any, target: Path, pipelines: list[str], group: Any, params: str, env: str | None
) -> None:
    """Write job files into the folder TARGET that run the pipelines on a cluster."""
    from kedro.framework.project import pipelines as registered

    from kyara_kedro.jobs.options import JobsOptions
    from kyara_kedro.jobs.plan import plan_jobs
    from kyara_kedro.jobs.writing import Run, write_jobs
    from kyara_kedro.params import TrainParams
    from kyara_kedro.pipeline_registry import PIPELINES

    if unknown := sorted(set(pipelines) - set(PIPELINES)):
        raise UserError(f"no pipeline '{unknown[0]}': there are {', '.join(PIPELINES)}")
    given = _split_params(click.get_current_context(), None, params)
    root, context = _project(env, given)
    launcher = TrainParams.read(context.config_loader["parameters"]["train"], "train").launcher
    if launcher.nodes > 1:
        raise UserError(
            f"train.launcher.nodes is {launcher.nodes}: a job has one machine; start the stages of "
            "several as docs/train.md says, and write jobs for the other --pipelines"
        )
    chosen = {name: registered[name] for name in pipelines or PIPELINES}
    planned = plan_jobs(chosen, group, launcher.processes)
    arguments = [f"--env={env}"] * bool(env) + [f"--params={params}"] * bool(params)
    options = JobsOptions.read(context.config_loader["jobs"], "conf/*/jobs.yml")
    written = write_jobs(engine, planned, Run(root, arguments), options, target)
    click.echo(f"{len(planned)} jobs: {', '.join(job.name for job in planned)}")
    click.echo(f"Begin with 由此開始: {written[0]}  (docs/scale-out.md)")


@cli.command(cls=_Plain)
@click.argument("wanted", metavar="RUN")
@click.option(
    "--rerun", "in_place", is_flag=True, help="Replace the project's data, instead of comparing."
)
@click.option("--pay", is_flag=True, help="Ask teachers what the ledger does not hold.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="An empty folder that keeps what is made; else it is removed.",
)
@click.pass_context
def reproduce(
    ctx: click.Context, wanted: str, in_place: bool, pay: bool, into: Path | None
) -> None:
    """Do RUN again, with its settings, inputs, prompts and replies, and compare what comes out.

    RUN is the id of a run or its beginning, `last`, or the file of a manifest. Nothing is paid and
    nothing of the project is changed, unless you say so. Ends with 1 if something is different.
    """
    from kyara_kedro.lineage.reproduce import compared_text
    from kyara_kedro.upkeep.repetition import Repetition, find_run, working_folder

    root = find_kedro_project(Path.cwd()) or Path.cwd()
    manifest = find_run(root, wanted)
    with working_folder(into) as folder:
        compared = Repetition(root, manifest, folder, in_place, pay).run(click.echo)
    click.echo(compared_text(compared))
    same = all(one.outcome != "different" for one in compared)
    ctx.exit(0 if same or in_place else 1)


@cli.command("runs", cls=_Plain)
@click.argument("wanted", metavar="[RUN]", required=False)
@click.option(
    "--pin", "pinned", is_flag=True, flag_value=True, default=None, help="Keep RUN's results."
)
@click.option("--unpin", "pinned", is_flag=True, flag_value=False, help="Keep them no longer.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
def show_runs(wanted: str | None, pinned: bool | None, limit: int) -> None:
    """List runs, the newest first; or pin RUN, so that `kedro gc` keeps what it read and made."""
    from itertools import islice

    from kyara_kedro.hooks.runs import FOLDER
    from kyara_kedro.lineage.history import pin, pins, runs_text
    from kyara_kedro.lineage.manifest import run_named, runs

    folder = (find_kedro_project(Path.cwd()) or Path.cwd()) / FOLDER
    if (wanted is None) != (pinned is None):
        raise UserError("give a RUN with --pin or --unpin, and only then")
    if wanted is not None and pinned is not None:
        pin(folder, run_named(folder, wanted).run_id, pinned)
    found = list(islice(runs(folder), limit))
    if not found:
        raise UserError(f"there is no run in {folder}: `kedro run` makes one")
    click.echo(runs_text(found, pins(folder)))


@cli.command(cls=_Plain)
@click.option("--delete", is_flag=True, help="Delete what is listed; else it is only listed.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Newest versions of each data set, and newest runs.",
)
@click.option("--older-than", type=float, default=0, metavar="DAYS", help="Keep what is younger.")
@click.option("--why", is_flag=True, help="List what is kept, too, each with the reason.")
@env_option
def gc(delete: bool, keep: int, older_than: float, why: bool, env: str | None) -> None:
    """List old versions, models, runs and leftovers that nothing needs, and delete them on request.

    What an alias of the registry, a model card, a pinned run or the newest state was made from is
    kept, however far back it goes.
    """
    from kedro.framework.project import pipelines

    from kyara_kedro.hooks.runs import FOLDER
    from kyara_kedro.lineage.garbage import clear, verdict_text
    from kyara_kedro.upkeep.clearing import DOWN, Clearing, Policy, aliases

    root, context = _project(env)
    catalog = context.catalog
    clearing = Clearing(
        catalog,
        pipelines["__default__"],
        root / FOLDER,
        root / context.config_loader["mlflow"]["folder"] / "spool",
        Policy(keep, older_than),
        aliases(catalog.get("model_registry")),
    )
    verdict = clearing.verdict()
    click.echo(verdict_text(verdict, why))
    if clearing.aliases is None:
        click.echo(f"{DOWN}: nothing that could be a model is deleted")
    if not delete:
        click.echo("沒有刪除任何東西 nothing was deleted; --delete does it")
        return
    clearing.check_idle()
    clear(verdict, lambda thing: click.echo(f"deleted {thing.place}"))
