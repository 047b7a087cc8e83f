"""Every model answers by protocol and once; suites and results come in from folders."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kyara_kedro.datasets.sources import SourceFile, SourceFilesDataset
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import BENCHMARKS, Question, question_row
from kyara_kedro.evaluation.scoring import comparison_table, score_files, score_table
from kyara_kedro.params import EvaluateParams, IngestParams
from kyara_kedro.pipelines.evaluate.answering import answer_questions, generate_outputs
from kyara_kedro.pipelines.evaluate.importing import import_results
from kyara_kedro.pipelines.evaluate.judging import check_judgements
from kyara_kedro.pipelines.ingest.nodes import read_suites
from kyara_kedro.records import (
    BENCHMARK_QUESTION,
    EVALUATION_QUESTION,
    JUDGEMENT,
    MODEL_OUTPUT,
    PROTECTED_TEXT,
)
from kyara_kedro.shards import Shard
from kyara_kedro.similarity.protected import all_questions
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.local import LocalTeacher
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.panel import Panel
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import EmbeddedModelOptions
from teachers.loopback import Answer, Server, chat, failed, question, serving

NOBODY = Panel({}, {})
GSM = [
    {"question": f"How much is {n} plus {n}?", "answer": f"It is twice {n}.\n#### {2 * n}"}
    for n in range(3)
]

TWO_TURNS = {"question_id": 7, "category": "writing", "turns": ["說一件事。", "再說一件。"]}
MT_BENCH = {"questions": [TWO_TURNS]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    settings = EmbeddedModelOptions(hidden=16, heads=2, kv_heads=1, intermediate=16, layers=1)
    folder: Path = tmp_path_factory.mktemp("store") / "base"
    return build_embedded_base(["玉山主峰的海拔是3,952公尺。"], settings, folder)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "evaluation.db") as opened:
        yield opened


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many answers the models on this machine have written, call by call."""
    counts: list[int] = []
    fetch = LocalTeacher._fetch

    def counted(self: LocalTeacher, calls: Any, off: Any) -> Any:
        counts.append(len(calls))
        return fetch(self, calls, off)

    monkeypatch.setattr(LocalTeacher, "_fetch", counted)
    return counts


def asked(kind: str, *questions: Question) -> pl.DataFrame:
    return EVALUATION_QUESTION.frame(
        question_row(kind, kind, one, source="test", licence="CC0-1.0") for one in questions
    )


def endpoint(server: Server, beside: Ledger) -> Panel:
    """A model behind a server, with a ledger beside another one."""
    options = {"base_url": server.url, "model": "m", "limits": {"backoff": 0.01}}
    replies = Ledger(beside.path.with_name("served.db"))
    member = OpenAITeacher(EndpointOptions.model_validate(options), replies)
    return Panel({"m": member}, {"m": 1.0})


def generated(
    questions: pl.DataFrame, model: ModelRef, ledger: Ledger, others: Panel = NOBODY
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    params = EvaluateParams.model_validate({"generation": {"max_new_tokens": 4}})
    outputs, dropped, tried = generate_outputs(
        questions, model, model, model, model, {}, others, ledger, params
    )
    assert tried == outputs.height + dropped.height
    return MODEL_OUTPUT.validate(outputs), dropped, tried


def test_the_same_request_is_never_generated_twice(
    model: ModelRef, ledger: Ledger, written: list[int]
) -> None:
    questions = asked("open", Question("a", "玉山？", "山"), Question("b", "濁水溪？", "河"))
    outputs, _, _ = generated(questions, model, ledger)
    assert outputs["model"].unique(maintain_order=True).to_list() == [
        *("base", "sft_base", "sft_refine", "dpo")
    ]
    assert sum(written) == 2  # four names, one model
    assert generated(questions, model, ledger)[0].equals(outputs)
    assert sum(written) == 2
    more = asked("open", Question("a", "玉山？", "山"), Question("c", "高雄？", "市"))
    generated(more, model, ledger)
    assert sum(written) == 3


def test_a_second_turn_follows_the_answer_to_the_first(model: ModelRef, ledger: Ledger) -> None:
    questions = asked("mt_bench", *BENCHMARKS["mt_bench"].read(MT_BENCH))
    with serving(lambda n, body: chat(f"第 {n} 件")) as server:
        outputs, _, _ = generated(questions, model, ledger, endpoint(server, ledger))
        bodies = sorted(server.seen, key=lambda body: len(body["messages"]))
    assert [len(body["messages"]) for body in bodies] == [1, 3]
    assert bodies[0]["temperature"] == 0.7 and bodies[0]["max_tokens"] == 1024
    told = {row["item_id"]: row for row in outputs.filter(model="m").iter_rows(named=True)}
    assert [turn["content"] for turn in told["7#2"]["messages"]] == [
        *("說一件事。", told["7#1"]["output"], "再說一件。")
    ]


@pytest.mark.parametrize("total", [2, 3])
def test_what_shards_have_answered_is_not_generated_again(
    model: ModelRef, ledger: Ledger, written: list[int], total: int
) -> None:
    questions = pl.concat(
        [
            asked("mt_bench", *BENCHMARKS["mt_bench"].read(MT_BENCH)),
            asked("open", *(Question(name, f"{name}？", "山") for name in "abcde")),
        ]
    )
    params = EvaluateParams.model_validate({"generation": {"max_new_tokens": 4}})
    replies = []
    for number in range(1, total + 1):
        with Ledger(ledger.path.with_name(f"{number}.db")) as own:
            replies.append(
                answer_questions(
                    *(questions, model, model, model, model, {}, params, own),
                    shard=Shard(number, total),
                )
            )
    assert sum(written) == sum(table.height for table in replies) == 7
    params = EvaluateParams.model_validate({"generation": {"max_new_tokens": 4}})
    outputs, _, _ = generate_outputs(
        questions, model, model, model, model, {}, NOBODY, ledger, params, *replies
    )
    assert sum(written) == 7
    with Ledger(ledger.path.with_name("alone.db")) as alone:
        assert outputs.equals(generated(questions, model, alone)[0])


def test_an_answer_that_could_not_be_had_is_a_drop_and_so_is_its_second_turn(
    model: ModelRef, ledger: Ledger
) -> None:
    questions = pl.concat(
        [
            asked("mt_bench", *BENCHMARKS["mt_bench"].read(MT_BENCH)),
            asked("open", Question("a", "玉山？", "山"), Question("b", "空白？", "無")),
        ]
    )

    def answer(_: int, body: dict[str, Any]) -> Answer:
        if "一件事" in question(body):
            return failed(400)
        return chat("" if "空白" in question(body) else "山")

    with serving(answer) as server:
        outputs, dropped, _ = generated(questions, model, ledger, endpoint(server, ledger))
    mine = {row["item_id"]: row["output"] for row in outputs.filter(model="m").to_dicts()}
    assert mine == {"a": "山", "b": ""}
    assert sorted(dropped["reason"]) == ["teacher_rejected", "turn_before_is_missing"]


def test_a_model_of_the_catalog_is_not_called_like_a_stage(model: ModelRef, ledger: Ledger) -> None:
    with serving() as server:
        taken = Panel({"dpo": endpoint(server, ledger).direct["m"]}, {"dpo": 1.0})
        with pytest.raises(UserError, match="'dpo' is a stage; rename it"):
            generated(asked("open", Question("a", "？", "山")), model, ledger, taken)
    assert not server.seen


def test_too_many_judgements_that_cannot_be_read_stop_the_run() -> None:
    row = dict.fromkeys(JUDGEMENT.columns, "x") | {"benchmark": "mt_bench", "swapped": False}
    row |= {"chars": 1, "opponent_chars": None, "opponent": None}
    good = {"verdict": "7", "value": 7.0, "problem": None}
    bad = {"verdict": None, "value": None, "problem": "form"}
    rows = [
        row | (bad if n < 2 else good) | {"id": f"{name} {n}", "benchmark": name}
        for name in ("arena_hard", "mt_bench")
        for n in range(30)
    ]
    judged = JUDGEMENT.validate(JUDGEMENT.frame(rows))
    check_judgements(judged, EvaluateParams(max_unread=0.1))
    told = r"2 of 30 judgements of arena_hard by x, 2 of 30 .* mt_bench by x cannot be read.*5%"
    with pytest.raises(UserError, match=told):
        check_judgements(judged, EvaluateParams())


def files(folder: Path) -> list[SourceFile]:
    return SourceFilesDataset(path=[], extra={"path": str(folder)}, suffixes=[".jsonl"]).load()


def test_a_suite_is_asked_by_its_protocol_and_protected(tmp_path: Path) -> None:
    (tmp_path / "gsm.jsonl").write_text("\n".join(map(json.dumps, GSM)), "utf-8")
    suite = EVALUATION_QUESTION.validate(read_suites(files(tmp_path), IngestParams()))
    assert suite.select("kind", "answer").rows()[1] == ("gsm", "2")
    nothing = BENCHMARK_QUESTION.frame(), PROTECTED_TEXT.frame()
    protected = all_questions(nothing[0], suite, nothing[1])
    assert protected["question"].to_list() == [row["question"] for row in GSM]
    assert set(protected["kind"]) == {"open"}


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("gsn.jsonl", GSM[0], r"gsn.jsonl: no benchmark is called 'gsn'; there are .*gsm"),
        ("gsm.references.jsonl", GSM[0], r"'gsm' has no part 'references', but questions"),
        ("mt_bench.references.jsonl", GSM[0], r"the questions of 'mt_bench' are missing"),
        ("gsm.jsonl", {"question": "?"}, r"gsm.jsonl: .*row 1.*'answer'"),
    ],
)
def test_a_suite_that_is_not_whole_stops_the_run(
    tmp_path: Path, name: str, row: dict[str, str], message: str
) -> None:
    (tmp_path / name).write_text(json.dumps(row), "utf-8")
    with pytest.raises(UserError, match=message):
        read_suites(files(tmp_path), IngestParams())


def test_a_part_of_a_suite_is_in_one_file(tmp_path: Path) -> None:
    for name in ("gsm.jsonl", "gsm.questions.jsonl"):
        (tmp_path / name).write_text(json.dumps(GSM[0]), "utf-8")
    with pytest.raises(UserError, match=r"the questions of 'gsm' are in gsm.jsonl too"):
        read_suites(files(tmp_path), IngestParams())


def results(folder: Path, form: str, benchmark: str, **models: list[dict[str, Any]]) -> None:
    where = folder / form / benchmark
    where.mkdir(parents=True)
    for name, rows in models.items():
        (where / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")


def test_results_of_others_stand_beside_ours(tmp_path: Path) -> None:
    rows = [{"id": f"gsm8k-main-test-#{n}", "output": '{"answer": "2"}'} for n in range(2)]
    results(tmp_path / "results", "zeroeval", "gsm", strong=rows, weak=rows[:1])
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "gsm.jsonl").write_text("\n".join(map(json.dumps, GSM)), "utf-8")
    suite = read_suites(files(tmp_path / "suites"), IngestParams())
    questions, outputs, judged, items = import_results(files(tmp_path / "results"), suite)
    assert (questions.height, judged.height, items.height) == (0, 0, 0)
    assert MODEL_OUTPUT.validate(outputs)["model"].to_list() == ["strong", "strong", "weak"]


@pytest.mark.parametrize(
    ("where", "model", "message"),
    [
        ("zero/gsm", "m", r"m.jsonl: no format is called 'zero'; there are .*zeroeval"),
        ("zeroeval/gsn", "m", r"m.jsonl: no benchmark is called 'gsn'; there are .*gsm"),
        ("zeroeval/more/gsm", "m", r"results lie in <format>/<benchmark>/<file>"),
        ("zeroeval/gsm", "m", r"'gsm': its questions are not in them; put gsm.jsonl into"),
        ("zeroeval/gsm", "dpo", r"a model called 'dpo': that is a stage"),
    ],
)
def test_results_without_a_place_are_refused(
    tmp_path: Path, where: str, model: str, message: str
) -> None:
    form, benchmark = where.split("/", 1)
    gold = {"question": "?", "answer": "# 2"} if model == "dpo" else {}
    results(tmp_path, form, benchmark, **{model: [{"id": "a", "output": "2", **gold}]})
    with pytest.raises(UserError, match=message):
        import_results(files(tmp_path), EVALUATION_QUESTION.frame())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.json", None, "m.json: cannot be read .No such file or directory.$"),
        ("m.jsonl", "", "m.jsonl: holds no rows$"),
        ("m.csv", "id,output\n", "m.csv: holds no rows$"),
        ("m.json", '[{"id": "a', "m.json: is no JSON"),
    ],
)
def test_files_that_hold_no_results_say_so(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(UserError, match=message):
        score_files("zeroeval", "gsm", [tmp_path / name], {})


def test_a_part_is_named_as_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"id": "a", "output": "2"}), "utf-8")
    (tmp_path / "gsm.jsonl").write_text("\n".join(map(json.dumps, GSM)), "utf-8")
    with pytest.raises(UserError, match=r"gsm.jsonl: 'gsm' has no part 'question', but questions"):
        score_files("zeroeval", "gsm", [tmp_path / "m.jsonl"], {"question": tmp_path / "gsm.jsonl"})


def test_files_are_scored_with_their_missing_answers(tmp_path: Path) -> None:
    (tmp_path / "gsm.questions.jsonl").write_text("\n".join(map(json.dumps, GSM)), "utf-8")
    right = [{"id": f"gsm8k-main-test-#{n}", "output": f'{{"answer": {2 * n}}}'} for n in range(3)]
    results(tmp_path, "r", "gsm", all=right, some=[*right[:1], right[1] | {"output": "?"}])
    found = sorted((tmp_path / "r" / "gsm").iterdir())
    (tmp_path / "r" / "gsm.questions.jsonl").write_bytes(
        (tmp_path / "gsm.questions.jsonl").read_bytes()
    )
    scored = score_files("zeroeval", "gsm", found, {})
    told = scored.scores.filter(metric="accuracy", part="all").select(
        *("model", "score", "items", "expected", "no_answer")
    )
    assert told.rows() == [("all", 1.0, 3, 3, 0), ("some", 0.5, 2, 3, 1)]
    table = score_table(scored.scores)
    assert "2 of 3" in table and "1 without an answer" in table
    assert "some" in comparison_table(scored.comparisons)
    json.dumps(scored.to_dict())
    for form, kind, message in (
        ("zeroeval", "gsmm", "no benchmark is called 'gsmm'"),
        ("zero", "gsm", "no format is called 'zero'"),
    ):
        with pytest.raises(UserError, match=message):
            score_files(form, kind, found, {})
    (tmp_path / "r" / "gsm.questions.jsonl").unlink()
    with pytest.raises(UserError, match=r"--part questions=FILE"):
        score_files("zeroeval", "gsm", found, {})
