"""`kedro explain` where it has nothing to tell."""

from pathlib import Path

from support import run_kedro


def test_before_the_first_run_it_says_what_makes_the_tables(project: Path) -> None:
    done = run_kedro(project, "explain", "abcd")
    assert done.returncode == 1
    assert "there are no tables yet: run `kedro run` first" in done.stderr
    assert "Traceback" not in done.stderr
