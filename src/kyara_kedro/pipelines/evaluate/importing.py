"""Outputs and judgements that others have published, beside our own."""

from collections import defaultdict
from pathlib import PurePosixPath

import polars as pl

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import BENCHMARKS, question_row
from kyara_kedro.evaluation.importing import FORMATS, Imported, joined, known_name
from kyara_kedro.pipelines.evaluate.answering import CHAMPION, STAGES
from kyara_kedro.records import EVALUATION_QUESTION


def import_results(
    raw_results: list[SourceFile], suite_questions: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Read results, each in a folder ``<format>/<benchmark>``.

    Questions that the files repeat count where the benchmark itself is not among the suites.

    Returns:
        Questions, outputs, judgements and items.

    Raises:
        UserError: a file lies elsewhere, its format or benchmark is unknown, its questions are
            nowhere, or a model is called like a stage.
    """
    parts: dict[str, list[Imported]] = defaultdict(list)
    homes: dict[tuple[str, str], str] = {}
    for file in raw_results:
        folders = PurePosixPath(file.name).parts
        if len(folders) != 3:
            raise UserError(f"{file.path}: results lie in <format>/<benchmark>/<file>")
        try:
            form = known_name("format", folders[0], FORMATS)
            benchmark = known_name("benchmark", folders[1], BENCHMARKS)
        except UserError as error:
            raise UserError(f"{file.path}: {error}") from error
        read = FORMATS[form](file.path, benchmark)
        parts[benchmark].append(read)
        for question in read.questions:
            homes.setdefault((benchmark, question.item_id), f"{file.name}#{question.item_id}")
    known = set(suite_questions["benchmark"])
    questions = []
    found = Imported()
    for benchmark, some in sorted(parts.items()):
        whole = joined(some)
        found = joined([found, Imported([], whole.outputs, whole.judgements, whole.items)])
        if benchmark not in known:
            if not whole.questions and (whole.outputs.height or whole.judgements.height):
                raise UserError(
                    f"results of '{benchmark}': its questions are not in them; put "
                    f"{benchmark}.jsonl into data/01_raw/suites"
                )
            questions += [
                question_row(
                    *(benchmark, benchmark, one),
                    source=homes[benchmark, one.item_id],
                    licence="unknown",
                )
                for one in whole.questions
            ]
    tables = (found.outputs, found.judgements, found.items)
    models = {name for table in tables for name in table["model"]}
    if taken := sorted(models & {*STAGES, CHAMPION}):
        raise UserError(f"results of a model called {taken[0]!r}: that is a stage; rename the file")
    return (EVALUATION_QUESTION.frame(questions), *tables)
