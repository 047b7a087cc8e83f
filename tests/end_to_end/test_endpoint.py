"""Synthesis with a model behind an endpoint: a server that answers from what it is sent."""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.faults.conftest import small_project, start_kedro, wait_for
from tests.teachers.loopback import Answer, Server, chat, question, serving

from kyara_kedro.teachers.ledger import Ledger

from support import run_kedro

pytestmark = pytest.mark.end_to_end
RUN = ("run", "--pipelines=ingest,synthesize", "--env=vllm")
TABLES = ("questions", "references", "rag_conversations", "synthetic_conversations")


def parrot(number: int, body: dict[str, Any]) -> Answer:
    """Answer in the task's form with sentences of the prompt, as a model would."""
    said = question(body)
    task = body.get("response_format", {}).get("json_schema", {}).get("name", "")
    document = re.search(
        r"<document>\n標題：(?P<title>[^\n]*)\n\n(?P<text>.*?)</document>", said, re.S
    )
    asked = re.search(r"<question>\n(.*?)\n</question>", said, re.S)
    sentences = re.findall(r"[^。\n：]{8,}。", document["text"] if document else said)
    title = document["title"] if document else ""
    if task == "write_questions":
        found = [one for one in sentences if title in one][:2]
        reply: Any = {
            "questions": [
                {
                    "text": f"關於{title}，資料裡第{place}件事說了什麼？",
                    "kind": "definition",
                    "answer": title,
                    "evidence": sentence,
                }
                for place, sentence in enumerate(found, 1)
            ]
        }
    elif task == "judge_passage":
        reply = {"relevant": True, "evidence": sentences[0], "summary": sentences[0]}
    elif task == "expand_query" and asked:
        reply = {"queries": [asked[1]]}
    elif task in ("evolve_question", "follow_up"):
        reply = {"question": f"如果要向訪客介紹{title}，請問第{len(said) % 7}段重點是什麼？"}
    elif task in ("prompt_for_document", "pose_problem"):
        reply = {"prompt": f"請介紹{title}。"} if document else {"problem": "三加四是多少？"}
    elif "id_" in said:
        passage = re.search(r"id_[0-9a-f]{8,}", said)
        return chat(f"{sentences[0]}【{passage[0]}】" if passage else sentences[0], usage=(100, 20))
    else:
        return chat("三加四等於七。\n答案：7", usage=(100, 20))
    return chat(json.dumps(reply, ensure_ascii=False), usage=(100, 20))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return small_project(tmp_path)


def point(project: Path, server: Server, kind: str = "openai", **options: Any) -> None:
    """Edit the environment's catalog as its user would."""
    file = project / "conf" / "vllm" / "catalog" / "teachers.yml"
    entries = yaml.safe_load(file.read_text("utf-8"))
    entries["writer"]["kind"] = kind
    entries["writer"]["options"] |= {
        "base_url": server.url,
        "limits": {"in_flight": 8, "backoff": 0.01, "patience": 1.0},
        "prices": {"prompt": 1.0, "completion": 2.0},
        **options,
    }
    file.write_text(yaml.safe_dump(entries, allow_unicode=True), "utf-8")


def tables(project: Path) -> dict[str, pl.DataFrame]:
    folder = project / "data" / "03_primary"
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES}


def ledger_rows(project: Path) -> int:
    with Ledger(project / "data" / "ledger" / "replies.db", read_only=True) as ledger:
        return sum(frame.height for frame in ledger.frames())


def test_a_night_that_is_interrupted_pays_for_every_reply_once(project: Path) -> None:
    with serving(parrot) as server:
        point(project, server, budget={"requests": 40})
        spent = run_kedro(project, *RUN)
        assert spent.returncode == 1
        assert len(server.seen) == 40 == ledger_rows(project)
        last = spent.stderr.strip().splitlines()[-1]
        assert re.search(
            r"all 40 requests of the budget are used; \d+ of .* run again to go on", last
        )

        point(project, server, budget={"requests": None})
        killed = start_kedro(project, *RUN)
        wait_for(lambda: len(server.seen) > 80, killed)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        time.sleep(0.3)
        asked = len(server.seen)
        assert ledger_rows(project) >= asked - 8

        done = run_kedro(project, *RUN)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ledger_rows(project) <= len(server.seen) <= ledger_rows(project) + 8
        first = tables(project)
        paid = len(server.seen)

        again = run_kedro(project, *RUN)
        assert again.returncode == 0, again.stdout + again.stderr
        assert len(server.seen) == paid
    assert "all answered by the ledger" in again.stdout + again.stderr
    for name, table in tables(project).items():
        assert table.equals(first[name]), name

    made = first["synthetic_conversations"]
    assert made.height > 20
    assert set(made["teacher"].drop_nulls()) == {"Qwen/Qwen2.5-72B-Instruct"}
    accounts = json.loads((project / "data/08_reporting/teacher_accounts.json").read_text("utf-8"))
    asked_rows = [row for rows in accounts.values() for row in rows]
    assert {row["role"] for row in asked_rows} == {"writer"}
    assert all(row["cached"] == row["requests"] and row["cost"] == 0 for row in asked_rows)

    point(project, server, "replay")  # the server is gone
    replayed = run_kedro(project, *RUN)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    for name, table in tables(project).items():
        assert table.equals(first[name]), name

    point(project, server, "openai", model="another")
    lost = run_kedro(project, *RUN)
    assert lost.returncode == 1
    assert "no answer for" in lost.stderr.strip().splitlines()[-1]
    assert "Traceback" not in lost.stderr
