"""A damaged or wrong table, a full disk: one line that says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore

from .conftest import small_project
from support import run_kedro

pytestmark = pytest.mark.faults

PERSONAS = "data/02_intermediate/personas.parquet"
MATH = ("run", "--nodes=synthesize.write_math_conversations")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project in which `ingest` has run."""
    project = small_project(tmp_path_factory.mktemp("ingested"))
    done = run_kedro(project, "run", "--pipelines=ingest")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def personas(ingested: Path) -> Path:
    """The stored personas, as they were before each test."""
    path = ingested / PERSONAS
    kept = path.with_suffix(".kept")
    if not kept.exists():
        shutil.copy(path, kept)
    shutil.copy(kept, path)
    return path


def error(project: Path, *command: str) -> str:
    """What a failing command says at its end."""
    done = run_kedro(project, *command)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_table_that_breaks_its_contract_is_named_with_its_maker(
    ingested: Path, personas: Path
) -> None:
    table = pl.read_parquet(personas)
    text = pl.when(pl.row_index() == 2).then(pl.lit(" ")).otherwise("text")
    table.with_columns(text=text).write_parquet(personas)
    assert error(ingested, *MATH) == (
        f"Error: personas: persona: column 'text', row id {table['id'][2]}: must not be blank "
        "(1 row breaks this rule); run `kedro run --pipelines=ingest` again"
    )


def test_a_table_that_was_cut_short_is_named(ingested: Path, personas: Path) -> None:
    personas.write_bytes(personas.read_bytes()[:400])
    line = error(ingested, *MATH)
    assert PERSONAS in line
    assert line.endswith(": run the pipeline that makes it again")


FULL = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
runpy.run_module("kedro", run_name="__main__")
"""


def on_a_full_disk(project: Path, *command: str) -> str:
    """What `kedro` says where writes beyond a file size fail in the middle."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_full_disk_leaves_the_old_tables_and_the_next_run_succeeds(
    ingested: Path, personas: Path
) -> None:
    (ingested / "conf/off").mkdir()
    (ingested / "conf/off/mlflow.yml").write_text("enabled: false\n", "utf-8")
    command = ("run", "--pipelines=ingest", "--env=off", "--fresh")
    before = tables(ingested)
    line = on_a_full_disk(ingested, *command)
    assert line.startswith("Error: ")
    assert "open_conversation_rows.parquet" in line
    assert "File too large" in line
    assert tables(ingested) == before
    assert list(ingested.glob("data/**/*.part")) == []
    done = run_kedro(ingested, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(ingested) == before


def tables(project: Path) -> dict[str, bytes]:
    stored = (project / "data" / "02_intermediate").glob("*.parquet")
    return {path.name: path.read_bytes() for path in stored}


def test_a_full_disk_leaves_the_old_knowledge_base(ingested: Path) -> None:
    place = ingested / "data" / "02_intermediate" / "knowledge_base"
    command = (
        *("run", "--nodes=ingest.chunk_documents,ingest.index_passages"),
        *("--env=off", "--params", "ingest.passage_chars=150"),
    )
    before = count(place)
    line = on_a_full_disk(ingested, *command)
    assert "knowledge_base" in line
    assert count(place) == before
    done = run_kedro(ingested, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert count(place) > before
    assert [path.name for path in place.glob("building.*")] == []


def count(place: Path) -> int:
    with KnowledgeStore(KnowledgeOptions(path=place)) as store:
        return store.count()
