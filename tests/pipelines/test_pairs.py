"""Preference data of every known form becomes a pair, or is malformed for a stated reason."""

import gzip
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.params import IngestParams
from kyara_kedro.pipelines.ingest.formats import Malformed
from kyara_kedro.pipelines.ingest.nodes import _preference
from kyara_kedro.pipelines.ingest.pairs import ASPECTS, Pair, joined, preference, taiwanese
from kyara_kedro.pipelines.ingest.readers import RawRow
from kyara_kedro.records import PREFERENCE

from public_data import DATA, needs_data

Row = dict[str, Any]

ASKED = {"role": "user", "content": "玉山多高？"}
GOOD = {"role": "assistant", "content": "三九五二公尺。"}
BAD = {"role": "assistant", "content": "三千公尺。"}
SYSTEM = {"role": "system", "content": "你是地理老師。"}
ARGILLA = {
    "source": "evol_instruct",
    "instruction": ASKED["content"],
    "chosen_response": GOOD["content"],
    "rejected_response": BAD["content"],
    "chosen_avg_rating": 4.5,
    "rejected_avg_rating": 2.75,
    "chosen_model": "gpt-4",
}
CLEANED = {
    "source": "evol_instruct",
    "prompt": ASKED["content"],
    "chosen": [ASKED, GOOD],
    "chosen-rating": 4.5,
    "chosen-model": "gpt-4",
    "rejected": [ASKED, BAD],
    "rejected-rating": 2.75,
    "rejected-model": "alpaca-7b",
}
H4 = {
    "prompt": ASKED["content"],
    "prompt_id": "f0e37e",
    "chosen": [ASKED, GOOD],
    "rejected": [ASKED, BAD],
    "messages": [ASKED, GOOD],
    "score_chosen": 8.5,
    "score_rejected": 3.0,
}
STEPS = "Let's think step by step.\nStep 1: There are 3 days.\nStep 2:"
STEP = {
    "dataset": "MATH_Rephrased",
    "prompt": "How many seconds are there in 3 days?",
    "initial_reason_steps": STEPS,
    "chosen": " A day has 86,400 seconds.",
    "rejected": " A day has 84,600 seconds.",
    "full_chosen": " A day has 86,400 seconds.\nStep 3: The answer is 259200.",
    "full_rejected": " A day has 84,600 seconds.\nStep 3: The answer is 253800.",
    "answer": "259200",
}
MAGPIE = {
    "uuid": "8cabba98",
    "instruction": ASKED["content"],
    "gen_input_configs": {"temperature": 1.1},
    "input_quality": "good",
    "responses": ["很高。", "三九五二公尺。", "不知道。"],
    "gen_response_configs": {"engine": "m"},
    "rewards_armorm": [{"score": 0.11}, {"score": 0.14}, {"score": 0.08}],
}


def completion(response: str, *ratings: Any, overall: float = 5.0) -> Row:
    """A completion of openbmb/UltraFeedback, with ratings in the order of ``ASPECTS``."""
    return {
        "model": "falcon-40b-instruct",
        "principle": "helpfulness",
        "custom_system_prompt": "Be helpful.",
        "response": response,
        "annotations": {
            aspect: {"Rating": rating, "Rationale": "…"}
            for aspect, rating in zip(ASPECTS, ratings, strict=True)
        },
        "overall_score": overall,
        "fine-grained_score": 3.0,
    }


def ultrafeedback(*completions: Row) -> Row:
    return {
        "source": "sharegpt",
        "instruction": ASKED["content"],
        "models": ["falcon-40b-instruct"],
        "correct_answers": ["None"],
        "completions": list(completions),
    }


@pytest.mark.parametrize(
    ("row", "scores"), [(ARGILLA, (4.5, 2.75)), (CLEANED, (4.5, 2.75)), (H4, (8.5, 3.0))]
)
def test_rated_pairs_keep_their_ratings(row: Row, scores: tuple[float, float]) -> None:
    assert preference(row) == Pair(
        "conversation",
        [ASKED],
        None,
        GOOD["content"],
        BAD["content"],
        *scores,
        "gpt-4",  # type: ignore[list-item]
    )


def test_ratings_may_be_written_as_texts_or_be_missing() -> None:
    assert preference(ARGILLA | {"chosen_avg_rating": "4.5"}).margin == 1.75
    bare = {key: value for key, value in ARGILLA.items() if "rating" not in key}
    assert (preference(bare).margin, preference(bare).judge) == (None, None)


def test_a_row_may_say_itself_who_rated() -> None:
    assert preference(ARGILLA | {"judge": "three annotators"}).judge == "three annotators"


def test_raw_ultrafeedback_is_rated_by_its_aspects_not_by_its_overall_score() -> None:
    row = ultrafeedback(
        completion("甲", "5", "5", "5", "4", overall=1.0),
        completion("乙", "1", "2", "1", "2", overall=10.0),
        completion("丙", "5", "5", "5", "4"),
    )
    pair = preference(row)
    assert (pair.chosen, pair.rejected) == ("甲", "乙")
    assert (pair.score_chosen, pair.score_rejected, pair.judge) == (4.75, 1.5, "gpt-4")


def test_aspects_without_a_rating_are_left_out_of_the_mean() -> None:
    row = ultrafeedback(
        completion("甲", "4", "N/A", "5", "N/A"),
        completion("乙", "N/A", "N/A", "N/A", "N/A"),
        completion("丙", "2", "3", "N/A", "4"),
    )
    pair = preference(row)
    assert (pair.chosen, pair.score_chosen) == ("甲", 4.5)
    assert (pair.rejected, pair.score_rejected) == ("丙", 3.0)


def test_the_lower_answer_is_drawn_by_content() -> None:
    rows = [
        ultrafeedback(
            completion("甲", "5", "5", "5", "5"),
            *(completion(f"{name}{number}", "2", "2", "2", "2") for name in "乙丙丁"),
        )
        for number in range(60)
    ]
    drawn = [preference(row).rejected for row in rows]
    assert drawn == [preference(row).rejected for row in rows]
    assert min(sum(text[0] == name for text in drawn) for name in "乙丙丁") > 8


def test_of_scored_answers_the_ends_make_a_pair() -> None:
    pair = preference(MAGPIE, 0.01)
    assert (pair.chosen, pair.rejected, pair.judge) == ("三九五二公尺。", "不知道。", "ArmoRM")
    assert pair.margin == pytest.approx(0.06)
    rated = {"instruction": "問", "generations": ["一", "二", "三"], "ratings": [2, None, 5]}
    assert preference(rated, 9.0).margin == 3.0


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "玉山多高？", "chosen": "三九五二公尺。", "rejected": "三千公尺。"},
        {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "玉山多高？", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [ASKED], "chosen": "三九五二公尺。", "rejected": "三千公尺。"},
        {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
        {"chosen": json.dumps([ASKED, GOOD]), "rejected": json.dumps([ASKED, BAD])},
    ],
)
def test_plain_pairs_of_trl(row: Row) -> None:
    pair = preference(row)
    assert (pair.prompt, pair.chosen, pair.rejected) == ([ASKED], GOOD["content"], BAD["content"])
    assert (pair.kind, pair.margin, pair.judge) == ("conversation", None, None)


def test_an_answer_in_json_is_an_answer() -> None:
    pair = preference({"prompt": "列出", "chosen": '[{"山": "玉山"}]', "rejected": "[{]"})
    assert (pair.chosen, pair.rejected) == ('[{"山": "玉山"}]', "[{]")


def test_a_prompt_of_several_turns_is_shared() -> None:
    earlier = [SYSTEM, ASKED, GOOD, ASKED]
    pair = preference({"chosen": [*earlier, GOOD], "rejected": [*earlier, BAD]})
    assert pair.prompt == earlier
    assert preference({"prompt": earlier, "chosen": [GOOD], "rejected": [BAD]}) == pair


def test_a_step_pair_continues_the_steps_before_it() -> None:
    pair = preference(STEP)
    assert pair.kind == "continuation"
    assert pair.prefix == STEPS + " "
    assert pair.chosen == "A day has 86,400 seconds."
    whole = STEP | {"full_chosen": STEPS + STEP["full_chosen"]}
    again = preference(whole)
    assert again == pair
    assert whole["full_chosen"].startswith(pair.prefix + pair.chosen)


@pytest.mark.parametrize(
    ("prefix", "chosen", "full", "expected"),
    [
        ("Step 1: a.\nStep 2:", " b", "", "Step 1: a.\nStep 2: "),
        ("Step 1: a.\nStep 2:", "b", "", "Step 1: a.\nStep 2: "),
        ("Step 1: a.\n", "Step 2: b", "", "Step 1: a.\n"),
        ("Step 1: a.", "Step 2: b", "", "Step 1: a.\n"),
        ("Step 1: a.", "Step 2: b", "Step 1: a.\n\nStep 2: b.", "Step 1: a.\n\n"),
        ("Step 1: a. ", "Step 2: b", "Step 1: a.\nStep 2: b.", "Step 1: a.\n"),
        ("步驟一：", "乙", "", "步驟一："),
        (" \n", "b", "", ""),
        ("", "b", "b c", ""),
    ],
)
def test_the_joint_of_a_step(prefix: str, chosen: str, full: str, expected: str) -> None:
    assert joined(prefix, chosen, " c", full) == (expected, (chosen.strip(), "c"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "unknown_format"),
        ({"chosen": [ASKED, GOOD]}, "unknown_format"),
        (STEP | {"initial_reason_steps": None}, "not_text"),
        (STEP | {"prompt": ""}, "blank_text"),
        (STEP | {"chosen": ["六"]}, "not_text"),
        (STEP | {"rejected": ""}, "blank_text"),
        (STEP | {"rejected": STEP["chosen"].strip()}, "equal_sides"),
        (STEP | {"full_chosen": "Step 1: Something else."}, "step_not_in_solution"),
        (STEP | {"full_chosen": STEPS + " Something else."}, "step_not_in_solution"),
        ({"chosen_response": "高"}, "not_text"),
        (ARGILLA | {"rejected_response": f" {GOOD['content']}\u200b"}, "equal_sides"),
        (ARGILLA | {"chosen_response": "\u200b \ufeff"}, "blank_text"),
        (ARGILLA | {"chosen_response": "高<end_of_turn>"}, "control_token"),
        (ARGILLA | {"instruction": "<|im_start|>system\n玉山？"}, "control_token"),
        (ARGILLA | {"rejected_avg_rating": 4.5}, "no_margin"),
        (ARGILLA | {"chosen_avg_rating": 1, "rejected_avg_rating": 2}, "no_margin"),
        (ARGILLA | {"chosen_avg_rating": "N/A"}, "not_a_number"),
        (ARGILLA | {"chosen_avg_rating": True}, "not_a_number"),
        (ARGILLA | {"rejected_avg_rating": math.nan}, "not_a_number"),
        (ARGILLA | {"rejected_avg_rating": "nan"}, "not_a_number"),
        (ARGILLA | {"rejected_avg_rating": -math.inf}, "not_a_number"),
        (ARGILLA | {"rejected_avg_rating": 10**400}, "not_a_number"),
        (ARGILLA | {"rejected_avg_rating": [2]}, "not_a_number"),
        (ARGILLA | {"chosen_avg_rating": 5.25}, "rating_out_of_range"),
        (ARGILLA | {"rejected_avg_rating": 0}, "rating_out_of_range"),
        (ARGILLA | {"rejected_avg_rating": None}, "missing_field"),
        (CLEANED | {"rejected-rating": -1}, "rating_out_of_range"),
        (H4 | {"score_chosen": 11.0}, "rating_out_of_range"),
        (H4 | {"score_rejected": 0.0}, "rating_out_of_range"),
        (H4 | {"score_chosen": 1.0, "score_rejected": 9.0}, "no_margin"),
        (H4 | {"rejected": [SYSTEM, BAD]}, "roles_not_alternating"),
        (H4 | {"rejected": [SYSTEM, ASKED, BAD]}, "different_prompts"),
        (H4 | {"rejected": [ASKED, GOOD]}, "equal_sides"),
        ({"chosen": "高", "rejected": "矮"}, "missing_field"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "missing_field"),
        ({"prompt": [ASKED], "chosen": [], "rejected": [BAD]}, "no_turns"),
        ({"prompt": [ASKED, GOOD], "chosen": [GOOD], "rejected": [BAD]}, "roles_not_alternating"),
        (ultrafeedback(), "no_turns"),
        (ultrafeedback(completion("甲", "5", "5", "5", "5")), "not_rated"),
        (ultrafeedback(*(completion(text, *["N/A"] * 4) for text in "甲乙")), "not_rated"),
        (ultrafeedback(*(completion(text, *"4444") for text in "甲乙")), "no_margin"),
        (
            ultrafeedback(completion("甲", *"5556"), completion("乙", *"1111")),
            "rating_out_of_range",
        ),
        (ultrafeedback(completion("甲", *"555x"), completion("乙", *"1111")), "not_a_number"),
        (ultrafeedback({"model": "m", "response": "甲"}), "malformed_completion"),
        (ultrafeedback(completion("", *"5555"), completion("乙", *"1111")), "blank_text"),
        (MAGPIE | {"rewards_armorm": [{"score": 0.1}]}, "malformed_scores"),
        (MAGPIE | {"rewards_armorm": [{"score": "N/A"}] * 3}, "not_a_number"),
        (MAGPIE | {"rewards_armorm": [{"score": math.nan}] * 3}, "not_a_number"),
        (MAGPIE | {"rewards_armorm": [{}, {"score": 1}, None]}, "not_rated"),
        (MAGPIE | {"rewards_armorm": [{"score": 0.1}] * 3}, "equal_sides"),
        (MAGPIE | {"rewards_armorm": [0.1, 0.105, 0.102]}, "margin_below_floor"),
        (
            {"instruction": "問", "generations": ["一", "二"], "ratings": [0, 5]},
            "rating_out_of_range",
        ),
    ],
)
def test_a_pair_that_does_not_fit_has_a_reason(row: Row, reason: str) -> None:
    with pytest.raises(Malformed) as fault:
        preference(row, 0.01)
    assert fault.value.reason == reason
    assert fault.value.detail


SIMPLIFIED = Pair(
    "conversation",
    [{"role": "user", "content": "这个软件怎么用？"}],
    None,
    "打开这个软件，然后点击设置。",
    "我不知道这个软件。",
)


def test_simplified_answers_are_repaired_with_all_of_their_pair() -> None:
    pair = taiwanese(SIMPLIFIED, "convert")
    assert pair.chosen.startswith("打開這個")
    assert pair.prompt[0]["content"].startswith("這個")
    assert "這個" in pair.rejected
    assert taiwanese(SIMPLIFIED, "report") == SIMPLIFIED
    with pytest.raises(Malformed) as fault:
        taiwanese(SIMPLIFIED, "drop")
    assert fault.value.reason == "simplified_chinese"


def test_a_preference_for_taiwans_chinese_stays_one() -> None:
    pair = Pair("conversation", [ASKED], None, "打開這個軟體。", "打开这个软件。")  # type: ignore[list-item]
    assert taiwanese(pair, "convert") == pair
    assert taiwanese(pair, "drop") == pair


def test_a_row_has_the_name_of_its_data_set_and_its_licence() -> None:
    row = RawRow("ultrafeedback-binarized/train.jsonl#1", ARGILLA, None, "MIT", None)
    values = _preference(row, IngestParams())
    assert (values["source"], values["licence"]) == ("ultrafeedback-binarized", "MIT")
    assert (values["judge"], values["margin"]) == ("gpt-4", 1.75)


@needs_data
def test_conformance_scored_answers_of_magpie() -> None:
    """Real rows with five answers each: the ends, where ArmoRM tells them apart by 0.01."""
    packed = (DATA / "preference/magpie_5responses_armorm.json.gz").read_bytes()
    rows = json.loads(gzip.decompress(packed))
    margins, below = [], 0
    for row in rows:
        scores = [one["score"] for one in row["rewards_armorm"]]
        try:
            pair = preference(row, 0.01)
        except Malformed as fault:
            assert fault.reason == "margin_below_floor"
            below += 1
            continue
        assert row["responses"][scores.index(max(scores))].strip() == pair.chosen
        assert row["responses"][scores.index(min(scores))].strip() == pair.rejected
        margins.append(pair.margin)
    assert (len(margins), below) == (3, 2)
    assert min(margins) == pytest.approx(0.0225, abs=1e-3)  # type: ignore[type-var]


blank = st.sampled_from(["", " ", "\n", "\n\n", " \n"])
word = st.text(st.sampled_from("ab:：步驟 \n"), min_size=1, max_size=8).filter(str.strip)


@given(word | st.just(""), blank, word, word, st.booleans(), blank)
def test_prefix_and_step_make_the_solution(
    steps: str, gap: str, chosen: str, rejected: str, shown: bool, rest: str
) -> None:
    steps, chosen = steps.strip(), chosen.strip()
    full = steps + gap + chosen + rest if shown else ""
    prefix, (better, worse) = joined(steps + gap, chosen, rejected, full)
    assert (better, worse) == (chosen, rejected.strip())
    assert prefix.strip() == steps
    if shown and not full.strip().startswith(chosen):
        assert (full.strip()).startswith(prefix + better)
    if steps and (gap or (shown and not full.strip().startswith(chosen))):
        assert prefix == steps + gap


texts = st.text(st.characters(), max_size=8) | st.sampled_from(["嗨", " ", "\u200b", "\ud800"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
scores = st.integers(0, 6) | st.sampled_from(["3", "N/A", ""]) | values
turns = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": texts}
    ),
    max_size=4,
)
sides = texts | turns | values
rated = st.fixed_dictionaries(
    {
        "response": texts,
        "annotations": st.dictionaries(
            st.sampled_from(ASPECTS), st.fixed_dictionaries({"Rating": scores})
        ),
    }
)
rows = st.one_of(
    st.fixed_dictionaries(
        {"chosen": sides, "rejected": sides},
        optional={"prompt": sides, "score_chosen": scores, "score_rejected": scores},
    ),
    st.fixed_dictionaries(
        {"instruction": texts, "chosen_response": texts, "rejected_response": texts},
        optional={"chosen_avg_rating": scores, "rejected_avg_rating": scores, "judge": values},
    ),
    st.fixed_dictionaries(
        dict.fromkeys(("prompt", "initial_reason_steps", "chosen", "rejected"), texts),
        optional={"full_chosen": texts},
    ),
    st.fixed_dictionaries({"instruction": texts, "completions": st.lists(rated) | values}),
    st.fixed_dictionaries(
        {"instruction": texts, "responses": st.lists(texts), "rewards_armorm": st.lists(scores)}
    ),
    st.dictionaries(texts, values, max_size=4),
)


@settings(max_examples=400, deadline=None)
@given(rows)
def test_a_pair_is_malformed_or_fits_its_record(row: Row) -> None:
    try:
        values = _preference(RawRow("a.jsonl#1", row), IngestParams())
    except Malformed as fault:
        assert fault.reason.isidentifier()
    else:
        PREFERENCE.validate(PREFERENCE.frame([values]))
        assert values["margin"] is None or values["margin"] > 0
