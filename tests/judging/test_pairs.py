import polars as pl

from kyara_kedro.judging.pairs import self_play_pairs
from kyara_kedro.records import CONVERSATION, PREFERENCE

ASK = [{"role": "user", "content": "臺灣最高的山是哪一座？"}]


def dropped(result):
    return dict(result.drops.select("record_id", "reason").iter_rows())


def conversation(row_id, answer):
    return {
        "id": row_id,
        "messages": [*ASK, {"role": "assistant", "content": answer}],
        "source": "s",
        "language": "zh-Hant-TW",
        "rounds": 1,
        "tokens": 5,
        "teacher": None,
        "prompt_version": None,
        "passage_ids": [],
        "calls": [],
        "parents": ["d"],
        "licence": "CC0",
    }


def test_self_play():
    corpus = CONVERSATION.frame(conversation(row_id, "玉山。") for row_id in "abcde")
    generations = pl.DataFrame(
        {
            "conversation_id": list("abcd"),
            "output": ["阿里山", "玉山。 ", "玉山高三千", " "],
            "stopped": [True, True, False, True],
        }
    )
    result = self_play_pairs(corpus, generations)
    (pair,) = PREFERENCE.validate(result.pairs).to_dicts()
    assert (pair["chosen"], pair["rejected"], pair["source"]) == ("玉山。", "阿里山", "self_play")
    assert (pair["prompt"], pair["judged_orders"], pair["licence"]) == (ASK, 0, "CC0")
    assert dropped(result) == {
        "b": "equal_responses",
        "c": "truncated",
        "d": "blank",
        "e": "not_generated",
    }
