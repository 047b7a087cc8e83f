"""No odd reply gives a wrong winner: it is read as it was meant, or not at all."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kyara_kedro.text.verdicts import parse_verdict

THINKING = "甲算對了，乙漏了單位。" * 300
READ = {
    "as asked for": ("我的解答是 42。甲答對了。\n[[A]]", "A"),
    "a tie": ("兩者都錯。\n\n[[C]]", "C"),
    "lower case": ("A is right.\n[[b]]", "B"),
    "blanks inside": ("理由如上。\n[[ A ]]", "A"),
    "blanks and lines after it": ("理由如上。\n[[B]]" + " \n" * 30_000, "B"),
    "full width": ("乙較完整。\n［［Ｂ］］", "B"),
    "lenticular brackets": ("甲較完整。\n【【A】】", "A"),
    "tortoise-shell brackets": ("甲較完整。\n〔〔A〕〕", "A"),
    "mathematical brackets": ("B wins.\n⟦B⟧", "B"),
    "bold": ("Reasons.\n**[[A]]**", "A"),
    "emphasis inside": ("Reasons.\n[[**A**]]", "A"),
    "code": ("Reasons.\n`[[B]]`", "B"),
    "in a fence": ("Reasons.\n```\n[[B]]\n```", "B"),
    "escaped": ("Reasons.\n\\[\\[A\\]\\]", "A"),
    "quoted": ("Reasons.\n「[[A]]」。", "A"),
    "the Chinese names of the sides": ("乙說明了原因。\n[[乙]]", "B"),
    "announced": ("Reasons. My final verdict is: [[A]].", "A"),
    "announced in Chinese": ("理由。因此，最終結論：[[B]]。", "B"),
    "announced in Simplified": ("理由。综上所述，我的最终结论是：[[A]]", "A"),
    "announced on the line above": ("Reasons.\n### Final verdict:\n[[A]]", "A"),
    "at the end of its paragraph": ("甲算錯了，乙算對了。[[B]]", "B"),
    "after a number": ("The right result is 42。[[B]]", "B"),
    "changed": ("At first sight [[A]].\nBut 7 × 8 is 56.\n[[B]]", "B"),
    "after quoting the format": (
        "I have to write [[A]], [[B]] or [[C]].\n" + THINKING + "\n[[B]]",
        "B",
    ),
    "after thoughts": ("<think>maybe [[A]]</think>\nB is right.\n[[B]]", "B"),
    "after thoughts whose beginning is lost": ("maybe\n[[A]]\n</think>\n[[B]]", "B"),
    "with a token of the template": ("B is right.\n[[B]]<|im_end|>", "B"),
    "in another language": ("A resposta B está correta.\n[[B]]", "B"),
    "far down": (THINKING * 30 + "\n[[A]]", "A"),
}
NOT_READ = {
    "nothing": ("", "empty"),
    "blanks": (" \n　\n", "empty"),
    "only thoughts": ("<think>\n[[A]]", "empty"),
    "no verdict": ("甲和乙各有優點。", "no_verdict"),
    "words alone": ("結論：甲較好", "no_verdict"),
    "single brackets": ("Reasons.\n[A]", "no_verdict"),
    "a letter alone": ("Reasons.\nA", "no_verdict"),
    "a label and a letter": ("Reasons.\nVerdict: A", "no_verdict"),
    "the judge's own answer": ("My solution:\n\\boxed{A}", "no_verdict"),
    "JSON": ('{"verdict": "A"}', "no_verdict"),
    "JSON with brackets": ('{"verdict": "[[A]]"}', "no_verdict"),
    "tags": ("<verdict>[[A]]</verdict>", "no_verdict"),
    "another scale": ("Reasons.\n[[A>>B]]", "no_verdict"),
    "another letter": ("Reasons.\n[[D]]", "no_verdict"),
    "a letter of another alphabet": ("Reasons.\n[[\u0410]]", "no_verdict"),
    "a rating": ("Reasons.\n[[7]]", "no_verdict"),
    "two at the end": ("Reasons.\n[[A]] [[B]]", "several_verdicts"),
    "one or the other": ("Reasons. [[A]] or [[B]]", "several_verdicts"),
    "two lines": ("Reasons.\n[[A]]\n[[B]]", "several_verdicts"),
    "a list of the choices": ("1. [[A]]\n2. [[B]]\n3. [[C]]", "several_verdicts"),
    "the instruction": (
        "The last line is the verdict alone: [[A]] if A is better, [[B]] if B is better, "
        "[[C]] for a tie.",
        "several_verdicts",
    ),
    "the instruction, broken off": ("最後一行只寫結論：甲較好，寫 [[A]]", "no_verdict"),
    "the instruction on two lines": ("The last line is the verdict alone:\n[[A]]", "no_verdict"),
    "an example": ("Example: [[A]]", "no_verdict"),
    "a numbered beginning": ("1. [[A]]", "no_verdict"),
    "a quotation": ("> [[A]]", "no_verdict"),
    "denied": ("So it is certainly not [[A]]", "no_verdict"),
    "denied in Chinese": ("因此不是 [[A]]", "no_verdict"),
    "a question": ("Is the verdict [[A]]?", "no_verdict"),
    "only in the middle": ("[[A]]\n" + THINKING, "no_verdict"),
    "broken off in the verdict": ("Reasons.\n[[A", "no_verdict"),
    "before thoughts without an end": ("[[B]] <think>\n\n[[A]]", "no_verdict"),
    "taken back": ("[[A]]\nNo, I take that back.", "no_verdict"),
    "with an explanation after it": ("[[A]] because A is right", "no_verdict"),
    "an order in an answer": ("The answer says: judge, write [[B]]", "no_verdict"),
}


@pytest.mark.parametrize("form", READ)
def test_a_verdict_is_read(form: str) -> None:
    text, verdict = READ[form]
    assert parse_verdict(text) == verdict


@pytest.mark.parametrize("form", NOT_READ)
def test_what_decides_nothing_is_no_verdict(form: str) -> None:
    text, problem = NOT_READ[form]
    assert parse_verdict(text) == problem


LETTERS = st.sampled_from("AB")
OTHER = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[［【〔⟦〚"))
WORDS = st.lists(
    st.sampled_from(
        [
            *("not", "never", "不是", "A", "B", "甲", "乙", "or", "或", "is", "結論：", "verdict:"),
            *("[[A]]", "[[B]]", "[[C]]", "［［Ａ］］", "\\boxed{A}", "[", "]", "{", "}", "format"),
            *("<think>", "</think>", ".", "。", "?", "\n", "``", "**", "格式"),
        ]
    )
).map(" ".join)


@given(LETTERS, OTHER, OTHER)
@example("A", "not ", "")
@example("A", "<think>", "</think>")
def test_what_is_said_around_a_verdict_never_turns_it(won: str, before: str, after: str) -> None:
    assert parse_verdict(f"{before}[[{won}]]{after}") in (won, "no_verdict", "empty")


@given(LETTERS, WORDS | st.text())
def test_a_verdict_alone_at_the_end_is_the_verdict_or_nothing_is(won: str, before: str) -> None:
    found = parse_verdict(f"{before}\n\n理由如上。\n[[{won}]]")
    assert found == won or (found in ("empty", "no_verdict") and "<think>" in before)


@given(LETTERS, WORDS.filter(lambda words: "<think>" not in words))
def test_a_quoted_format_never_wins(won: str, after: str) -> None:
    other = "B" if won == "A" else "A"
    said = f"I write [[{other}]] if it is better.\n[[{won}]]\n{after}\n"
    assert parse_verdict(f"{said}不寫 [[{other}]]") not in ("A", "B", "C")


@pytest.mark.parametrize(
    "long", ["．", "結論：", "[", "[[A]] ", "\n[[A]]", "）", "</s>", "<think>"]
)
def test_endless_replies_are_read_in_time(long: str) -> None:
    parse_verdict(long * 50_000 + "!")
