import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.content import content_id
from kyara_kedro.judging.merging import by_source, margin_shares, merge, quotas
from kyara_kedro.records import CONVERSATION, PREFERENCE

NONE = CONVERSATION.frame()


def pair(prompt, chosen, rejected, source="s", margin=None, prefix=None):
    row = dict.fromkeys(PREFERENCE.columns) | {
        "id": content_id(source, prompt, chosen, rejected),
        "kind": "conversation" if prefix is None else "continuation",
        "prompt": [{"role": "user", "content": prompt}],
        "prefix": prefix,
        "chosen": chosen,
        "rejected": rejected,
        "margin": margin,
        "source": source,
        "judged_orders": 0,
        "parents": ["r"],
        "licence": "CC0",
    }
    return row


def table(*rows):
    return PREFERENCE.validate(PREFERENCE.frame(rows))


def learned(prompt, answer):
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    row = dict.fromkeys(CONVERSATION.columns) | {"id": "t", "messages": messages}
    return CONVERSATION.frame([row])


def dropped(result):
    return dict(result.drops.select("record_id", "reason").iter_rows())


def test_copies_leave_the_pair_that_says_most():
    bare = pair("問？", "好。", "壞。", "a")
    rated = pair("問", "好", "壞！", "b", margin=0.5)
    better = pair("問", "好！", "壞", "c", margin=0.7)
    result = merge(table(bare, rated, better), {}, NONE)
    assert result.pairs["id"].to_list() == [better["id"]]
    assert dropped(result) == {bare["id"]: "exact_duplicate", rated["id"]: "exact_duplicate"}
    assert set(result.drops["detail"]) == {f"of {better['id']} (c)"}


def test_sources_that_contradict_each_other_both_go():
    one, other = pair("問", "甲", "乙", "a", 0.9), pair("問？", "乙。", "甲。", "b", 0.1)
    unasked = pair("別問", "乙", "甲", "b")
    copy = pair("問", "甲!", "乙!", "c", 0.2)
    result = merge(table(one, other, unasked, copy), {}, NONE)
    assert result.pairs["id"].to_list() == [unasked["id"]]
    assert dropped(result) == {
        one["id"]: "conflict",
        other["id"]: "conflict",
        copy["id"]: "exact_duplicate",
    }
    details = dict(result.drops.select("record_id", "detail").iter_rows())
    assert details[one["id"]] == f"with {other['id']} (b)"


def test_a_pair_of_scripts_is_no_conflict_with_itself():
    script = pair("問", "這個軟體", "这个软体")
    assert merge(table(script), {}, NONE).pairs.height == 1


def test_what_was_taught_is_not_rejected():
    against = pair("玉山多高？", "三千公尺。", "3952公尺。", "rlaif")
    along = pair("玉山多高？", "3952公尺！", "三千公尺", "self_play")
    elsewhere = pair("雪山多高？", "三千公尺。", "3952公尺。", "rlaif")
    step = pair("玉山多高？", "三千公尺。", "3952公尺。", "math", prefix="步驟一：")
    result = merge(table(against, along, elsewhere, step), {}, learned("玉山多高", "3952公尺"))
    assert dropped(result) == {against["id"]: "rejects_training_answer"}
    assert result.drops["detail"].to_list() == ["conversation t"]


def test_a_leak_is_the_first_reason():
    one, other = pair("問", "甲", "乙", "a", 0.9), pair("問", "甲", "乙", "b")
    result = merge(table(one, other), {one["id"]: "tmmluplus 7: …"}, NONE)
    assert dropped(result) == {one["id"]: "contaminated"}
    assert result.pairs["id"].to_list() == [other["id"]]


def test_steps_that_differ_in_a_sign_alone_are_no_copies():
    plus, minus = (pair("算", f"3{sign}2", "0", prefix="") for sign in "+-")
    assert merge(table(plus, minus), {}, NONE).pairs.height == 2


MANY = table(
    *(pair(f"第{number}問", "甲", "乙", "a") for number in range(60)),
    *(pair(f"第{number}問", "丙", "乙", "b") for number in range(20)),
    *(pair(f"第{number}問", "丁", "乙", "c") for number in range(5)),
)


def test_weights_make_the_largest_mix():
    result = merge(MANY, {}, NONE, {"a": 2, "b": 1})
    assert dict(result.pairs["source"].value_counts().iter_rows()) == {"a": 40, "b": 20}
    reasons = dict(result.drops["reason"].value_counts().iter_rows())
    assert reasons == {"beyond_weight": 20, "source_without_weight": 5}
    smaller = merge(MANY, {}, NONE, {"a": 1, "b": 1})
    assert set(smaller.pairs["id"]) < set(result.pairs["id"])
    again = merge(MANY.sample(fraction=1.0, shuffle=True, seed=1), {}, NONE, {"a": 2, "b": 1})
    assert again.pairs.equals(result.pairs)


def test_counts_by_source():
    result = merge(MANY, {}, NONE, {"a": 2, "b": 1, "absent": 3})
    assert by_source(MANY, result.pairs, result.drops) == {
        "a": {"in": 60, "out": 40, "dropped": {"beyond_weight": 20}},
        "b": {"in": 20, "out": 20, "dropped": {}},
        "c": {"in": 5, "out": 0, "dropped": {"source_without_weight": 5}},
    }


weights = st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 100), min_size=1)


@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**6)), weights)
def test_a_mix_keeps_its_weights_and_its_bounds(available, weighed):
    known = {name: count for name, count in available.items() if name in weighed}
    found = quotas(known, weighed)
    assert found.keys() == {name for name, count in known.items() if count}
    for name, count in found.items():
        assert 0 <= count <= known[name]
    if found:
        assert any(count == known[name] for name, count in found.items())
        most = max(count / weighed[name] for name, count in found.items())
        for name, count in found.items():
            assert most * weighed[name] - count <= 1 + weighed[name] / min(weighed.values())


sides = st.sampled_from(["甲", "甲。", "乙", "丙"])
rows = st.lists(
    st.tuples(st.sampled_from(["問", "問？"]), sides, sides, st.sampled_from("ab"))
    .filter(lambda row: row[1] != row[2])
    .map(lambda row: pair(*row)),
    max_size=12,
    unique_by=lambda row: row["id"],
)


@settings(deadline=None)
@given(rows, st.none() | weights)
def test_every_pair_stays_or_goes_for_one_reason(some, weighed):
    pooled = table(*some)
    result = merge(pooled, {}, learned("問", "丙"), weighed)
    gone = result.drops["record_id"].to_list()
    assert sorted([*result.pairs["id"], *gone]) == sorted(pooled["id"])
    assert len(set(gone)) == len(gone)
    assert "丙" not in result.pairs["rejected"].to_list()


def test_margins_are_shares_of_their_source():
    rated = table(
        pair("一", "甲", "乙", "a", 2.0), pair("二", "甲", "乙", "a", 4.0),
        pair("三", "甲", "乙", "b", 0.1), pair("四", "甲", "乙", "b"),
    )  # fmt: skip
    assert sorted(margin_shares(rated)) == pytest.approx([0.5, 1.0, 1.0])
    assert list(margin_shares(pl.DataFrame(schema=PREFERENCE.schema))) == []
