"""The rows made of lm-evaluation-harness' results, and, where it is installed, a run of it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.harness import (
    Endpoint,
    HarnessOptions,
    LocalModel,
    _begins_with_bos,
    harness_items,
    run_harness,
)
from kyara_kedro.evaluation.scores import StatisticsOptions, benchmark_scores

from support import ROOT

HERE = sys.executable if find_spec("lm_eval") else None
PYTHON = os.environ.get("KYARA_LM_EVAL_PYTHON", HERE)
FEW = StatisticsOptions(resamples=10)


def sample(number: int, chosen_filter: str = "none", **marks: Any) -> dict[str, Any]:
    return {
        "doc_id": number,
        "arguments": [("Question\nAnswer:", " A")],
        "target": "A",
        "filter": chosen_filter,
        "metrics": list(marks),
        **marks,
    }


def results(**samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {"samples": samples, "versions": dict.fromkeys(samples, 2.0)}


def test_subjects_of_tmmluplus_are_strata_and_averaged_over_groups() -> None:
    found = results(
        tmmluplus_physics=[sample(i, acc=float(i < 3)) for i in range(4)],
        tmmluplus_pharmacy=[sample(0, acc=0.0)],
        tmmluplus_music=[sample(0, acc=1.0), sample(1, acc=0.0)],
        tmmluplus_linear_algebra=[sample(0, acc=1.0)],
    )
    items, (task,) = harness_items(found, "m", "0.4.13")
    assert items["item_id"].to_list()[:2] == ["physics/0", "physics/1"]
    assert set(items["scorer_version"]) == {"lm-eval-0.4.13@2.0"}
    rows = benchmark_scores(items, [task], options=FEW)
    scores = {part: (score, n) for part, score, n in rows.select("part", "score", "items").rows()}
    assert scores["all"] == ((0.75 / 2 + 0.5) / 2, 7)
    assert scores["STEM"] == (0.375, 5)
    assert (rows["items"] == rows["expected"]).all()

    items, (task,) = harness_items(found, "m", "0.4.13", subjects=67)
    assert task.name == "lm-eval/tmmluplus-67"
    (score,) = benchmark_scores(items, [task], options=FEW).filter(part="all")["score"]
    assert score == pytest.approx((1.75 / 3 + 0.5) / 2)


def test_an_item_of_several_marks_weighs_as_many() -> None:
    found = results(
        leaderboard_ifeval=[
            sample(0, prompt_level_strict_acc=True, inst_level_strict_acc=[True]),
            sample(1, prompt_level_strict_acc=False, inst_level_strict_acc=[True, False, False]),
        ]
    )
    items, tasks = harness_items(found, "m", "0")
    rows = benchmark_scores(items, tasks, options=FEW).select("metric", "score").rows()
    assert dict(rows) == {"prompt_level_strict_acc": 0.5, "inst_level_strict_acc": 0.5}
    assert tasks[0].metrics == ("prompt_level_strict_acc", "inst_level_strict_acc")


def test_filters_are_named_and_what_is_no_share_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = results(
        gsm8k=[
            sample(0, "strict-match", exact_match=1.0),
            sample(0, "flexible-extract", exact_match=0.0),
        ],
        wikitext=[sample(0, word_perplexity=(-12.5, 3)), sample(1, word_perplexity=-3.0)],
    )
    items, tasks = harness_items(found, "m", "0")
    assert items.select("benchmark", "item_id", "metric", "value").rows() == [
        ("lm-eval/gsm8k", "0", "exact_match,strict-match", 1.0),
        ("lm-eval/gsm8k", "0", "exact_match,flexible-extract", 0.0),
    ]
    assert [task.name for task in tasks] == ["lm-eval/gsm8k"]
    assert caplog.messages == ["wikitext: word_perplexity is no share, left out"]


def test_a_harness_benchmark_asks_nothing_itself() -> None:
    _, (task,) = harness_items(results(arc=[sample(0, acc=1.0)]), "m", "0")
    with pytest.raises(
        UserError, match="'lm-eval/arc' is asked and scored by lm-evaluation-harness"
    ):
        task.messages(next(iter(task.questions.values())))
    assert list(task.requests()) == []


def test_a_model_that_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    options = HarnessOptions(tasks=("arc",))
    with pytest.raises(UserError, match=r"holds no config\.json"):
        run_harness(LocalModel("m", tmp_path), options)
    with pytest.raises(UserError, match="ends neither in /completions nor"):
        run_harness(
            Endpoint(name="m", url="http://localhost/v1", model="m", tokenizer="m"), options
        )


@pytest.mark.skipif(HERE is not None, reason="lm-evaluation-harness is installed")
def test_without_the_extra_the_error_says_how_to_install_it() -> None:
    endpoint = Endpoint(name="m", url="http://localhost/v1/completions", model="m", tokenizer="m")
    with pytest.raises(UserError, match=r"pip install 'kyara-kedro\[eval-harness\]'"):
        run_harness(endpoint, HarnessOptions(tasks=("arc",)))


NEEDS_HARNESS = pytest.mark.skipif(
    PYTHON is None,
    reason="lm_eval is not installed and KYARA_LM_EVAL_PYTHON names no Python that has it",
)
RUN = """
import json, sys
from pathlib import Path
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.harness import Endpoint, HarnessOptions, LocalModel, run_harness

model, tasks, url, out = sys.argv[1:]
options = HarnessOptions(tasks=("local_choice",), include=(Path(tasks),))
found = {}
for tested in (
    LocalModel("disk", Path(model)),
    Endpoint(name="endpoint", url=f"{url}/v1/completions", model="m", tokenizer=model),
    Endpoint(name="chat", url=f"{url}/v1/chat/completions", model="m", tokenizer=model),
):
    try:
        found[tested.name] = run_harness(tested, options)[0].to_dicts()
    except UserError as error:
        found[tested.name] = str(error)
try:
    run_harness(LocalModel("disk", Path(model)), HarnessOptions(tasks=("nothing_at_all",)))
except UserError as error:
    found["unknown"] = str(error)
Path(out).write_text(json.dumps(found), encoding="utf-8")
"""
TASK = """
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}]
metadata: {version: 1.0}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from kyara_kedro.training.embedded import build_embedded_base
    from kyara_kedro.training.options import EmbeddedModelOptions

    settings = EmbeddedModelOptions(hidden=32, heads=2, kv_heads=1, intermediate=64, seed=3)
    directory = tmp_path_factory.mktemp("models") / "embedded"
    texts = ["玉山主峰的海拔是3,952公尺。", "雪山和阿里山都在臺灣。", "Answer: yes or no."] * 3
    return Path(build_embedded_base(texts, settings, directory).path)


class Likelihoods:
    """Log-probabilities of a model, by a plain loop over transformers."""

    def __init__(self, path: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path).eval()

    def tokens(self, ids: list[int]) -> list[list[float]]:
        """Log-probability of every token after each position, shape [length, vocabulary]."""
        import torch

        with torch.no_grad():
            logits = self.model(torch.tensor([ids])).logits[0]
        found: list[list[float]] = torch.log_softmax(logits, -1).tolist()
        return found

    def continuation(self, context: str, text: str) -> float:
        start = len(self.tokenizer(context).input_ids)
        ids = self.tokenizer(context + text).input_ids
        rows = self.tokens(ids)
        return sum(rows[i - 1][ids[i]] for i in range(start, len(ids)))


@pytest.fixture
def endpoint(model: Path) -> Iterator[tuple[str, list[str]]]:
    """An endpoint that echoes a prompt with its log-probabilities; its address and its calls."""
    likelihoods = Likelihoods(model)
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            called.append(self.path)
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            choices = []
            for index, ids in enumerate(asked["prompt"]):
                rows = likelihoods.tokens(ids)
                chosen = [None, *(rows[i - 1][ids[i]] for i in range(1, len(ids))), 0.0]
                top = [None, *({"top": max(row)} for row in rows)]
                logprobs = {"token_logprobs": chosen, "top_logprobs": top}
                choices.append({"index": index, "text": "", "logprobs": logprobs})
            body = json.dumps({"choices": choices}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", called
        server.shutdown()


@NEEDS_HARNESS
def test_accuracies_equal_those_of_a_plain_loop_on_disk_and_over_an_endpoint(
    model: Path, endpoint: tuple[str, list[str]], tmp_path: Path
) -> None:
    asked = [
        {"question": f"第{i}座山？", "choices": [f"玉山{i}", "雪山", "阿里", "山"], "answer": i % 4}
        for i in range(16)
    ]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in asked)
    (tmp_path / "questions.jsonl").write_text(lines, encoding="utf-8")
    task = TASK.replace("QUESTIONS", str(tmp_path / "questions.jsonl"))
    (tmp_path / "task.yaml").write_text(task, encoding="utf-8")

    url, called = endpoint
    out = tmp_path / "found.json"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
    }
    command = [str(PYTHON), "-c", RUN, str(model), str(tmp_path), url, str(out)]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
    found = json.loads(out.read_text(encoding="utf-8"))

    likelihoods = Likelihoods(model)
    expected = []
    for row in asked:
        context = f"{row['question']}\nAnswer:"
        scores = [likelihoods.continuation(context, f" {choice}") for choice in row["choices"]]
        expected.append(float(scores.index(max(scores)) == row["answer"]))
    assert 0 < sum(expected) < len(expected)
    for name in ("disk", "endpoint"):
        items = pl.DataFrame(found[name])
        assert items["item_id"].to_list() == [str(i) for i in range(len(asked))]
        assert items["value"].to_list() == expected
    assert found["chat"].startswith("task 'local_choice' compares log-probabilities")
    assert set(called) == {"/v1/completions"}
    assert found["unknown"].startswith("task 'nothing_at_all': neither")


@NEEDS_HARNESS
def test_the_first_token_goes_before_a_prompt_where_the_tokenizer_puts_it(
    model: Path, tmp_path: Path
) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    assert not _begins_with_bos(str(model))
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(tmp_path)
    assert _begins_with_bos(str(tmp_path))
