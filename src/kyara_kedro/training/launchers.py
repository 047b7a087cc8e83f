"""Where a stage is done: in this process, or in processes of its own that torchrun starts."""

import logging
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from kyara_kedro.tracking.delivery import conclude
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.training.errors import TrainingError
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.options import LauncherOptions
from kyara_kedro.training.resident import release
from kyara_kedro.training.stages import StageResult, made_before, perform
from kyara_kedro.training.watch import StageWatch

logger = logging.getLogger("kyara_kedro")
_JOB = "job.json"
_FAULT = "fault.txt"
_LOG = "torchrun.log"
LEASH = "KYARA_LEASH"
"""Set for processes that end with the one that started them: its end closes their input."""


def run_stage(job: StageJob, tracking: Tracking | None = None) -> StageResult:
    """Do a stage, or find what an earlier run of it made.

    Args:
        job: What to do, and where.
        tracking: Where the stage is tracked.

    Raises:
        TrainingError: the stage failed, or another process is at it.
    """
    if done := made_before(job):
        return _found(job, done)
    release()
    job.workspace.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(job.workspace / ".lock", timeout=0):
            if done := made_before(job):  # by a process that had the lock a moment ago
                result = _found(job, done)
            elif job.launcher.kind == "inprocess":
                result = watched(job, tracking)
            else:
                result = _torchrun(job, tracking)
    except Timeout:
        raise TrainingError(
            f"{job.stage}: another process is training this very stage ({job.workspace})"
        ) from None
    shutil.rmtree(job.workspace, ignore_errors=True)
    return result


def _found(job: StageJob, done: StageResult) -> StageResult:
    logger.info("%s: trained before on the same data and settings (%s)", job.stage, job.directory)
    return done


def watched(job: StageJob, tracking: Tracking | None) -> StageResult:
    """Do a stage in this process, and tell MLflow how it goes and ends."""
    if tracking is None:
        return perform(job)
    watch = StageWatch(tracking, job)
    try:
        result = perform(job, watch)
    except Exception as error:
        watch.finish("FAILED", str(error))
        raise
    except BaseException:
        watch.finish("KILLED")
        raise
    watch.finish("FINISHED")
    return result


def command(job_file: Path, launcher: LauncherOptions, node: str) -> list[str]:
    """The command that does a stage's part of one machine.

    Args:
        job_file: The job as JSON.
        launcher: Processes and machines.
        node: Which machine this is, from 0.

    Raises:
        TrainingError: there are several machines, and none says where the first one is.
    """
    if launcher.nodes == 1:
        meeting = ["--standalone"]
    else:
        if "MASTER_ADDR" not in os.environ:  # they would all wait for each other at home
            raise TrainingError(
                f"launcher.nodes is {launcher.nodes}, but MASTER_ADDR is not set: set it to the "
                "address of the first machine"
            )
        meeting = [
            f"--nnodes={launcher.nodes}",
            f"--node-rank={node}",
            f"--master-addr={os.environ['MASTER_ADDR']}",
            f"--master-port={os.environ.get('MASTER_PORT', '29500')}",
        ]
    return [
        *(sys.executable, "-m", "torch.distributed.run", *meeting),
        f"--nproc-per-node={launcher.processes}",
        *("-m", "kyara_kedro.training.worker", str(job_file)),
    ]


def _torchrun(job: StageJob, tracking: Tracking | None) -> StageResult:
    """Do a stage in processes of their own, which end when this one does."""
    job_file = job.workspace / _JOB
    job_file.write_text(job.model_dump_json(indent=1), "utf-8")
    fault = job.workspace / _FAULT
    fault.unlink(missing_ok=True)
    launcher = job.launcher
    if launcher.nodes > 1:
        other = " ".join(command(job_file, launcher, "$NODE_RANK"))
        logger.info(
            "%s: run this on the other %d machines: %s", job.stage, launcher.nodes - 1, other
        )
    log = job.workspace / _LOG
    with log.open("w") as noise:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command(job_file, launcher, os.environ.get("NODE_RANK", "0")),
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno(),
            stderr=noise,
            env=os.environ
            | {LEASH: "1", "OMP_NUM_THREADS": str(job.machine.threads)}
            | (tracking.environment() if tracking else {}),
        )
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code:
        said = fault.read_text("utf-8") if fault.exists() else None
        error = TrainingError(said or f"{job.stage}: torchrun ended with {code}; see {log}")
        if tracking:  # for processes that died before they could say so
            conclude(tracking, "FAILED", str(error))
        raise error
    if made := made_before(job):
        return made
    raise TrainingError(f"{job.stage}: torchrun ended well but left no model; see {log}")


def report_fault(job: StageJob, message: str) -> None:
    """Tell the process that started this one what went wrong, unless another one has."""
    with suppress(FileExistsError), (job.workspace / _FAULT).open("x", encoding="utf-8") as file:
        file.write(message)
