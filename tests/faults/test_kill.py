"""A run that was killed is simply started again, whatever it was about to write."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import small_project, start_kedro, wait_for
from support import run_kedro

pytestmark = pytest.mark.faults

RUN = ("run", "--pipelines=ingest,synthesize,dedup")
_VERSION = re.compile(r"/\d{4}-[^/]+Z/")


def results(project: Path) -> dict[str, bytes]:
    """Every table and summary by its path, versions left out."""
    data = project / "data"
    return {
        _VERSION.sub("/", path.relative_to(data).as_posix()): path.read_bytes()
        for folder in ("02_intermediate", "03_primary", "04_feature", "05_model_input")
        for path in sorted((data / folder).rglob("*"))
        if path.suffix in (".parquet", ".json") and path.is_file() and "shard" not in str(path)
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    project = small_project(tmp_path_factory.mktemp("undisturbed"))
    done = run_kedro(project, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    return results(project)


def once(pattern: str) -> Callable[[Path], Callable[[], bool]]:
    return lambda project: lambda: any((project / "data").glob(pattern))


MOMENTS = {
    "writing the knowledge base": once("02_intermediate/knowledge_base/building.*"),
    "writing a table": once("0[34]_*/.*.part"),
    "comparing texts": once("04_feature/compared_texts.parquet"),
}


@pytest.mark.parametrize(
    "moment",
    [
        "writing the knowledge base",
        pytest.param("writing a table", marks=pytest.mark.slow),
        pytest.param("comparing texts", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_is_made_good_by_the_next(
    small: Path, undisturbed: dict[str, bytes], moment: str
) -> None:
    process = start_kedro(small, *RUN)
    wait_for(MOMENTS[moment](small), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert results(small) != undisturbed
    if moment == "writing the knowledge base":  # an unfinished one is not taken for empty
        alone = run_kedro(small, "run", "--pipelines=synthesize")
        assert (
            "'knowledge_base' is not there yet: run `kedro run --pipelines=ingest`" in alone.stderr
        )
    done = run_kedro(small, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(small) == undisturbed
    leftovers = [*small.glob("data/**/*.part"), *small.glob("data/**/building.*")]
    assert leftovers == []
