"""`kedro run` on the sample corpus, looked at from every side that the README promises."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kyara_kedro.pipeline_registry import PIPELINES
from kyara_kedro.text.citations import cited

from support import ROOT, run_kedro

pytestmark = pytest.mark.end_to_end

SAMPLE = ROOT / "data" / "01_raw" / "sample"


def newest(project: Path, pattern: str) -> Path:
    return sorted((project / "data").glob(pattern))[-1]


def table(project: Path, name: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(newest(project, f"*/{name}.parquet/*/{name}.parquet"))
    except IndexError:
        return pl.read_parquet(newest(project, f"*/{name}.parquet"))


def document(project: Path, name: str) -> Any:
    try:
        path = newest(project, f"*/{name}.json/*/{name}.json")
    except IndexError:
        path = newest(project, f"**/{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def planted() -> dict[str, Any]:
    key: dict[str, Any] = json.loads((SAMPLE / "planted.json").read_text(encoding="utf-8"))
    return key


@pytest.fixture(scope="module")
def origins(finished: Path) -> dict[str, str]:
    """Id of every open conversation by its place, written as the key writes it."""
    rows = table(finished, "open_conversations")
    return {
        f"conversations/{parents[0]}": id_ for id_, parents in rows.select("id", "parents").rows()
    }


def test_counts_in_are_counts_out_plus_drops(finished: Path) -> None:
    for name in PIPELINES:
        summary = document(finished, f"{name}_summary")
        flows = [flow for flow in summary.values() if "in" in flow]
        assert flows
        for flow in flows:
            assert flow["in"] == flow["out"] + sum(flow["dropped"].values())
        drops = table(finished, f"{name}_drops")
        assert drops.height == sum(sum(flow["dropped"].values()) for flow in flows)
        assert drops["record_id"].is_unique().all()


def test_every_planted_malformed_row_is_dropped_with_its_reason(
    finished: Path, planted: dict[str, Any]
) -> None:
    drops = table(finished, "ingest_drops")
    said = {
        detail.split(": ")[0]: reason
        for reason, detail in drops.select("reason", "detail").iter_rows()
    }
    for entry in planted["malformed"]:
        place = entry["row"].removeprefix("conversations/")
        assert said.pop(place) == entry["reason"]
    conversations = {"sharegpt", "messages", "alpaca"}
    assert not [place for place in said if place.split(".")[0] in conversations]


def test_every_planted_copy_is_found_and_nothing_else(
    finished: Path, planted: dict[str, Any], origins: dict[str, str]
) -> None:
    duplicates = table(finished, "duplicates")
    found = {frozenset(pair) for pair in duplicates.select("removed_id", "kept_id").iter_rows()}
    expected = {
        frozenset((origins[entry["copy"]], origins[entry["original"]]))
        for kind in ("exact_duplicates", "near_duplicates", "cross_script_duplicates")
        for entry in planted[kind]
    }
    opened = set(origins.values())
    assert {pair for pair in found if pair <= opened} == expected


def test_rows_that_differ_in_a_number_or_a_negation_both_stay(
    finished: Path, planted: dict[str, Any], origins: dict[str, str]
) -> None:
    base = set(table(finished, "base_conversations")["id"])
    pairs = planted["number_only_pairs"] + planted["negation_only_pairs"]
    assert len(pairs) >= 12
    for entry in pairs:
        assert {origins[entry["first"]], origins[entry["second"]]} <= base


def test_every_planted_leak_is_found_and_gone(
    finished: Path, planted: dict[str, Any], origins: dict[str, str]
) -> None:
    found = table(finished, "contamination")
    hits = {(row["record_id"], row["item_id"]) for row in found.iter_rows(named=True)}
    expected = {(origins[entry["row"]], entry["item_id"]) for entry in planted["contaminated"]}
    assert hits == expected
    base = set(table(finished, "base_conversations")["id"])
    assert not base & {record for record, _ in expected}


def test_simplified_documents_become_traditional_and_copies_stay_best(
    finished: Path, planted: dict[str, Any], origins: dict[str, str]
) -> None:
    documents = table(finished, "documents")
    assert documents.filter(pl.col("source").str.starts_with("zh-Hans/")).height == 15
    assert set(documents["language"]) == {"zh-Hant-TW", "en"}
    base = set(table(finished, "base_conversations")["id"])
    for entry in planted["cross_script_duplicates"]:
        assert origins[entry["original"]] in base
        assert origins[entry["copy"]] not in base


def test_every_synthetic_conversation_resolves_to_a_source(finished: Path) -> None:
    known = set()
    for name in ("documents", "passages", "questions", "personas"):
        known |= set(table(finished, name)["id"])
    for parents in table(finished, "synthetic_conversations")["parents"].to_list():
        assert parents
        assert set(parents) <= known


def test_citations_name_documents_that_were_shown(finished: Path) -> None:
    rows = table(finished, "rag_conversations")
    answered = 0
    for prompt, answer in rows["messages"].to_list():
        names = cited(answer["content"])
        assert all(name in prompt["content"] for name in names)
        answered += bool(names)
    assert answered > 100
    assert rows.height > answered, "some questions are unanswerable and refused"


def test_evidence_is_literal(finished: Path) -> None:
    passages = dict(table(finished, "passages").select("passage_id", "text").iter_rows())
    relevant = table(finished, "references").filter(pl.col("relevant"))
    assert relevant.height > 100
    for passage_id, evidence in relevant.select("passage_id", "evidence").iter_rows():
        assert evidence in passages[passage_id]


def test_passages_are_slices_of_documents(finished: Path) -> None:
    texts = dict(table(finished, "documents").select("id", "text").iter_rows())
    for row in table(finished, "passages").iter_rows(named=True):
        assert texts[row["document_id"]][row["start"] : row["end"]] == row["text"]


def test_preferences_come_from_all_sources(finished: Path) -> None:
    sources = set(table(finished, "preferences")["source"])
    assert sources == {"rlaif", "self_play", "ultrafeedback", "h4", "math_step"}


def exact_match(project: Path) -> dict[str, float]:
    scores = table(project, "benchmark_scores").filter(
        pl.col("benchmark") == "held_out", pl.col("metric") == "exact_match"
    )
    return dict(scores.select("model", "score").iter_rows())


def test_the_tiny_model_learns(finished: Path) -> None:
    score = exact_match(finished)
    assert score["base"] == 0
    assert score["sft_base"] > 0.1
    assert score["sft_refine"] > score["sft_base"]
    assert score["dpo"] >= score["sft_refine"] - 0.05
    curves = table(finished, "training_curves").filter(pl.col("metric") == "loss")
    for stage in ("sft_base", "sft_refine", "dpo"):
        loss = curves.filter(pl.col("stage") == stage).sort("step")["value"]
        assert loss.tail(5).median() < loss.head(5).median()  # type: ignore[operator]


def test_held_out_phrasings_are_not_in_the_training_rows(finished: Path) -> None:
    asked = table(finished, "model_outputs").filter(pl.col("benchmark") == "held_out")
    prompts = {messages[-1]["content"] for messages in asked["messages"].to_list()}
    trained = {
        turn["content"]
        for name in ("sft_base_rows", "sft_refine_rows")
        for messages in table(finished, name)["messages"].to_list()
        for turn in messages
    }
    assert len(prompts) >= 30
    assert not prompts & trained


def test_every_model_answers_every_question(finished: Path) -> None:
    questions = table(finished, "evaluation_questions")
    outputs = table(finished, "model_outputs")
    assert outputs.height == questions.height * outputs["model"].n_unique()


def test_the_champion_loads_from_the_registry_and_answers(finished: Path) -> None:
    import mlflow
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    promotion = document(finished, "promotion")
    assert promotion["verdict"] == "promote", promotion["reasons"]
    client = mlflow.MlflowClient(f"sqlite:///{finished / 'data' / 'mlflow' / 'mlflow.db'}")
    candidate = client.get_model_version_by_alias("kyara", "candidate")
    champion = client.get_model_version_by_alias("kyara", "champion")
    assert int(champion.version) == promotion["champion"] == int(candidate.version)
    path = champion.tags["path"]
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    outputs = table(finished, "model_outputs").filter(
        pl.col("benchmark") == "held_out", pl.col("model") == "dpo", pl.col("stopped")
    )
    row = outputs.row(0, named=True)
    inputs = tokenizer.apply_chat_template(
        row["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        written = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    answer = tokenizer.decode(written[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer.strip() == row["output"].strip()


def test_the_run_is_tracked(finished: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{finished / 'data' / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("kyara")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (run,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert run.info.status == "FINISHED"
    assert run.data.params["ingest.passage_chars"] == "400"
    assert run.data.metrics["dedup.conversations.in"] > 1000
    stages = {child.info.run_name: child for child in runs if child is not run}
    assert set(stages) == {"sft_base", "sft_refine", "dpo"}
    curves = table(finished, "training_curves").filter(pl.col("metric") == "loss")
    for name, child in stages.items():
        assert child.data.tags["mlflow.parentRunId"] == run.info.run_id
        assert child.info.status == "FINISHED"
        losses = client.get_metric_history(child.info.run_id, "loss")
        told = curves.filter(pl.col("stage") == name).sort("step")
        assert [point.value for point in losses] == told["value"].to_list()
    assert "answer_question/zh-TW@" in stages["sft_base"].data.tags["prompts"]


def test_the_report_and_the_card_say_what_they_are(finished: Path) -> None:
    report = (finished / "data/08_reporting/evaluation_report.html").read_text(encoding="utf-8")
    assert "<script" not in report
    assert "http" not in report.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "sft_refine" in report
    card = (finished / "data/08_reporting/dataset/README.md").read_text(encoding="utf-8")
    assert "extractive-rules-v1" in card
    for picture in ("language_distribution", "round_distribution", "drop_waterfall"):
        assert f"images/{picture}.svg" in card
        assert (finished / f"data/08_reporting/dataset/images/{picture}.svg").exists()
    published = pl.read_parquet(finished / "data/08_reporting/dataset/data/train-*.parquet")
    assert published["id"].equals(table(finished, "refined_conversations")["id"])


def plans(project: Path, *changes: dict[str, Any]) -> list[dict[str, Any]]:
    """What of a finished project is due under changed parameters."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "plans.py"), json.dumps(changes)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_a_change_makes_due_what_it_touches_and_no_more(finished: Path) -> None:
    nothing, beta, chosen = plans(
        finished, {}, {"train": {"dpo": {"beta": 0.2}}}, {"curate": {"selection": {"budget": 9}}}
    )
    assert nothing == {"stale": {}, "following": []}
    assert beta["stale"]["dpo.train_preferences"] == "train.dpo.beta: 0.1 -> 0.2"
    due = [*beta["stale"], *beta["following"]]
    assert {name.partition(".")[0] for name in due} == {"dpo", "evaluate"}
    assert {"evaluate.generate_outputs", "evaluate.promote", "evaluate.find_champion"} <= {*due}
    assert [name for name in chosen["stale"] if name.startswith("curate")] == [
        "curate.select_conversations"
    ]
    prompt = finished / "conf" / "local" / "prompts" / "judge_pair" / "zh-TW.jinja"
    prompt.parent.mkdir(parents=True)
    packaged = ROOT / "src/kyara_kedro/prompts/judge_pair/zh-TW.jinja"
    prompt.write_text(packaged.read_text("utf-8") + "{# edited #}\n", "utf-8")
    (edited,) = plans(finished, {})
    shutil.rmtree(prompt.parent.parent)
    assert {name for name, why in edited["stale"].items() if "prompt" in why} == {
        "preference.judge_responses",
        "evaluate.compare_stages",
    }


@pytest.mark.parametrize(
    "pipeline",
    [
        pytest.param(name, marks=() if name in ("ingest", "evaluate") else pytest.mark.slow)
        for name in PIPELINES
    ],
)
def test_each_pipeline_runs_alone_and_gives_the_same_tables(
    finished: Path, pipeline: str, subtests: Any
) -> None:
    names = {
        "ingest": ["documents", "passages", "open_conversations"],
        "synthesize": ["synthetic_conversations", "references"],
        "dedup": ["base_conversations", "duplicates"],
        "curate": ["refined_conversations", "tags", "quality"],
        "preference": ["preferences", "verdicts"],
        "train": ["sft_base_rows", "dpo_pairs", "training_curves"],
        "evaluate": ["benchmark_scores", "evaluation_questions"],
    }[pipeline]
    before = {name: table(finished, name) for name in names}
    if pipeline == "train":  # a stage that is there would not be done again
        shutil.rmtree(finished / "data/06_models/dpo")
    done = run_kedro(finished, "run", f"--pipelines={pipeline}", "--fresh")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        with subtests.test(name):
            after = table(finished, name)
            if pipeline == "evaluate" and name == "benchmark_scores":
                after = after.filter(pl.col("model") != "champion")
            assert after.equals(before[name])


def test_the_notebooks_run_from_top_to_bottom(finished: Path, tmp_path: Path) -> None:
    project = shutil.copytree(finished, tmp_path / "project")
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "tests" / "notebook.py")),
            *map(str, sorted((project / "notebooks").glob("*.ipynb"))),
        ],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    corrections = table(project, "own_conversations")
    assert corrections.height == 40
    assert set(corrections["source"]) == {"corrections"}


def test_the_run_ends_with_a_model_to_hand_over(finished: Path) -> None:
    folder = newest(finished, "06_models/export/*")
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "config.json", "generation_config.json", "tokenizer.json"} < names
    assert "model.safetensors" in names
    card = (folder / "README.md").read_text(encoding="utf-8")
    facts = document(finished, "model_facts")
    assert document(finished, "exported_model")["fingerprint"] == facts["fingerprint"]
    assert "這是示範模型，不是助理" in card
    rows = {name: stage["rows"] for name, stage in facts["stages"].items()}
    told = document(finished, "train_summary")
    stages = ("sft_base", "sft_refine", "dpo")
    assert rows == {name: told[name]["out"] - told[name]["held_out"] for name in stages}
    assert facts["verdict"] == document(finished, "decision")["verdict"]


def test_every_record_is_explained_down_to_its_source(finished: Path) -> None:
    checked = run_kedro(finished, "explain", "--all", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    audit = json.loads(checked.stdout)
    assert len(audit["shares"]) == 7
    assert all(share["rows"] == share["resolved"] > 0 for share in audit["shares"])
    learned = table(finished, "sft_refine_rows").filter(pl.col("passage_ids").list.len() > 0)
    explained = run_kedro(finished, "explain", learned["id"][0], "--json", "--limit", "2")
    found = json.loads(explained.stdout)
    kinds = {node["kind"] for node in found["nodes"].values()}
    assert {"conversation", "question", "passage", "document", "row", "model", "version"} <= kinds
    (document, *_) = (one for one in found["nodes"].values() if one["kind"] == "document")
    text = table(finished, "documents").filter(id=document["id"])["text"].item()
    assert all(text[span["start"] : span["end"]] == span["text"] for span in document["spans"])
