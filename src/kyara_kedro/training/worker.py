"""One of the processes that do a stage together: ``python -m kyara_kedro.training.worker JOB``.

What a person should see goes to the standard output, which torchrun passes on; the standard error
is full of torchrun's own reports and kept in a file.
"""

import logging
import os
import sys
import threading
import traceback
from pathlib import Path

from kyara_kedro.errors import UserError
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.launchers import LEASH, report_fault, watched


def main(job_file: Path) -> int:
    """Do this process's part of a job."""
    import torch

    if LEASH in os.environ:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    first = os.environ["RANK"] == "0"
    if first:
        logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s")
        logging.getLogger("kyara_kedro").setLevel(logging.INFO)
        sys.stderr = sys.stdout
    job = StageJob.model_validate_json(job_file.read_text("utf-8"))
    try:
        watched(job, Tracking.from_environment() if first else None)
    except Exception as error:
        name = "" if isinstance(error, UserError) else f"{job.stage}: {type(error).__name__}: "
        report_fault(job, f"{name}{error}")
        traceback.print_exc(file=sys.__stderr__)
        return 1
    if torch.distributed.is_initialized():  # after a fault it would wait for what others wait for
        torch.distributed.destroy_process_group()
    return 0


def _end_with_parent() -> None:
    """Wait for the end of the input, which comes when the process that holds it ends."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
