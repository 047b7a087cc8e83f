"""A record explained: its sources, what befell it, what was made of it, and how it is named."""

import json
from pathlib import Path

import polars as pl
import pytest

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.lineage.chain import explain
from kyara_kedro.lineage.graph import Explanation
from kyara_kedro.lineage.search import containing, find
from kyara_kedro.lineage.store import Store
from kyara_kedro.lineage.told import explanation_page, explanation_text
from kyara_kedro.lineage.tree import tree
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.reporting.terminal import display_width
from kyara_kedro.teachers.ledger import Ledger, StoredReply

from .world import TEXT, World

EVIDENCE = "主峰海拔3,952公尺"


class Chain:
    """One conversation with everything behind it."""

    def __init__(self) -> None:
        self.world = World()
        place = self.world.raw("document_rows", "hills/玉山.md")
        self.document = self.world.document(place)
        self.passage = self.world.passage(self.document, 0, 22)
        self.question = self.world.question(self.passage, evidence=EVIDENCE)
        version = PromptLibrary().template("answer_question/zh-TW").version
        calls = [
            {"task": "answer", "teacher": "t", "prompt_version": prompt, "key": key}
            for prompt, key in ((version, "a" * 64), ("answer_question/zh-TW@00000000", "b" * 64))
        ]
        self.conversation = self.world.conversation(
            "synthetic_conversations", self.question, self.passage, calls=calls
        )

    def explained(self, name: str | None = None) -> Explanation:
        return explain(self.world.store(), name or self.conversation)


def test_a_conversation_leads_to_the_stretch_of_its_document_and_to_the_raw_row() -> None:
    chain = Chain()
    found = chain.explained()
    joined = {(edge.source.split("/")[0], edge.target.split("/")[0]) for edge in found.edges}
    assert {("conversation", "question"), ("question", "passage"), ("passage", "document")} < joined
    assert ("document", "row") in joined
    (quoted,) = found.nodes[f"passage/{chain.passage}"].spans
    assert quoted.text == EVIDENCE
    (span,) = found.nodes[f"document/{chain.document}"].spans
    assert (span.text, span.after) == (TEXT[:22], TEXT[22:])
    assert "row/raw_documents/hills/玉山.md" in found.nodes
    assert not any(node.missing for node in found.nodes.values())


def test_a_prompt_that_was_changed_since_is_told_from_one_that_is_held() -> None:
    found = Chain().explained()
    assert [call.prompt_state for call in found.nodes[found.root].calls] == ["held", "changed"]


def test_calls_are_looked_up_in_the_ledger_and_paid_for_once(tmp_path: Path) -> None:
    chain = Chain()
    with Ledger(tmp_path / "replies.db") as ledger:
        told = ("t", "answer", "p", "答", "stop", "m", 7, 0, 5, 0.25, 1.5, "2026-01-01")
        ledger.put([StoredReply("a" * 64, *told)])
    store = Store(chain.world.store().tables, ledgers=[tmp_path / "replies.db"])
    found = explain(store, chain.conversation)
    first, second = found.nodes[found.root].calls
    assert first.reply and first.reply["prompt_tokens"] == 7
    assert second.reply is None
    assert found.cost == 0.25
    reply = explain(store, "aaaaaa")
    assert reply.root == f"reply/{'a' * 64}"
    assert [(group.kind, group.count) for group in reply.made] == [("conversation", 1)]


def test_a_document_is_followed_to_what_was_made_of_it() -> None:
    chain = Chain()
    pair = chain.world.preference(chain.conversation, chain.world.generation(chain.conversation))
    made = {group.kind: group for group in chain.explained(chain.document).made}
    assert {kind: group.count for kind, group in made.items()} == {
        **{"passage": 1, "question": 1, "conversation": 1, "generation": 1, "preference": 1}
    }
    assert made["preference"].shown[0][0] == pair
    assert made["conversation"].states["refined_conversations"] == 1


def test_a_dropped_copy_tells_its_reason_and_what_stands_for_it() -> None:
    chain = Chain()
    kept = chain.world.conversation("synthetic_conversations", chain.question)
    chain.world.drop("dedup_drops", chain.conversation, "exact_duplicate", f"of {kept}")
    chain.world.rows["duplicates"].append(
        {
            **{"id": "d", "removed_id": chain.conversation, "kept_id": kept},
            **{"method": "exact", "similarity": 1.0, "group_id": kept},
        }
    )
    found = chain.explained()
    root = found.nodes[found.root]
    assert [(drop.pipeline, drop.reason) for drop in root.drops] == [("dedup", "exact_duplicate")]
    assert "base_conversations" not in dict(root.tables)
    assert [edge.target for edge in found.edges if edge.relation == "because_of"] == [
        f"conversation/{kept}"
    ]
    copies = [group for group in chain.explained(kept).made if group.relation == "copies"]
    assert [group.count for group in copies] == [1]


def test_an_attempt_that_became_no_record_leads_to_what_it_was_about() -> None:
    chain = Chain()
    detail = f"question {chain.question}: says what another question says"
    attempt = content_id("attempt")
    chain.world.drop("curate_drops", attempt, "equal_evolution", detail)
    found = chain.explained(attempt)
    assert found.root == f"dropped/{attempt}"
    assert f"document/{chain.document}" in found.nodes


def test_a_raw_row_that_was_dropped_is_explained_by_its_place() -> None:
    chain = Chain()
    chain.world.raw("document_rows", "bad.jsonl#2", "malformed_json")
    name = content_id("row", "document", "bad.jsonl#2")
    chain.world.drop("curate_drops", name, "malformed_json", "bad.jsonl#2: broken: badly")
    for wanted in ("bad.jsonl#2", "raw_documents/bad.jsonl#2"):
        found = chain.explained(wanted)
        assert [drop.reason for drop in found.nodes[found.root].drops] == ["malformed_json"]
    assert "row/raw_documents/bad.jsonl#2" in chain.explained(name).nodes


def test_a_beginning_suffices_and_a_passage_is_found_by_its_short_id() -> None:
    chain = Chain()
    store = chain.world.store()
    assert find(store, chain.question[:9]).id == chain.question
    assert find(store, f"id_{chain.passage[:8]}").id == chain.passage


def test_an_id_of_several_records_lists_them_and_an_unknown_one_what_is_near() -> None:
    chain = Chain()
    world = chain.world
    for end in ("1", "2"):
        world.rows["questions"].append(world.rows["questions"][0] | {"id": f"abcdef{end}"})
    with pytest.raises(UserError, match=r"abcdef1 \(question in questions\); abcdef2"):
        find(world.store(), "abcd")
    with pytest.raises(UserError, match="near are abcdef1, abcdef2; searched were"):
        find(world.store(), "abcdxx")
    with pytest.raises(UserError, match="give 4 characters"):
        find(world.store(), "abc")
    with pytest.raises(UserError, match="run `kedro run` first"):
        find(Store({}), "abcd")


def test_what_is_named_and_not_there_is_told() -> None:
    chain = Chain()
    found = explain(chain.world.without(chain.document), chain.conversation)
    assert found.nodes[f"passage/{chain.passage}"].missing == [("document_id", chain.document)]


def test_a_text_is_found_in_every_kind_that_holds_it() -> None:
    chain = Chain()
    hits = {hit.kind: hit for hit in containing(chain.world.store(), "3,952公尺")}
    assert set(hits) == {"document", "passage", "conversation"}
    assert hits["conversation"].shown == (chain.conversation,)
    with pytest.raises(UserError, match="--text is blank"):
        containing(chain.world.store(), " ")


def test_lines_are_as_wide_as_the_terminal_and_control_characters_are_left_out() -> None:
    chain = Chain()
    turns = chain.world.rows["synthetic_conversations"][0]["messages"]
    turns[1]["content"] = "\x1b[31m" + "很長的回答" * 60
    drawn = tree(chain.explained(), 60)
    assert "\x1b[31m" not in drawn
    plain = tree(chain.explained(), 60).replace("\x1b[1m", "").replace("\x1b[0m", "")
    plain = plain.replace("\x1b[2m", "").replace("\x1b[32m", "")
    assert max(map(display_width, plain.splitlines())) <= 60


def test_json_holds_the_whole_chain_and_the_page_escapes_what_records_say() -> None:
    chain = Chain()
    turns = chain.world.rows["synthetic_conversations"][0]["messages"]
    turns[0]["content"] = "<script>alert(1)</script>"
    found = chain.explained()
    told = json.loads(explanation_text(found, as_json=True))
    assert told["schema"] == 1
    assert told["nodes"][told["root"]]["said"][0]["text"] == "<script>alert(1)</script>"
    page = explanation_page(found)
    assert "<script>alert" not in page
    assert f"<mark>{EVIDENCE}</mark>" in page


def test_a_pair_leads_to_the_passages_that_its_answers_cite() -> None:
    chain = Chain()
    answer = chain.world.candidate(f"3,952公尺【id_{chain.passage[:8]}】。")
    found = chain.explained(chain.world.preference(answer))
    shown = [edge.target for edge in found.edges if edge.relation == "shown"]
    assert shown == [f"passage/{chain.passage}"]
    assert f"document/{chain.document}" in found.nodes
    assert found.nodes[f"candidate/{answer}"].missing == [("prompt_id", "p")]


def test_the_models_that_learned_from_a_record_are_told() -> None:
    chain = Chain()
    tokens = pl.DataFrame({"id": [chain.conversation], "source": ["k"], "held_out": [True]})
    found = explain(chain.world.store(sft_base_tokens=tokens), chain.conversation)
    roles = [note["role"] for name, note in found.nodes[found.root].notes if name == "stage"]
    assert roles == ["validation"]
