import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet
import pytest

from kyara_kedro.content import Message, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.records import CONVERSATION, PREFERENCE
from kyara_kedro.training.chat import encode, encode_pair
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef, ModelRefError, pretrained
from kyara_kedro.training.rows import (
    Choice,
    NothingToLearn,
    Selection,
    select_conversations,
    select_pairs,
)
from kyara_kedro.training.tokens import Pairs, TokensError, open_tokens


def table(families: int = 40) -> pl.DataFrame:
    """Families of one to four rephrasings, from two sources."""
    rows = []
    for family in range(families):
        for wording in range(1 + family % 4):
            messages = [
                Message(role="user", content=f"問題{family}的第{wording}種問法"),
                Message(role="assistant", content=f"答案{family}"),
            ]
            rows.append(
                {
                    "id": content_id(messages),
                    "messages": messages,
                    "source": ("knowledge", "open")[family % 2],
                    "language": "zh-Hant-TW",
                    "rounds": 1,
                    "tokens": 20,
                    "teacher": None,
                    "prompt_version": None,
                    "passage_ids": [],
                    "calls": [],
                    "parents": [f"question-{family}", "passage"],
                    "licence": "CC0-1.0",
                }
            )
    random.Random(0).shuffle(rows)
    return CONVERSATION.validate(CONVERSATION.frame(rows))


def chosen(data: pl.DataFrame, model: ModelRef, folder: Path, **choice: Any) -> Selection:
    found = select_conversations(data.lazy(), model, Choice(**LENGTH | choice), folder / "tokens")
    assert found.tokens.rows + found.tokens.held_out + found.drops.height == data.height
    learned = pl.concat(found.rows(data.lazy()))
    assert learned.height == found.tokens.rows
    stored = open_tokens(found.tokens)
    assert set(stored.ids.filter(~pl.Series(stored.held_out))) == set(learned["id"])
    return found


LENGTH = {"max_length": 256}


def ids_of(found: Selection) -> list[str]:
    return open_tokens(found.tokens).ids.to_list()


def families_of(data: pl.DataFrame, ids: Iterable[str]) -> Counter[str]:
    return Counter(data.filter(pl.col("id").is_in(list(ids)))["parents"].list.first())


def test_everything_is_taken_family_by_family_in_an_order_of_its_own(
    embedded: ModelRef, tmp_path: Path
) -> None:
    data = table()
    found = chosen(data, embedded, tmp_path)
    assert found.drops.is_empty()
    families = dict(data.select("id", pl.col("parents").list.first()).iter_rows())
    firsts = [families[name] for name in ids_of(found)]
    runs = [name for i, name in enumerate(firsts) if i == 0 or name != firsts[i - 1]]
    assert len(runs) == len(set(runs)) == 40
    assert firsts != sorted(firsts)
    again = chosen(data.sort("id"), embedded, tmp_path)
    assert again.tokens == found.tokens
    assert pl.concat(found.rows(data.lazy())).equals(data)


def test_the_store_holds_what_the_template_makes_of_the_rows(
    embedded: ModelRef, tmp_path: Path
) -> None:
    data = table()
    found = chosen(data, embedded, tmp_path)
    stored = open_tokens(found.tokens)
    messages = dict(data.select("id", "messages").iter_rows())
    tokenizer = load_tokenizer(embedded)
    for number, name in enumerate(stored.ids):
        expected = encode(tokenizer, messages[name])
        assert np.array_equal(stored.row(number), expected)


@pytest.mark.parametrize("cap", [1, 17, 50, 1000])
def test_a_cap_takes_whole_families(embedded: ModelRef, tmp_path: Path, cap: int) -> None:
    data = table()
    found = chosen(data, embedded, tmp_path, max_rows=cap)
    whole = families_of(data, data["id"])
    assert all(whole[name] == size for name, size in families_of(data, ids_of(found)).items())
    assert found.tokens.rows == min(cap, len(data))
    assert set(found.drops["reason"]) <= {"over_max_rows"}


def test_only_what_may_fit_is_tokenised_and_what_falls_out_is_replaced(
    embedded: ModelRef, tmp_path: Path
) -> None:
    data = table(400)
    first = ids_of(chosen(data, embedded, tmp_path))[:90]
    broken = broken_at(data, dict.fromkeys(first[::2], "<eos>"))
    found = chosen(broken, embedded, tmp_path, max_rows=60)
    assert found.tokens.rows == 60
    reasons = Counter(found.drops["reason"])
    assert 15 < reasons["control_token"] <= 45
    tokens = Path(found.tokens.path, "tokens.i32").stat().st_size / 4
    assert tokens < found.tokens.tokens * 2


def test_shares_are_nested_and_unnamed_sources_stay_out(embedded: ModelRef, tmp_path: Path) -> None:
    data = table(200)
    quarter = chosen(data, embedded, tmp_path / "a", shares={"knowledge": 0.25})
    half = chosen(data, embedded, tmp_path / "b", shares={"knowledge": 0.5})
    assert set(ids_of(quarter)) < set(ids_of(half))
    assert set(open_tokens(half.tokens).sources) == {"knowledge"}
    assert 35 <= len(families_of(data, ids_of(half))) <= 65
    reasons = Counter(half.drops["reason"])
    assert reasons["source_not_in_mix"] == (data["source"] == "open").sum()
    details = half.drops.filter(reason="beyond_share")["detail"]
    assert set(details) == {"knowledge: 0.5"}


def test_held_out_families_are_the_same_in_every_stage(embedded: ModelRef, tmp_path: Path) -> None:
    data = table(200)
    base = chosen(data, embedded, tmp_path / "a", held_out=0.1)
    refine = chosen(
        data, embedded, tmp_path / "b", held_out=0.1, shares={"knowledge": 0.7}, max_rows=150
    )
    kept = [open_tokens(found.tokens) for found in (base, refine)]
    out, fewer_out = (set(one.ids.filter(pl.Series(one.held_out))) for one in kept)
    assert 0 < len(fewer_out) < len(out)
    assert fewer_out == out & set(kept[1].ids)
    learned = set(families_of(data, pl.concat(base.rows(data.lazy()))["id"]))
    assert not learned & set(families_of(data, out))
    assert 5 <= len(families_of(data, out)) <= 40


def test_nothing_is_held_out_where_nothing_else_is(embedded: ModelRef, tmp_path: Path) -> None:
    found = chosen(table(2), embedded, tmp_path, held_out=1.0)
    assert (found.tokens.rows, found.tokens.held_out) == (3, 0)


def broken_at(data: pl.DataFrame, texts: Mapping[str, str | None]) -> pl.DataFrame:
    """The table with other texts in some rows; None leaves no message at all."""
    messages = [
        None
        if texts.get(name, "") is None
        else [{**turn, "content": texts.get(name, turn["content"])} for turn in turns]
        for name, turns in data.select("id", "messages").iter_rows()
    ]
    return data.with_columns(pl.Series("messages", messages, CONVERSATION.columns["messages"]))


def test_untrainable_and_long_rows_are_dropped_with_their_reason(
    embedded: ModelRef, tmp_path: Path
) -> None:
    data = table(8)
    ids = data["id"].to_list()
    texts = {ids[0]: "<end_of_turn>", ids[1]: "長" * 90, ids[2]: None, ids[3]: "長" * 10**6}
    found = chosen(broken_at(data, texts), embedded, tmp_path, max_length=80)
    told = {name: (reason, detail) for name, reason, detail in found.drops.iter_rows()}
    assert told[ids[0]] == ("control_token", "")
    assert told[ids[1]][0] == told[ids[3]][0] == "over_max_length"
    assert told[ids[1]][1].endswith(" tokens, max_length is 80")
    assert told[ids[2]] == ("empty_conversation", "")
    assert told[ids[3]][1].startswith("at least ")
    assert len(told) == 4


def test_nothing_to_learn_says_why_and_leaves_the_former_tokens(
    embedded: ModelRef, tmp_path: Path
) -> None:
    former = chosen(table(3), embedded, tmp_path)
    with pytest.raises(NothingToLearn, match=r"\(over_max_length 6, source_not_in_mix 4\)"):
        chosen(table(4), embedded, tmp_path, max_length=3, shares={"open": 1.0})
    with pytest.raises(NothingToLearn, match="none came in"):
        chosen(CONVERSATION.frame(), embedded, tmp_path)
    open_tokens(former.tokens)


def test_a_start_that_is_gone_is_told_before_any_work(embedded: ModelRef, tmp_path: Path) -> None:
    gone = replace(embedded, path=str(tmp_path / "gone"))
    with pytest.raises(ModelRefError, match="gone: no model here; run the stage 'embedded' again"):
        select_conversations(table().lazy(), gone, Choice(**LENGTH), tmp_path / "tokens")
    other = pretrained(str(tmp_path / "gone"))
    with pytest.raises(UserError, match="neither a folder with a model"):
        select_conversations(table().lazy(), other, Choice(**LENGTH), tmp_path / "tokens")


def test_a_store_that_cannot_be_written_is_one_line(embedded: ModelRef, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TokensError, match="cannot be written, what was there stays"):
        chosen(table(3), embedded, tmp_path / "file")


def preferences(count: int) -> pl.DataFrame:
    return PREFERENCE.validate(
        PREFERENCE.frame(
            {
                "id": content_id("pair", number),
                "kind": "conversation",
                "prompt": [Message(role="user", content=f"問題{number}？")],
                "prefix": None,
                "chosen": f"答案{number}",
                "rejected": f"錯誤{number}" if number else "答案0 ",
                "score_chosen": None,
                "score_rejected": None,
                "margin": None,
                "p_chosen": number / count if number % 2 else None,
                "p_rejected": 0.25 if number % 2 else None,
                "source": ("self_play", "open")[number % 3 == 2],
                "judge": None,
                "judged_orders": 0,
                "parents": [f"question-{number // 2}"],
                "licence": "CC0-1.0",
            }
            for number in range(count)
        )
    )


def test_pairs_are_chosen_likewise(embedded: ModelRef, tmp_path: Path) -> None:
    data = preferences(20)
    choice = Choice(64, shares={"self_play": 1.0}, held_out=0.2)
    found = select_pairs(data.lazy(), embedded, choice, tmp_path / "pairs")
    assert Counter(found.drops["reason"]) == {"source_not_in_mix": 6, "identical_answers": 1}
    stored = open_tokens(found.tokens)
    assert isinstance(stored, Pairs)
    assert found.tokens.rows + found.tokens.held_out == 13
    tokenizer = load_tokenizer(embedded)
    rows = {row["id"]: row for row in data.iter_rows(named=True)}
    for number, name in enumerate(stored.ids):
        *ids, p_chosen, p_rejected = stored.row(number)
        for found_ids, expected in zip(
            ids, encode_pair(tokenizer, rows[name]).values(), strict=True
        ):
            assert np.array_equal(found_ids, expected)
        assert (p_chosen, p_rejected) == (rows[name]["p_chosen"], rows[name]["p_rejected"])


def test_texts_are_not_held(embedded: ModelRef, tmp_path: Path) -> None:
    """180 MB of text in 20,000 rows, of which one in ten is learned: 2 kB a row at the most."""
    long = "玉山主峰的海拔是多少公尺請直接回" * 190
    blank = table(1).head(1)
    for name, rows in (("small", 1000), ("large", 20_000)):
        ids = pl.Series([content_id(number) for number in range(rows)])
        said = pl.Series([long if number % 10 else "好" for number in range(rows)])
        turns = (
            pl.struct(role=pl.lit("user"), content=pl.lit("問")),
            pl.struct(role=pl.lit("assistant"), content=said),
        )
        data = blank.drop("id", "parents", "messages").join(
            pl.DataFrame({"id": ids}).with_columns(
                parents=pl.concat_list("id"), messages=pl.concat_list(*turns)
            ),
            how="cross",
        )
        table_of = data.to_arrow(compat_level=pl.CompatLevel.oldest())
        pyarrow.parquet.write_table(table_of, tmp_path / f"{name}.parquet", row_group_size=64)
    script = Path(__file__).with_name("memory.py")
    told = subprocess.run(
        [sys.executable, script, embedded.path, tmp_path],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    learned, grown = map(int, told.split())
    assert learned == 2000
    assert grown < 20_000 * 2048


def test_a_model_of_another_chat_format_is_refused_at_once(
    embedded: ModelRef, tmp_path: Path
) -> None:
    """Not after hours of tokenising, when nothing of any row is learned."""
    shutil.copytree(embedded.path, tmp_path / "llama")
    for file in (tmp_path / "llama").glob("tokenizer*"):
        file.write_text(file.read_text("utf-8").replace("<end_of_turn>", "<|eot_id|>"), "utf-8")
    start = ModelRef(str(tmp_path / "llama"), "f", "pretrained", "llama")
    with pytest.raises(UserError, match="llama: the tokenizer does not know <end_of_turn>"):
        select_conversations(table().lazy(), start, Choice(100), tmp_path / "tokens")
    assert not (tmp_path / "tokens").exists()
