"""The frameworks that the benchmarks compare with, each in a virtual environment of its own.

``python benchmarks/peers.py`` installs them all (some minutes, about 2 GB); the scripts install
what they need when it is missing. The environments are kept in ``KYARA_BENCH_ENV``, by default
``~/.cache/kyara-kedro/benchmarks``; delete the folder to start over. Where a peer cannot be
installed, its comparison is skipped with a line that says why, and none of its bars counts as held.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("KYARA_BENCH_ENV", "~/.cache/kyara-kedro/benchmarks")).expanduser()
INSTALL_SECONDS = 1200
CONSTRAINTS = "torch==2.13.0\n"
"""No peer needs torch today; should one come to, it may not bring a second version of it."""


@dataclass(frozen=True)
class Peer:
    """A framework to compare with.

    Attributes:
        name: Its name in tables, environments and ``peers/run_<name>.py``.
        requirements: What is installed; the later ones are dependencies that it does not declare.
        stubs: Folder of modules that stand in for what cannot work offline, beside the runner.
    """

    name: str
    requirements: tuple[str, ...]
    stubs: str | None = None

    @property
    def runner(self) -> Path:
        """The script that asks one column of prompts through this peer."""
        return HERE / "peers" / f"run_{self.name}.py"

    def environment(self) -> dict[str, str]:
        """Variables of the runner's process."""
        quiet = {
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "TELEMETRY_ENABLED": "0",
            "CURATOR_DISABLE_RICH_DISPLAY": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NEMO_TELEMETRY_ENABLED": "false",
            "OPENAI_API_KEY": "none",
        }
        path = [HERE, *([HERE / "peers" / self.stubs] if self.stubs else [])]
        return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(map(str, path))}


CURATOR = Peer("curator", ("bespokelabs-curator==0.1.31",), stubs="stubs")
DISTILABEL = Peer("distilabel", ("distilabel[openai]==1.5.3", "requests"))
DATA_DESIGNER = Peer("data_designer", ("data-designer==0.9.6",))
PEERS = (CURATOR, DISTILABEL, DATA_DESIGNER)


@cache
def interpreter(peer: Peer) -> Path | None:
    """The Python of the peer's environment, made when missing; None, and a line, when it fails."""
    home = ROOT / peer.name
    python, done = home / "bin" / "python", home / "installed.txt"
    wanted = "\n".join(peer.requirements)
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"installing {wanted.replace(chr(10), ', ')} into {home}", file=sys.stderr, flush=True)
    try:
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        constraints = home / "constraints.txt"
        constraints.write_text(CONSTRAINTS)
        pip = f"{python} -m pip install --quiet --disable-pip-version-check".split()
        subprocess.run(
            [*pip, "-c", str(constraints), *peer.requirements],
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        print(f"SKIPPED {peer.name}: it cannot be installed ({detail})", flush=True)
        return None
    done.write_text(wanted)
    return python


if __name__ == "__main__":
    missing = [peer for peer in PEERS if interpreter(peer) is None]
    sys.exit(1 if missing else 0)
