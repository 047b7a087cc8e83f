"""The files of jobs, read and run by what will read and run them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kedro.pipeline import Node, Pipeline

from kyara_kedro.errors import UserError
from kyara_kedro.jobs.options import JobsOptions
from kyara_kedro.jobs.plan import Job, plan_jobs
from kyara_kedro.jobs.writing import Engine, Run, command, machine, write_jobs

from support import ROOT, run_kedro

OPTIONS = JobsOptions.read(
    {
        "slurm": {"directives": {"gpu": ["--partition=big gpu"]}, "setup": "export KEDRO_READY=1"},
        "kubernetes": {"secret": "keys"},
        "airflow": {"queues": {"gpu": "gpus"}, "setup": "export KEDRO_READY=1"},
    },
    "test",
)


def work(*inputs: object) -> int:
    return len(inputs)


def shards_and_a_diamond() -> Pipeline:
    """raw -> two shards and a teacher -> join -> train."""
    shards = [
        Node(work, "raw", f"part_{n}_of_2", name=f"embed_{n}_of_2", tags="gpu") for n in (1, 2)
    ]
    rest = [
        Node(work, "outside", "raw", name="read", tags="cpu"),
        Node(work, "raw", "asked", name="ask", tags="llm"),
        Node(work, ["part_1_of_2", "part_2_of_2", "asked"], "table", name="join", tags="cpu"),
        Node(work, ["table", "params:train", "tracking"], "model", name="train", tags="gpu"),
    ]
    return Pipeline([*shards, *rest], namespace="demo", prefix_datasets_with_namespace=False)


JOBS = plan_jobs({"demo": shards_and_a_diamond()}, "node", 4)
ARGUMENTS = ("--env=gemma2", "--params=raw_documents=/a folder/$x")


def written(engine: Engine, target: Path, jobs: list[Job] = JOBS) -> list[Path]:
    (target / "the project").mkdir(exist_ok=True)
    run = Run(target / "the project", ARGUMENTS)
    return write_jobs(engine, jobs, run, OPTIONS, target / "jobs")


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\nset -eu\n{text}", "utf-8")
    (folder / name).chmod(0o755)


def run(script: Path, programs: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"} | more
    return subprocess.run(
        ["bash", str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_job_takes_the_most_that_one_of_its_tags_says() -> None:
    job = JOBS[0]._replace(tags=frozenset({"llm", "gpu"}))
    found = machine(job, OPTIONS)
    assert (found.cpus, found.memory, found.hours) == (8, 64, 48)


def test_the_shell_reads_arguments_as_they_were_given() -> None:
    line = command(JOBS[0], Run(Path("/p"), ARGUMENTS), "1")
    done = subprocess.run(
        ["bash", "-c", f"kedro() {{ printf '%s\\n' \"$@\"; }}; {line}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-2:] == list(ARGUMENTS)


@pytest.mark.parametrize("engine", ["slurm", "kubernetes"])
def test_scripts_are_sound_shell(engine: Engine, tmp_path: Path) -> None:
    scripts = [path for path in written(engine, tmp_path) if path.suffix == ".sh"]
    assert scripts[0].name == "submit.sh"
    for script in scripts:
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--exclude=SC2016", *map(str, scripts)], check=True)


def test_slurm_is_asked_for_what_a_job_needs(tmp_path: Path) -> None:
    written("slurm", tmp_path)
    train = (tmp_path / "jobs/demo-train.sh").read_text("utf-8")
    assert "#SBATCH --gres=gpu:4\n" in train
    assert "#SBATCH --partition=big gpu\n" in train
    shards = (tmp_path / "jobs/demo-embed.sh").read_text("utf-8")
    assert "#SBATCH --array=1-2\n" in shards and "#SBATCH --gres=gpu:1\n" in shards
    assert "gres" not in (tmp_path / "jobs/demo-ask.sh").read_text("utf-8")


SBATCH = r"""
# Runs a job at once when all that it depends on has ended well, as SLURM would later.
state=$(dirname "$0")/state; mkdir -p "$state"
id=$(($(ls "$state" | wc -l) + 1))
needs=
for argument; do case $argument in --dependency=afterok:*) needs=${argument#*afterok:} ;; esac; done
script=${*: -1}
echo failed > "$state/$id"
for need in ${needs//:/ }; do
  [ "$(cat "$state/$need")" = done ] || { echo "$id"; exit 0; }
done 2> /dev/null
tasks=$(sed -n 's/^#SBATCH --array=1-//p' "$script")
for task in $(seq "${tasks:-1}"); do
  export SLURM_JOB_ID=$id SLURM_ARRAY_TASK_ID=$task
  bash "$script" &>> "$state.log" || { echo "$id"; exit 0; }
done
echo done > "$state/$id"
echo "$id;cluster"
"""
KEDRO = r"""
echo "$KEDRO_READY $(basename "$PWD") ${MLFLOW_RUN_ID:-none} $*" >> "$(dirname "$0")/runs"
case "$*" in *"${FAILING:-nothing}"*) exit 3 ;; esac
"""


def test_slurm_jobs_run_in_their_order(tmp_path: Path) -> None:
    """A stand-in for SLURM: `sbatch` that runs a job at once, if what it needs has ended well."""
    submit = written("slurm", tmp_path)[0]
    programs = tmp_path / "bin"
    program(programs, "sbatch", SBATCH)
    program(programs, "srun", 'shift; exec "$@"')
    program(programs, "scontrol", "true")
    program(programs, "kedro", KEDRO)
    done = run(submit, programs, MLFLOW_RUN_ID="42")
    assert done.returncode == 0, done.stderr
    runs = (programs / "runs").read_text("utf-8").splitlines()
    common = "--env=gemma2 --params=raw_documents=/a folder/$x"
    assert [line.removesuffix(f" {common}") for line in runs] == [
        f"1 the project 42 run --pipelines=demo --nodes=demo.{name}"
        for name in ("read", *sorted(("ask", "embed_1_of_2", "embed_2_of_2")), "join", "train")
    ]


def test_what_needs_a_failed_slurm_job_does_not_run(tmp_path: Path) -> None:
    submit = written("slurm", tmp_path)[0]
    programs = tmp_path / "bin"
    program(programs, "sbatch", SBATCH)
    program(programs, "srun", 'shift; exec "$@"')
    program(programs, "scontrol", 'echo "$@" >> "$(dirname "$0")/requeued"')
    program(programs, "kedro", KEDRO)
    run(submit, programs, FAILING="embed_2_of_2")
    runs = (programs / "runs").read_text("utf-8")
    assert "embed_2_of_2" in runs and "join" not in runs and "train" not in runs
    assert (programs / "requeued").read_text("utf-8").startswith("requeue ")


def test_a_refused_slurm_submission_takes_back_the_others(tmp_path: Path) -> None:
    submit = written("slurm", tmp_path)[0]
    programs = tmp_path / "bin"
    program(programs, "sbatch", '[[ "$*" = *join* ]] && exit 1; echo 7')
    program(programs, "scancel", 'echo "$@" > "$(dirname "$0")/cancelled"')
    assert run(submit, programs).returncode != 0
    assert (programs / "cancelled").read_text("utf-8").split() == ["7"] * 3


def test_kubernetes_objects_fit_their_schema_and_their_jobs(tmp_path: Path) -> None:
    written("kubernetes", tmp_path)
    objects = list(yaml.safe_load_all((tmp_path / "jobs/jobs.yml").read_text("utf-8")))
    assert [one["metadata"]["name"] for one in objects] == [f"kyara-{job.name}" for job in JOBS]
    for job, one in zip(JOBS, objects, strict=True):
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert one["spec"]["suspend"] is True
        assert one["spec"].get("completions", 1) == job.shards
        assert container["resources"]["limits"].get("nvidia.com/gpu", 0) == job.gpus
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "kyara"
        line = container["args"][0].removeprefix("exec ").replace("$$", "$")
        done = subprocess.run(
            ["bash", "-c", f'kedro() {{ echo "$@"; }}; {line}'],
            env={"JOB_COMPLETION_INDEX": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        expected = job.selection.replace("{shard}", "2")
        assert (
            done.stdout.strip()
            == f"run {expected} --env=gemma2 --params=raw_documents=/a folder/$x"
        )
    schema = pytest.importorskip(
        "kubernetes_validate", reason="needs pip install kubernetes-validate"
    )
    for one in objects:
        schema.validate(one, schema.latest_version(), strict=True)


KUBECTL = r"""
# A cluster whose jobs end as soon as they are released.
state=$(dirname "$0")/state; mkdir -p "$state"
case $1 in
  get) cat "$state/$3" 2> /dev/null || true ;;
  patch)
    echo "$3" >> "$(dirname "$0")/released"
    case $3 in *"${FAILING:-nothing}"*) end=Failed ;; *) end=Complete ;; esac
    echo "$end " > "$state/$3" ;;
  create) echo "$*" >> "$(dirname "$0")/created" ;;
  *) cat > /dev/null || true ;;
esac
"""


@pytest.mark.parametrize("failing", ["", "embed"])
def test_kubernetes_jobs_are_released_in_their_order(tmp_path: Path, failing: str) -> None:
    """A stand-in for a cluster: `kubectl` whose jobs end as soon as they are released."""
    submit = written("kubernetes", tmp_path)[0]
    programs = tmp_path / "bin"
    program(programs, "kubectl", KUBECTL)
    more = {"FAILING": failing} if failing else {}
    done = run(submit, programs, KYARA_POLL_SECONDS="0", MLFLOW_RUN_ID="42", **more)
    released = (programs / "released").read_text("utf-8").split()
    first = ["kyara-demo-read", *sorted(("kyara-demo-ask", "kyara-demo-embed"))]
    assert "MLFLOW_RUN_ID=42" in (programs / "created").read_text("utf-8")
    if failing:
        assert done.returncode == 1 and "kyara-demo-embed has failed" in done.stderr
        assert released == first
    else:
        assert done.returncode == 0, done.stderr
        assert released == [*first, "kyara-demo-join", "kyara-demo-train"]


def test_airflow_reads_the_same_graph(tmp_path: Path) -> None:
    python = os.environ.get("KYARA_AIRFLOW_PYTHON")
    (file,) = written("airflow", tmp_path)
    compile(file.read_text("utf-8"), file.name, "exec")
    if not python:
        pytest.skip("KYARA_AIRFLOW_PYTHON names no interpreter that has Airflow 3")
    script = (
        "import json, runpy, sys\n"
        "dag = runpy.run_path(sys.argv[1])['dag']\n"
        "dag.check_cycle()\n"
        "print(json.dumps({name: [sorted(task.upstream_task_ids), task.bash_command, task.queue]"
        " for name, task in dag.task_dict.items()}))"
    )
    done = subprocess.run(
        [python, "-c", script, str(file)],
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path / "airflow")},
        capture_output=True,
        text=True,
        check=True,
    )
    tasks = json.loads(done.stdout.splitlines()[-1])
    shards = {job.name: job.shards for job in JOBS}

    def names(job: str) -> list[str]:
        numbers = [f"-{n}" for n in range(1, shards[job] + 1)] if shards[job] > 1 else [""]
        return [f"demo.{job}{number}" for number in numbers]

    assert tasks.keys() == {name for job in JOBS for name in names(job.name)}
    for job in JOBS:
        needed = sorted(name for need in job.needs for name in names(need))
        for number, name in enumerate(names(job.name), 1):
            upstream, line, queue = tasks[name]
            assert upstream == needed
            assert line.endswith(command(job, Run(tmp_path, ARGUMENTS), str(number)))
            assert queue == ("gpus" if job.gpus else "default")


def test_the_command_writes_them_and_says_what_is_wrong(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "jobs"
    options = (
        "--pipelines=train,evaluate",
        "--params=train.launcher.kind=torchrun,train.launcher.processes=8",
    )
    done = run_kedro(project, "jobs", "slurm", str(target), *options)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in target.iterdir()) == [
        *("dpo.sh", "evaluate.sh", "sft.sh", "submit.sh")
    ]
    sft = (target / "sft.sh").read_text("utf-8")
    assert "--gres=gpu:8" in sft
    assert f"--pipelines=train --namespaces=sft {options[1]}" in sft
    wrong = run_kedro(project, "jobs", "slurm", str(target), "--pipelines=tain")
    assert wrong.stderr.splitlines() == [
        "Error: no pipeline 'tain': there are ingest, synthesize, dedup, curate, preference, "
        "train, evaluate"
    ]


def test_settings_of_machines_are_checked() -> None:
    base = yaml.safe_load((ROOT / "conf/base/jobs.yml").read_text("utf-8"))
    assert JobsOptions.read(base, "jobs.yml") == JobsOptions()
    with pytest.raises(UserError, match="machines"):
        JobsOptions.read({"machines": {"tpu": {"cpus": 1, "memory": 1, "hours": 1}}}, "jobs.yml")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file", "utf-8")
    with pytest.raises(UserError, match="jobs cannot be written"):
        written("slurm", tmp_path)
