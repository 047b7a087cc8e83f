"""Results that others have published: each format's reader, by its name."""

from collections.abc import Mapping

from kyara_kedro.evaluation.importing.align_bench import read_align_bench
from kyara_kedro.evaluation.importing.alpaca_eval import read_alpaca_eval
from kyara_kedro.evaluation.importing.arena_hard import read_arena_hard
from kyara_kedro.evaluation.importing.base import Format, Imported, joined, known_name, rows_of
from kyara_kedro.evaluation.importing.fastchat import read_fastchat
from kyara_kedro.evaluation.importing.ifeval import read_ifeval
from kyara_kedro.evaluation.importing.subject_accuracies import read_subject_accuracies
from kyara_kedro.evaluation.importing.tc_eval import read_tc_eval
from kyara_kedro.evaluation.importing.zeroeval import read_flags, read_outputs

__all__ = ["FORMATS", "Format", "Imported", "joined", "known_name", "rows_of"]

FORMATS: Mapping[str, Format] = {
    "align-bench": read_align_bench,
    "alpaca-eval": read_alpaca_eval,
    "arena-hard": read_arena_hard,
    "fastchat": read_fastchat,
    "ifeval": read_ifeval,
    "subject-accuracies": read_subject_accuracies,
    "tc-eval": read_tc_eval,
    "zeroeval": read_outputs,
    "zeroeval-flags": read_flags,
}
"""Every format by its name, as ``kedro score --format`` takes it."""
