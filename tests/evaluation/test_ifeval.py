import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import IFEval, Question, expected_items
from kyara_kedro.evaluation.benchmarks.ifeval import prompt_id
from kyara_kedro.evaluation.benchmarks.instructions import (
    INSTRUCTIONS,
    follows_loosely,
    follows_strictly,
)
from kyara_kedro.evaluation.importing import FORMATS
from kyara_kedro.evaluation.importing.base import output_row
from kyara_kedro.evaluation.scores import StatisticsOptions, benchmark_scores
from kyara_kedro.records import BENCHMARK_ITEM, MODEL_OUTPUT

from support import bounded_time

ARGUMENTS: Mapping[str, Any] = {
    "keywords": ["alpha", "beta"],
    "keyword": "alpha",
    "frequency": 2,
    "relation": "at least",
    "forbidden_words": ["gamma"],
    "letter": "z",
    "let_frequency": 2,
    "let_relation": "less than",
    "language": "fr",
    "num_sentences": 3,
    "num_paragraphs": 2,
    "num_words": 4,
    "nth_paragraph": 2,
    "first_word": "second",
    "num_placeholders": 2,
    "postscript_marker": "P.S.",
    "num_bullets": 2,
    "num_highlights": 2,
    "section_spliter": "Section",
    "num_sections": 2,
    "prompt_to_repeat": "Say it.",
    "end_phrase": "The end.",
    "capital_frequency": 3,
    "capital_relation": "at least",
}


@pytest.mark.parametrize(
    ("kind", "followed", "broken"),
    [
        ("keywords:existence", "Beta and ALPHA", "alpha alone"),
        ("keywords:frequency", "alphalpha, alpha", "alpha"),
        ("keywords:forbidden_words", "gammas", "so, Gamma!"),
        ("keywords:letter_frequency", "Zoo", "Zz"),
        ("language:response_language", "Le chat est sur la table.", "The cat is on the table."),
        ("language:response_language", "1234 :-)", "猫在桌子上。"),
        ("length_constraints:number_sentences", "One. Two! Three?", "Mr. A went to St. B."),
        ("length_constraints:number_paragraphs", "***\na\n***\nb", "a\n***\n***\nb"),
        ("length_constraints:number_words", "a-b c'd", "one two three"),
        ("length_constraints:nth_paragraph_first_word", "a\n\n'Second', b", "a\n\nb\n\nsecond"),
        ("detectable_content:number_placeholders", "[a] [[b]", "[a\n] [b]"),
        ("detectable_content:postscript", "Bye. p. s. more", "P.P.S"),
        ("detectable_format:number_bullet_lists", "* a\n  - b\n**c", "* a\n* b\n* c"),
        ("detectable_format:constrained_response", "So: My answer is no.", "No."),
        ("detectable_format:number_highlighted_sections", "**a** *b*", "*a* ** **"),
        ("detectable_format:multiple_sections", "Section 1\na\nSection2", "Section A\nSection 1"),
        ("detectable_format:json_format", '```JSON\n{"a": 1}\n```', "{'a': 1}"),
        ("detectable_format:json_format", "3", "[" * 5_000),
        ("detectable_format:title", "so\n<<Joy>>", "<<\n>> << >>"),
        ("combination:two_responses", "a\n******\nb", "a\n******\na"),
        ("combination:repeat_prompt", "  say IT. Yes", "Well, say it."),
        ("startend:end_checker", 'So "it is THE END."', "The end. Really."),
        ("startend:quotation", ' "a" ', '"'),
        ("change_case:capital_word_frequency", "I'M HERE", "IAm A B."),
        ("change_case:english_capital", "THIS IS THE END OF IT", "YES"),
        ("change_case:english_lowercase", "this is the end of it", "das ist nicht das ende"),
        ("punctuation:no_comma", "a; b", "a, b"),
    ],
)
def test_an_instruction_is_followed_or_not(kind: str, followed: str, broken: str) -> None:
    assert follows_strictly(kind, followed, ARGUMENTS)
    assert not follows_strictly(kind, broken, ARGUMENTS)


def test_a_blank_response_follows_nothing() -> None:
    assert not any(follows_loosely(kind, " \n", ARGUMENTS) for kind in INSTRUCTIONS)


@pytest.mark.parametrize(
    ("kind", "response"),
    [
        ("startend:quotation", 'Sure, here it is:\n"a"'),
        ("startend:quotation", '"a"\nAnything else?'),
        ("startend:quotation", 'Sure:\n"a"\nAnything else?'),
        ("startend:end_checker", "*The end.*"),
    ],
)
def test_loosely_a_first_or_last_line_and_asterisks_do_no_harm(kind: str, response: str) -> None:
    assert not follows_strictly(kind, response, ARGUMENTS)
    assert follows_loosely(kind, response, ARGUMENTS)


@settings(max_examples=60, deadline=None)
@given(st.text(st.one_of(st.characters(), st.sampled_from("*[]<>\"'.\n-,{} Aa1")), max_size=120))
def test_any_response_is_judged_and_what_holds_strictly_holds_loosely(response: str) -> None:
    for kind in INSTRUCTIONS:
        strictly = follows_strictly(kind, response, ARGUMENTS)
        assert follows_loosely(kind, response, ARGUMENTS) >= strictly


@pytest.mark.parametrize("piece", ["[", "<<", "*", "\n", "A. ", '{"a":', "http://"])
def test_a_megabyte_of_nonsense_takes_bounded_time(piece: str) -> None:
    task = IFEval("ifeval", [question("Say it.", list(INSTRUCTIONS))])
    item = prompt_id("Say it.")
    outputs = MODEL_OUTPUT.frame([output_row("ifeval", item, "m", piece * (10**6 // len(piece)))])
    with bounded_time():
        assert task.score(outputs).height == 3 * (1 + len(INSTRUCTIONS))


def test_prompts_and_instructions_are_items_and_their_mean_is_the_leaderboards() -> None:
    questions = [
        question("one", ["punctuation:no_comma", "startend:quotation", "detectable_format:title"]),
        question("two", ["punctuation:no_comma"]),
    ]
    task = IFEval("ifeval", questions)
    said = {"one": "no quotes", "two": "so", "three": "of another benchmark"}
    outputs = MODEL_OUTPUT.frame(
        output_row("ifeval", prompt_id(prompt), "m", text) for prompt, text in said.items()
    )
    items = BENCHMARK_ITEM.validate(task.score(outputs))
    scores = benchmark_scores(items, [task], options=StatisticsOptions(resamples=50))
    found = {row["metric"]: (row["score"], row["items"]) for row in scores.to_dicts()}
    assert found["prompt_strict"] == found["prompt_loose"] == (1 / 2, 2)
    assert found["instruction_strict"] == (2 / 4, 4)
    assert found["ifeval_strict"] == (pytest.approx((1 / 2 + 2 / 4) / 2), 6)
    assert expected_items([task]) == {
        ("ifeval", metric): number for metric, (_, number) in found.items()
    }


def test_an_empty_response_is_no_answer() -> None:
    task = IFEval("ifeval", [question("one", ["punctuation:no_comma"])])
    outputs = MODEL_OUTPUT.frame([output_row("ifeval", prompt_id("one"), "m", "")])
    assert task.score(outputs).select("value", "no_answer").unique().rows() == [(0.0, True)]


@pytest.mark.parametrize(
    ("kinds", "changed", "says"),
    [
        (["punctuation:none"], {}, "'punctuation:none' is none of keywords:existence"),
        (["keywords:existence"], {"keywords": "alpha"}, "keywords is 'alpha'"),
        (["keywords:existence"], {"keywords": ["("]}, r"keywords '\(' is no pattern"),
        (["length_constraints:number_words"], {"relation": "about"}, "use one of"),
    ],
)
def test_an_instruction_that_cannot_be_checked_is_refused(
    kinds: list[str], changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        IFEval("ifeval", [question("one", kinds, **changed)])


def test_official_rows_are_read_and_faults_name_file_row_and_field(tmp_path: Path) -> None:
    path = tmp_path / "some-model.jsonl"
    row = {
        "key": 1,
        "prompt": "Two lines.\nNo commas!",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{"num_words": None}],
    }
    path.write_text(json.dumps(row | {"response": "Yes"}), encoding="utf-8")
    imported = FORMATS["ifeval"](path, "ifeval")
    assert imported.questions == IFEval.read({"questions": [row]})
    assert imported.outputs.select("model", "output").rows() == [("some-model", "Yes")]
    path.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(UserError, match=r"some-model.jsonl, row 1: there is no field 'response'"):
        FORMATS["ifeval"](path, "ifeval")
    with pytest.raises(UserError, match=r"row 1: there are 1 instructions .* but 2 in kwargs"):
        IFEval.read({"questions": [row | {"kwargs": [{}, {}]}]})


def question(prompt: str, kinds: list[str], **changed: Any) -> Question:
    given = [
        {name: (ARGUMENTS | changed)[name] for name in INSTRUCTIONS[kind].arguments}
        if kind in INSTRUCTIONS
        else {}
        for kind in kinds
    ]
    return Question(prompt_id(prompt), prompt, details={"instructions": kinds, "arguments": given})
