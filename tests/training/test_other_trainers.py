"""The exports against the formats that LLaMA-Factory and axolotl document.

The checks follow data/README.md of hiyouga/LLaMA-Factory (roles take turns, a first system message
is taken off, an odd number of messages before two ranked answers) and docs/dataset-formats and
docs/rlhf of axolotl-ai-cloud/axolotl (``chat_template``, ``chat_template.default``).
"""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession

from kyara_kedro.cli import cli
from kyara_kedro.errors import UserError
from kyara_kedro.records import CONVERSATION, PREFERENCE
from kyara_kedro.training.chat import CONTROL_TOKENS
from kyara_kedro.training.other_trainers import Trainer, Written, export_data

TRAINERS: tuple[Trainer, ...] = ("llama-factory", "axolotl")


def conversations(*dialogues: list[str], system: str | None = None) -> pl.DataFrame:
    """A table of conversations; each dialogue is what user and assistant say in turns."""
    rows = []
    for number, said in enumerate(dialogues):
        turns = [
            {"role": ("user", "assistant")[turn % 2], "content": content}
            for turn, content in enumerate(said)
        ]
        first = [] if system is None else [{"role": "system", "content": system}]
        rows.append(
            {
                "id": f"c{number}",
                "messages": first + turns,
                "source": "document",
                "language": "zh-Hant-TW",
                "rounds": len(said) // 2,
                "tokens": 10,
                "teacher": None,
                "prompt_version": None,
                "parents": ["d"],
                "passage_ids": [],
                "calls": [],
                "licence": "CC0-1.0",
            }
        )
    return CONVERSATION.validate(CONVERSATION.frame(rows))


def pairs(*answers: tuple[str, str], prefix: str | None = None) -> pl.DataFrame:
    rows = [
        {
            "id": f"p{number}",
            "kind": "conversation" if prefix is None else "continuation",
            "prompt": [{"role": "user", "content": "玉山在哪裡？ "}],
            "prefix": prefix,
            "chosen": chosen,
            "rejected": rejected,
            "source": "rlaif",
            "judged_orders": 2,
            "parents": ["c"],
            "licence": "CC0-1.0",
        }
        for number, (chosen, rejected) in enumerate(answers)
    ]
    return PREFERENCE.validate(PREFERENCE.frame(rows))


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def check_messages(messages: list[dict[str, str]], pair: bool) -> None:
    """What both trainers ask of a list of messages."""
    assert all(set(message) == {"role", "content"} for message in messages)
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    assert [turn["role"] for turn in turns] == [
        ("user", "assistant")[number % 2] for number in range(len(turns))
    ]
    assert len(turns) % 2 == (1 if pair else 0)
    for message in messages:
        assert message["content"] == message["content"].strip() != ""
        assert not any(token in message["content"] for token in CONTROL_TOKENS)


def check_row(row: dict[str, Any], pair: bool) -> None:
    assert set(row) == ({"messages", "chosen", "rejected"} if pair else {"messages"})
    check_messages(row["messages"], pair)
    if pair:
        assert row["chosen"]["role"] == row["rejected"]["role"] == "assistant"
        check_messages([*row["messages"], row["chosen"]], pair=False)
        check_messages([*row["messages"], row["rejected"]], pair=False)


def check_dataset_info(folder: Path) -> set[str]:
    """Check every entry, and return the files that are described."""
    info = json.loads((folder / "dataset_info.json").read_text("utf-8"))
    for entry in info.values():
        pair = entry.get("ranking", False)
        assert set(entry) - {"ranking"} == {"file_name", "formatting", "columns", "tags"}
        assert entry["formatting"] == "sharegpt"
        answers = {"chosen": "chosen", "rejected": "rejected"} if pair else {}
        assert entry["columns"] == {"messages": "messages"} | answers
        assert entry["tags"] == {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        }
        for row in lines(folder, entry["file_name"].removesuffix(".jsonl")):
            check_row(row, pair)
    return {entry["file_name"] for entry in info.values()}


def check_axolotl(folder: Path) -> set[str]:
    files = set()
    for path in folder.glob("*.yml"):
        config = yaml.safe_load(path.read_text("utf-8"))
        [dataset] = config["datasets"]
        pair = config.get("rl") == "dpo"
        assert dataset["type"] == ("chat_template.default" if pair else "chat_template")
        assert dataset["ds_type"] == "json"
        assert config["chat_template"] == "jinja"
        template = (folder / config["chat_template_jinja"]).read_text("utf-8")
        assert all(token in template for token in config["eot_tokens"])
        assert dataset["message_property_mappings"] == {"role": "role", "content": "content"}
        fields = [dataset["field_messages"]]
        fields += [dataset["field_chosen"], dataset["field_rejected"]] if pair else []
        assert pair or dataset["roles_to_train"] == ["assistant"]
        for row in lines(folder, dataset["path"].removesuffix(".jsonl")):
            assert set(row) == set(fields)
            check_row(row, pair)
        files.add(dataset["path"])
    return files


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_export_is_what_the_trainer_documents(trainer: Trainer, tmp_path: Path) -> None:
    tables = {
        "sft_base": conversations(["問一", " 答一\n"], ["a", "b", "c", "d"], system="用中文。"),
        "preferences": pairs(("玉山在臺灣。", "我不知道。")),
    }
    lazy = {name: table.lazy() for name, table in tables.items()}
    written = export_data(lazy, trainer, tmp_path / "out")
    check = check_dataset_info if trainer == "llama-factory" else check_axolotl
    assert check(tmp_path / "out") == {"sft_base.jsonl", "preferences.jsonl"}
    assert written == {"sft_base": Written(2, {}), "preferences": Written(1, {})}
    first, second = lines(tmp_path / "out", "sft_base")
    assert [message["content"] for message in first["messages"]] == ["用中文。", "問一", "答一"]
    assert len(second["messages"]) == 5
    [pair] = lines(tmp_path / "out", "preferences")
    assert pair["messages"] == [{"role": "user", "content": "玉山在哪裡？"}]
    assert (pair["chosen"]["content"], pair["rejected"]["content"]) == (
        "玉山在臺灣。",
        "我不知道。",
    )
    assert "玉山在哪裡" in (tmp_path / "out" / "preferences.jsonl").read_text("utf-8")


def test_what_a_trainer_cannot_express_is_dropped_and_counted(tmp_path: Path) -> None:
    pool = pl.concat(
        [
            pairs(
                ("好。", "不好。"),
                ("同一個", "同一個 "),
                ("<end_of_turn>好", "不好"),
                ("user", "assistant"),
            ),
            pairs(("第二步", "錯的第二步"), prefix="第一步").with_columns(id=pl.lit("p9")),
        ]
    )
    spoiled = conversations(["<start_of_turn>model", "好"], ["\x1f", "好"], ["好嗎", "好"])
    found = {
        trainer: export_data(
            {"preferences": pool.lazy(), "sft_base": spoiled.lazy()}, trainer, tmp_path / trainer
        )
        for trainer in TRAINERS
    }
    dropped = {"continuation": 1, "control_token": 1, "identical_answers": 1}
    assert found["llama-factory"]["preferences"] == Written(2, dropped)
    assert found["axolotl"]["preferences"] == Written(1, dropped | {"inside_template": 1})
    assert found["axolotl"]["sft_base"] == Written(1, {"blank_turn": 1, "control_token": 1})
    manifest = json.loads((tmp_path / "axolotl" / "export.json").read_text("utf-8"))
    assert manifest["files"]["preferences"]["dropped"]["continuation"] == 1


TURN = st.text(min_size=1, max_size=8).filter(lambda text: text.strip() != "") | st.sampled_from(
    [f"a{token}b" for token in CONTROL_TOKENS]
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(TURN, TURN), min_size=1, max_size=4), st.sampled_from(TRAINERS))
def test_rows_in_are_rows_out_plus_drops(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[str, str]], trainer: Trainer
) -> None:
    folder: Path = tmp_path_factory.mktemp("export")
    table = conversations(*(list(said) for said in rounds))
    found = export_data({"sft_base": table.lazy()}, trainer, folder)["sft_base"]
    assert found.rows + sum(found.dropped.values()) == len(rounds)
    kept = [said for said in rounds if not any(t in " ".join(said) for t in CONTROL_TOKENS)]
    assert found.rows == len(kept)
    rows = [json.loads(line) for line in (folder / "sft_base.jsonl").read_bytes().splitlines()]
    assert [[turn["content"] for turn in row["messages"]] for row in rows] == [
        [content.strip() for content in said] for said in kept
    ]


def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    tables = {"sft_base": conversations(["問", "答"]).lazy()}
    target = tmp_path / "out"
    export_data(tables, "axolotl", target)
    export_data(tables, "llama-factory", target)
    assert not list(target.glob("*.yml"))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        export_data(tables, "axolotl", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_command_exports_the_three_tables_of_training(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_project("kyara_kedro")
    monkeypatch.chdir(project)
    arguments = ["export-data", "--format", "axolotl", "out"]
    missing = CliRunner().invoke(cli, arguments)
    assert "'base_conversations' is not there yet: run `kedro run --pipelines=dedup`" in (
        missing.output
    )
    catalog = KedroSession.create(project, save_on_close=False).load_context().catalog
    catalog.save("base_conversations", conversations(["問", "答"], ["好嗎", "好"]))
    catalog.save("refined_conversations", conversations(["問", "答"]))
    catalog.save("preferences", pairs(("第二步", "錯的第二步"), prefix="第一步"))
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "sft_base.jsonl: 2 rows; dropped: none" in done.output
    assert "preferences.jsonl: 0 rows; dropped: continuation 1" in done.output
    assert len(lines(project / "out", "sft_refine")) == 1
