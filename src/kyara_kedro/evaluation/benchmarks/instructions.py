"""The verifiable instructions of IFEval: is each of them followed?

The rules are those of the official checkers (google-research, instruction_following_eval; Zhou et
al., arXiv 2311.07911), written so that they take linear time on any text. Two things differ, since
the original leaves them to other packages: sentences (`text.english`) and languages
(`text.languages`) are told by rules of our own, and what the original does not survive (JSON nested
too deeply) is not followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kyara_kedro.text.english import sentences, tokens
from kyara_kedro.text.languages import is_english, language_code

Arguments = Mapping[str, Any]

RELATIONS = ("less than", "at least")
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FEWEST_LOWER, _FEWEST_UPPER = 2, 4
"""Words below which the original recognises less than half of English texts, by their case."""


class Instruction(NamedTuple):
    """A kind of instruction.

    Attributes:
        follows: Whether a response follows an instruction with these arguments.
        arguments: Their names, each with the types that it may have.
    """

    follows: Callable[[str, Arguments], bool]
    arguments: Mapping[str, type | tuple[type, ...]] = {}


def follows_strictly(kind: str, response: str, arguments: Arguments) -> bool:
    """Whether a response as it stands follows an instruction; a blank one follows none.

    Args:
        kind: A key of ``INSTRUCTIONS``.
        response: What the model wrote.
        arguments: Of the instruction.
    """
    return bool(response.strip()) and INSTRUCTIONS[kind].follows(response, arguments)


def follows_loosely(kind: str, response: str, arguments: Arguments) -> bool:
    """Whether a response follows an instruction without its first or last line or its asterisks."""
    lines = response.split("\n")
    shortened = ("\n".join(lines[part]).strip() for part in (_TAIL, _HEAD, _MIDDLE))
    variants = {text: None for whole in (response, *shortened) for text in (whole, _plain(whole))}
    return any(follows_strictly(kind, text, arguments) for text in variants)


def fault_of(kind: str, arguments: Arguments) -> str | None:
    """Say what is wrong with the kind or the arguments of an instruction, or None."""
    if kind not in INSTRUCTIONS:
        return f"instruction '{kind}' is none of {', '.join(INSTRUCTIONS)}"
    for name, types in INSTRUCTIONS[kind].arguments.items():
        value = arguments.get(name)
        if not isinstance(value, types):
            return f"instruction '{kind}': {name} is {value!r}"
        if name.endswith("relation") and value not in RELATIONS:
            return f"instruction '{kind}': {name} is {value!r}; use one of {RELATIONS}"
        for pattern in _patterns(name, value):
            try:
                re.compile(pattern)
            except re.error as error:
                return f"instruction '{kind}': {name} {pattern!r} is no pattern ({error})"
    return None


_TAIL, _HEAD, _MIDDLE = slice(1, None), slice(None, -1), slice(1, -1)


def _plain(text: str) -> str:
    return text.replace("*", "")


def _patterns(name: str, value: Any) -> list[str]:
    """Arguments that the original uses as regular expressions."""
    if name in ("keyword", "section_spliter", "postscript_marker"):
        return [value]
    return [str(one) for one in value] if name in ("keywords", "forbidden_words") else []


def _compares(number: int, relation: str, threshold: float) -> bool:
    return number < threshold if relation == "less than" else number >= threshold


def _has_keywords(text: str, given: Arguments) -> bool:
    return all(re.search(word, text, re.IGNORECASE) for word in given["keywords"])


def _has_keyword_often(text: str, given: Arguments) -> bool:
    number = sum(1 for _ in re.finditer(given["keyword"].strip(), text, re.IGNORECASE))
    return _compares(number, given["relation"], given["frequency"])


def _forbids_words(text: str, given: Arguments) -> bool:
    words = given["forbidden_words"]
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in words)


def _has_letter_often(text: str, given: Arguments) -> bool:
    number = text.lower().count(given["letter"].strip().lower())
    return _compares(number, given["let_relation"], given["let_frequency"])


def _is_in_language(text: str, given: Arguments) -> bool:
    return language_code(text) in (given["language"], None)


def _has_sentences(text: str, given: Arguments) -> bool:
    return _compares(len(sentences(text)), given["relation"], given["num_sentences"])


def _has_paragraphs(text: str, given: Arguments) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    inner = parts[1:-1]
    ends = [part for part in (parts[0], *parts[1:][-1:]) if part]
    return all(inner) and len(inner) + len(ends) == given["num_paragraphs"]


def _has_words(text: str, given: Arguments) -> bool:
    number = sum(1 for _ in re.finditer(r"\w+", text))
    return _compares(number, given["relation"], given["num_words"])


def _has_first_word(text: str, given: Arguments) -> bool:
    paragraphs = text.split("\n\n")
    number = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    place = int(given["nth_paragraph"])
    if number != given["num_paragraphs"] or not 0 < place <= number:
        return False
    words = paragraphs[place - 1].split(maxsplit=1)
    word = words[0].lstrip("'").lstrip('"') if words else ""
    return bool(words) and re.split("[.,?!'\"]", word)[0].lower() == given["first_word"].lower()


def _has_placeholders(text: str, given: Arguments) -> bool:
    number = 0
    for line in text.split("\n"):
        place = 0
        while (opening := line.find("[", place)) >= 0:
            if not (place := line.find("]", opening) + 1):
                break
            number += 1
    return _compares(number, "at least", given["num_placeholders"])


def _has_postscript(text: str, given: Arguments) -> bool:
    marker = given["postscript_marker"].strip()
    pattern = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(marker, marker.lower())
    return re.search(pattern, text.lower()) is not None


def _has_bullets(text: str, given: Arguments) -> bool:
    bullets = re.findall(r"^[^\S\n]*\*[^*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*-.*$", text, re.MULTILINE)
    return len(bullets) + len(dashes) == float(given["num_bullets"])


def _is_an_option(text: str, given: Arguments) -> bool:
    return any(option in text for option in _OPTIONS)


def _has_highlights(text: str, given: Arguments) -> bool:
    single = re.findall(r"\*[^\n*]*\*", text)
    double = re.findall(r"\*\*[^\n*]*\*\*", text)
    number = sum(bool(found.strip("*").strip()) for found in (*single, *double))
    return _compares(number, "at least", given["num_highlights"])


def _has_sections(text: str, given: Arguments) -> bool:
    marks = re.finditer(rf"\s?{given['section_spliter'].strip()}\s?\d+\s?", text)
    return _compares(sum(1 for _ in marks), "at least", given["num_sections"])


def _is_json(text: str, given: Arguments) -> bool:
    plain = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        plain = plain.removeprefix(fence)
    try:
        json.loads(plain.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _has_title(text: str, given: Arguments) -> bool:
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start : end + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def _is_two_responses(text: str, given: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _repeats_prompt(text: str, given: Arguments) -> bool:
    return text.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _ends(text: str, given: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _has_capital_words(text: str, given: Arguments) -> bool:
    number = sum(word.isupper() for word in tokens(text))
    return _compares(number, given["capital_relation"], given["capital_frequency"])


def _is_upper(text: str, given: Arguments) -> bool:
    return text.isupper() and is_english(text, _FEWEST_UPPER)


def _is_lower(text: str, given: Arguments) -> bool:
    return text.islower() and is_english(text, _FEWEST_LOWER)


def _has_no_comma(text: str, given: Arguments) -> bool:
    return "," not in text


def _is_quoted(text: str, given: Arguments) -> bool:
    plain = text.strip()
    return len(plain) > 1 and plain[0] == plain[-1] == '"'


_NUMBER = (int, float)

INSTRUCTIONS: Mapping[str, Instruction] = {
    "keywords:existence": Instruction(_has_keywords, {"keywords": list}),
    "keywords:frequency": Instruction(
        _has_keyword_often, {"keyword": str, "frequency": _NUMBER, "relation": str}
    ),
    "keywords:forbidden_words": Instruction(_forbids_words, {"forbidden_words": list}),
    "keywords:letter_frequency": Instruction(
        _has_letter_often, {"letter": str, "let_frequency": _NUMBER, "let_relation": str}
    ),
    "language:response_language": Instruction(_is_in_language, {"language": str}),
    "length_constraints:number_sentences": Instruction(
        _has_sentences, {"num_sentences": _NUMBER, "relation": str}
    ),
    "length_constraints:number_paragraphs": Instruction(
        _has_paragraphs, {"num_paragraphs": _NUMBER}
    ),
    "length_constraints:number_words": Instruction(
        _has_words, {"num_words": _NUMBER, "relation": str}
    ),
    "length_constraints:nth_paragraph_first_word": Instruction(
        _has_first_word, {"num_paragraphs": _NUMBER, "nth_paragraph": _NUMBER, "first_word": str}
    ),
    "detectable_content:number_placeholders": Instruction(
        _has_placeholders, {"num_placeholders": _NUMBER}
    ),
    "detectable_content:postscript": Instruction(_has_postscript, {"postscript_marker": str}),
    "detectable_format:number_bullet_lists": Instruction(_has_bullets, {"num_bullets": _NUMBER}),
    "detectable_format:constrained_response": Instruction(_is_an_option),
    "detectable_format:number_highlighted_sections": Instruction(
        _has_highlights, {"num_highlights": _NUMBER}
    ),
    "detectable_format:multiple_sections": Instruction(
        _has_sections, {"section_spliter": str, "num_sections": _NUMBER}
    ),
    "detectable_format:json_format": Instruction(_is_json),
    "detectable_format:title": Instruction(_has_title),
    "combination:two_responses": Instruction(_is_two_responses),
    "combination:repeat_prompt": Instruction(_repeats_prompt, {"prompt_to_repeat": str}),
    "startend:end_checker": Instruction(_ends, {"end_phrase": str}),
    "startend:quotation": Instruction(_is_quoted),
    "change_case:capital_word_frequency": Instruction(
        _has_capital_words, {"capital_frequency": _NUMBER, "capital_relation": str}
    ),
    "change_case:english_capital": Instruction(_is_upper),
    "change_case:english_lowercase": Instruction(_is_lower),
    "punctuation:no_comma": Instruction(_has_no_comma),
}
"""Every instruction by the name that the benchmark gives it."""
