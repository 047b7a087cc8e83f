"""What the machines of a cluster offer to jobs: conf/<env>/jobs.yml."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from kyara_kedro.options import Options

Tag = Literal["cpu", "llm", "gpu"]


class Machine(Options):
    """What a job with a tag needs; GPUs are counted from the nodes.

    Attributes:
        cpus: CPU cores.
        memory: Memory in GiB.
        hours: Longest duration.
    """

    cpus: PositiveInt
    memory: PositiveFloat
    hours: PositiveFloat


class Slurm(Options):
    """How SLURM is asked.

    Attributes:
        directives: Further ``#SBATCH`` options by tag, such as ``--partition=gpu``.
        setup: A line of shell before each run, which makes `kedro` known.
    """

    directives: Mapping[Tag, tuple[str, ...]] = {}
    setup: str = "source .venv/bin/activate"


class Kubernetes(Options):
    """Where pods find the project.

    Attributes:
        image: An image with the package installed.
        folder: The project's folder in the pods: its configuration and, where it is not on
            S3-compatible storage, its data.
        claim: PersistentVolumeClaim (ReadWriteMany) that is mounted there; null where the image
            holds the configuration and the catalog names object storage.
        secret: Secret whose entries are environment variables, such as API keys; null for none.
    """

    image: str = "kyara-kedro:latest"
    folder: str = "/project"
    claim: str | None = "kyara"
    secret: str | None = None


class Airflow(Options):
    """How Airflow runs the tasks.

    Attributes:
        schedule: Cron expression or preset; null to trigger it by hand.
        queues: Queues of workers by tag, for executors that have them.
        setup: A line of shell before each run, which makes `kedro` known.
    """

    schedule: str | None = None
    queues: Mapping[Tag, str] = {}
    setup: str = "source .venv/bin/activate"


class JobsOptions(Options):
    """Settings of job files.

    Attributes:
        machines: By tag; a job of several tags takes the most of each.
        retries: How often a failed task is tried again; what was done is not done twice.
        slurm: Of SLURM.
        kubernetes: Of Kubernetes.
        airflow: Of Airflow.
    """

    machines: Mapping[Tag, Machine] = {
        "cpu": Machine(cpus=4, memory=16, hours=12),
        "llm": Machine(cpus=2, memory=16, hours=48),
        "gpu": Machine(cpus=8, memory=64, hours=48),
    }
    retries: NonNegativeInt = Field(1, le=100)
    slurm: Slurm = Slurm()
    kubernetes: Kubernetes = Kubernetes()
    airflow: Airflow = Airflow()
