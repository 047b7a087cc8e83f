"""Nothing unsupported gets through: synthesis from a teacher that misbehaves on purpose.

A scripted server answers by the embedded rules and spoils a share of its replies: citations of
documents that do not exist or do not say so, invented and spliced quotes, refusals with further
words, Simplified Chinese, obedience to orders hidden in documents, and thirty other vices
(`tests/scripted.py`). `kedro run --pipelines=ingest,synthesize` asks it about this project's
sample and about paragraphs of DRCD, where KYARA_CONFORMANCE_DATA has them. What was accepted is
audited without the pipeline's own checks (`tests/audit.py`); every bad reply is followed to its
end; and the same server without vices tells how many good replies are lost.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tests import audit  # noqa: E402
from tests.scripted import (  # noqa: E402
    DEMANDED,
    PLAIN,
    VICES,
    Exchange,
    Model,
    everything,
    plant,
    point,
    scripted,
    wish,
)

from support import copy_project, run_kedro  # noqa: E402

DATA = ROOT / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data")
DRCD = DATA / "corpora" / "drcd_dev_paragraphs.jsonl.gz"
SHARE = 0.03
"""Of the replies that can have it, for each vice; together they spoil about every third reply."""
SHOWN = 3
DAMAGED = ("broken_json", "wrong_schema", "truncated", "filtered", "declined", "wrong_count")
"""Vices after which there is nothing that could be used."""
JUSTIFIED = (
    "too_few_rounds",
    *("not_needed", "beyond_target", "repeated", "language_not_wanted", "document_length"),
    *("no_references", "no_question", "teacher_rejected", "no_answer", "no_follow_up"),
)
"""Reasons that blame no reply: nothing more was wanted, or the rules had nothing to say."""


@dataclass
class Fate:
    """What became of the replies with one vice.

    Attributes:
        caught: Nothing of them was accepted.
        repaired: Accepted without what was wrong.
        missed: Accepted as they were; the texts.
    """

    caught: int = 0
    repaired: int = 0
    missed: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.caught + self.repaired + len(self.missed)

    @property
    def recall(self) -> float:
        return 1 - len(self.missed) / self.total if self.total else float("nan")


@dataclass(frozen=True)
class Run:
    """What a run has written, and what the server said."""

    tables: audit.Tables
    summary: Mapping[str, Any]
    model: Model
    seconds: float


def synthesised(folder: Path, corpus: str, vices: Mapping[str, float], limit: int) -> Run:
    """Run ingest and synthesize over a corpus with a server of some vices."""
    project = copy_project(folder)
    documents = project / "data/01_raw/sample/documents"
    if corpus == "drcd":
        shutil.rmtree(documents)
        documents.mkdir()
        with gzip.open(DRCD, "rt", encoding="utf-8") as lines:
            text = "".join(line for line, _ in zip(lines, range(limit), strict=False))
        (documents / "drcd.jsonl").write_text(text, "utf-8")
    else:
        for path in sorted(documents.glob("zh-TW/*/*.md"))[limit:]:
            path.unlink()
    if "obedience" in vices:
        plant(project)
    wish(project, rag={"part": 1.0, "unanswerable": 0.2}, magpie={"target": 40})
    started = time.perf_counter()
    with scripted(vices) as (model, server):
        point(project, server)
        done = run_kedro(project, "run", "--pipelines=ingest,synthesize", "--env=vllm")
    if done.returncode:
        raise harness.ProgramError(f"kedro run: {done.stdout[-800:]}{done.stderr[-800:]}")
    tables = audit.Tables(project / "data")
    summary = tables.json("synthesize_summary")
    return Run(tables, summary, model, time.perf_counter() - started)


def fates(run: Run) -> dict[str, Fate]:
    """Follow every bad reply to its end."""
    used = _used(run.tables)
    found: dict[str, Fate] = defaultdict(Fate)
    for one in run.model.exchanges:
        if not one.vice:
            continue
        fate = found[one.vice]
        rows = [row for key in one.keys for row in used.get(key, ())]
        kept, text = _kept(one, rows)
        if kept == "as it was":
            fate.missed.append(f"{one.asked.task}: {text}")
        elif kept:
            fate.repaired += 1
        else:
            fate.caught += 1
    return dict(found)


def _used(tables: audit.Tables) -> dict[str, list[dict[str, Any]]]:
    """Accepted conversations, questions and references by the calls that they rest on."""
    used: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name in ("synthetic_conversations", "questions", "references"):
        for row in tables.rows(name):
            if name == "references" and not row["relevant"]:
                continue
            calls = row["calls"][-1:] if row.get("source") == "math" else row["calls"]
            posed = [call for call in row["calls"] if call["task"] == "pose_problem"]
            for key in {call["key"] for call in (*calls, *posed)}:
                used[key].append(row | {"table": name})
    return used


def _kept(one: Exchange, rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Whether a bad reply was kept "as it was" or "repaired", or not at all; and its text."""
    try:
        bad, fair = json.loads(one.said.text), json.loads(one.good.text)
    except ValueError:
        bad = fair = None
    text = one.said.text.strip()
    if one.asked.task == "solve_problem":  # what was sent does not say which sample it was
        return ("as it was" if text in _texts(rows) else ""), text
    if one.vice in DAMAGED or (bad is None and one.asked.task not in PLAIN):
        return ("as it was" if rows else ""), text
    if one.asked.task == "judge_passage":
        held = {row["evidence"] for row in rows if row["table"] == "references"}
        kept = bool(held) and bad["relevant"]
        return _kept_as(bad["evidence"], held) if kept else "", bad["evidence"]
    if one.asked.task == "write_questions":
        return _kept_question(bad["questions"], fair["questions"], rows)
    if one.asked.task not in PLAIN:
        text = next((str(bad[name]) for name in bad if bad[name] != fair.get(name)), text).strip()
    return _kept_as(text, _texts(rows)), text


def _kept_as(text: str, held: Collection[str]) -> str:
    return "as it was" if text in held else "repaired" if held else ""


def _kept_question(bad: list[Any], fair: list[Any], rows: list[dict[str, Any]]) -> tuple[str, str]:
    changed = [one for one in bad if one not in fair]
    untouched = {one["text"] for one in bad if one in fair}
    asked = [row for row in rows if row["table"] == "questions" and row["operation"] == "none"]
    for one in changed:
        for row in asked:
            if row["text"] == one["text"]:
                same = all(row[name] == one[name] for name in ("evidence", "answer", "kind"))
                return ("as it was" if same else "repaired"), json.dumps(one, ensure_ascii=False)
    strange = [row for row in asked if row["text"] not in untouched]
    return ("repaired" if strange else ""), json.dumps(changed, ensure_ascii=False)[:120]


def _texts(rows: list[dict[str, Any]]) -> set[str]:
    found = {turn["content"] for row in rows for turn in row.get("messages", ())}
    return found | {row["text"] for row in rows if row["table"] == "questions"}


def lost(run: Run) -> Iterator[tuple[str, int, int, str]]:
    """Attempts of each flow, how many good ones were dropped, and why."""
    for name, flow in run.summary.items():
        if "dropped" in flow:
            wrong = {
                reason: number
                for reason, number in flow["dropped"].items()
                if reason not in JUSTIFIED
            }
            told = ", ".join(f"{reason} {number}" for reason, number in wrong.items())
            yield name, flow["in"], sum(wrong.values()), told


def audited(bench: harness.Benchmark, corpus: str, run: Run) -> None:
    """The bars of one corpus."""
    tables, passages = run.tables, run.tables.passages
    cited = tables.rows("rag_conversations")
    everything_said = tables.rows("synthetic_conversations")
    refusals, due = audit.refusals(tables)
    findings = {
        "dangling ids": [*audit.dangling(cited), *audit.uncited(cited)],
        "cited sentences without support": list(audit.unsupported(cited, passages)),
        "evidence that is not literal": list(audit.unliteral(tables)),
        "refusals that are not exact or not due": refusals,
        "turns with Simplified Chinese": list(audit.in_simplified(everything_said)),
        "turns with words of the prompts": list(audit.with_prompt_words(tables)),
        "constraints broken": list(audit.constraints_broken(tables.rows("told_conversations"))),
        "turns that obey a document": list(
            audit.holding(everything_said, DEMANDED, "assistant", "system")
        ),
        "wrong results": list(audit.wrong_results(tables.rows("math_conversations"))),
        "losses without a reason": list(audit.unbalanced(run.summary, tables["synthesize_drops"])),
    }
    for name, found in findings.items():
        bench.at_most(f"{corpus}: {name}", len(found), 0)
        for line in found[:SHOWN]:
            print(f"  {name}: {line}")
    idle, total = audit.superfluous(cited, passages)
    strange = list(audit.ungrounded(cited, passages))
    bench.figure(f"{corpus}: sentences that cite nothing and stand nowhere", len(strange))
    bench.figure(f"{corpus}: rows with references", len(cited))
    bench.figure(f"{corpus}: of them due to refuse", due)
    bench.figure(f"{corpus}: citations that their sentence does not need", idle / max(1, total))
    bench.figure(f"{corpus}: requests", len(run.model.exchanges))
    bench.figure(f"{corpus}: requests a second", len(run.model.exchanges) / run.seconds)


def main() -> None:
    bench = harness.Benchmark.start("citations", __doc__.partition("\n")[0])
    corpora = {"sample": 8 if bench.quick else 100}
    if DRCD.is_file():
        corpora["drcd"] = 30 if bench.quick else 300
    else:
        print(f"{DRCD}: no such file; set KYARA_CONFORMANCE_DATA\n")
    together: dict[str, Fate] = defaultdict(Fate)
    for corpus, limit in corpora.items():
        with tempfile.TemporaryDirectory() as bad, tempfile.TemporaryDirectory() as fair:
            print(f"## {corpus}: every vice at {SHARE:.0%}\n", flush=True)
            run = synthesised(Path(bad), corpus, everything(SHARE), limit)
            audited(bench, corpus, run)
            for name, fate in fates(run).items():
                together[name].caught += fate.caught
                together[name].repaired += fate.repaired
                together[name].missed += fate.missed
            honest = synthesised(Path(fair), corpus, {}, limit)
            print(f"\n{corpus}: good replies that were dropped\n")
            rows = list(lost(honest))
            harness.table(
                ("flow", "attempts", "dropped", "share", "reasons"),
                [(name, n, k, f"{k / max(1, n):.2%}", why) for name, n, k, why in rows],
            )
            attempts, dropped = (sum(row[place] for row in rows) for place in (1, 2))
            bench.figure(f"{corpus}: share of good replies dropped", dropped / max(1, attempts))
    _told(bench, together)
    bench.finish()


def _told(bench: harness.Benchmark, together: Mapping[str, Fate]) -> None:
    print("## What became of bad replies\n")
    harness.table(
        ("vice", "replies", "caught", "repaired", "missed", "recall"),
        [
            (name, fate.total, fate.caught, fate.repaired, len(fate.missed), f"{fate.recall:.1%}")
            for name, fate in sorted(together.items(), key=lambda one: (one[1].recall, one[0]))
        ],
    )
    for name, fate in sorted(together.items()):
        bench.figure(f"recall: {name}", fate.recall)
        for task, number in Counter(text.partition(":")[0] for text in fate.missed).items():
            print(f"missed {name} in {task}: {number}")
        for text in fate.missed[:SHOWN]:
            print(f"    {text[:160]!r}")
    if never := sorted(set(VICES) - set(together)):
        print(f"never at work: {', '.join(never)}")
    total, missed = (
        sum(one.total for one in together.values()),
        sum(len(one.missed) for one in together.values()),
    )
    bench.figure("bad replies", total)
    bench.figure("recall over all bad replies", 1 - missed / max(1, total))


if __name__ == "__main__":
    main()
