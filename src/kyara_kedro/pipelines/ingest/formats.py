"""The foreign formats of what people bring, and how each becomes our record.

Every function takes one raw row and returns plain values, or raises :class:`Malformed` with the
reason that the row's drop will carry. A format is told by the row's keys; the table is in
docs/ingest.md.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kyara_kedro.content import Message
from kyara_kedro.records import ROLES
from kyara_kedro.text.normalise import visible

_SPEAKERS = {role: role for role in ROLES}
_SPEAKERS |= dict.fromkeys(("human", "prompter"), "user")
_SPEAKERS |= dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model", "ai", "bot"), "assistant")
_TURNS = ("conversations", "messages", "conversation", "dialogue")
_PAIRS = (
    ("instruction", "output"),  # Alpaca, Evol-Instruct-Chinese, hfl/stem_zh_instruction
    ("instruction", "response"),  # Magpie, Dolly
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "response"),  # OpenOrca
    ("question", "answer"),
    ("query", "response"),  # MetaMathQA
)
_MORE_ASKED = ("input", "context")
_SYSTEM = ("system_prompt", "system")
_ASKED = ("prompt", "instruction", "question", "query", "Instruction")
_LETTERS = "ABCDEFGHIJ"
_FINAL_NUMBER = re.compile(r"\A.*\n?####\s*(.+?)\s*\Z", re.DOTALL)


class Malformed(Exception):
    """A row that does not fit its format.

    Args:
        reason: Snake-case word for the drop.
        detail: What is wrong, in words.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Question:
    """One held-out question; see :data:`kyara_kedro.records.BENCHMARK_QUESTION`."""

    kind: str
    question: str
    choices: list[str]
    answer: str
    aliases: list[str]


def conversation(row: Mapping[str, Any]) -> list[Message]:
    """Read a conversation, in turns or as one question with its answer, told by its keys.

    What precedes the first user turn, but for a system turn, and what follows the last answer is
    cut, as FastChat does with ShareGPT's; so is an end whose answers have weight 0.

    Raises:
        Malformed: for an unknown form, a missing or non-text field, an unknown role, turns that do
            not alternate, an answer of weight 0 before one that counts, or a blank turn.
    """
    name = next((name for name in _TURNS if name in row), None)
    if name:
        turns = _weighed([turn_of(turn) for turn in list_at(row, name)])
    elif isinstance(row.get("data"), list | str) and "instruction" not in row:
        turns = _ultrachat(list_at(row, "data"))
    else:
        turns = _pair(row)
    if turns and turns[0]["role"] != "system" and (said := _system(row)):
        turns = [Message(role="system", content=said), *turns]
    return alternating(_trimmed(turns), last="assistant")


def _pair(row: Mapping[str, Any]) -> list[Message]:
    """One exchange, after Alpaca's ``history`` and before Magpie's second one.

    Seed tasks (Self-Instruct, BELLE) hold input and output in their only instance.
    """
    instances = row.get("instances")
    if isinstance(instances, list) and len(instances) == 1 and isinstance(instances[0], Mapping):
        row = {**row, **instances[0]}
    keys = next((pair for pair in _PAIRS if pair[0] in row and pair[1] in row), None)
    if keys is None:
        raise Malformed("unknown_format", f"no known conversation form has keys {keys_of(row)}")
    asked = text_at(row, keys[0])
    for more in _MORE_ASKED:
        if row.get(more):
            asked += "\n\n" + text_at(row, more)
    turns = [*_history(row), *_exchange(asked, text_at(row, keys[1]))]
    again = tuple(f"{key}_2" for key in keys)
    if all(row.get(key) for key in again):
        turns += _exchange(text_at(row, again[0]), text_at(row, again[1]))
    return turns


def _history(row: Mapping[str, Any]) -> Iterator[Message]:
    for asked in row.get("history") or ():
        if not isinstance(asked, list | tuple) or len(asked) != 2:
            raise Malformed("malformed_turn", "'history' must hold pairs of question and answer")
        yield from _exchange(plain_text(asked[0], "history"), plain_text(asked[1], "history"))


def _exchange(asked: str, answered: str) -> list[Message]:
    return [
        Message(role="user", content=asked),
        Message(role="assistant", content=answered),
    ]


def _ultrachat(said: list[Any]) -> list[Message]:
    """Texts by turns, the user's first (https://huggingface.co/datasets/stingning/ultrachat)."""
    return [
        Message(role=("user", "assistant")[number % 2], content=plain_text(text, "data"))
        for number, text in enumerate(said)
    ]


def _system(row: Mapping[str, Any]) -> str:
    """The system prompt of OpenHermes, OpenOrca and others, which stands beside the turns."""
    said = (row.get(name) for name in _SYSTEM)
    return next((visible(text).strip() for text in said if isinstance(text, str) and text), "")


def prompt(row: Mapping[str, Any]) -> str:
    """Read a prompt: a field of its own, or the first user turn of a conversation.

    Raises:
        Malformed: there is none.
    """
    for name in _ASKED:
        value = row.get(name)
        if isinstance(value, str) and (text := visible(value).strip()):
            more = row.get("input") if name == "instruction" else None
            return f"{text}\n\n{visible(more).strip()}" if isinstance(more, str) and more else text
    for name in (*_TURNS, "prompt"):
        if isinstance(row.get(name), list) and row[name]:
            turns = [turn_of(turn)[0] for turn in row[name][:2]]
            asked = [turn["content"] for turn in turns if turn["role"] == "user"]
            if asked:
                return asked[0]
    if isinstance(row.get("turns"), list) and row["turns"]:  # MT-Bench, Arena-Hard
        first = row["turns"][0]
        return plain_text(first.get("content") if isinstance(first, Mapping) else first, "turns")
    fields = " or ".join(map(repr, _ASKED))
    raise Malformed("missing_field", f"no text under {fields}, and no turn of a user")


def benchmark_question(row: Mapping[str, Any]) -> Question:
    """Read a question of our form, MMLU's (columns A to J, or choices with an index), ARC's,
    GSM8K's or SQuAD's (DRCD).

    A paragraph that the question is about is put before it. Answers of GSM8K are their last line.

    Raises:
        Malformed: for a missing field, or choices and a kind that do not go together.
    """
    choices, answer = _choices(row), row.get("answer", row.get("answerKey"))
    kind = row.get("kind") or ("choice" if choices else "open")
    if kind not in ("choice", "open"):
        raise Malformed("unknown_kind", f"'kind' must be 'choice' or 'open', not {kind!r:.40}")
    if (kind == "choice") != (len(choices) > 1):
        detail = f"a choice question has two or more choices and an open one none: {len(choices)}"
        raise Malformed("malformed_choices", detail)
    asked = _field(row, "question")
    if isinstance(row.get("context"), str) and row["context"].strip():
        asked = f"{visible(row['context']).strip()}\n\n{asked}"
    aliases = _texts(row, "aliases")
    if isinstance(row.get("choices"), Mapping):
        answer = _labelled(row["choices"].get("label"), answer, choices)
    if answer is None and row.get("answers"):
        answer, *aliases = _answers(row["answers"])
    is_index = isinstance(answer, int) and not isinstance(answer, bool)
    if is_index and kind == "choice":
        if not 0 <= answer < len(choices):
            raise Malformed("answer_not_a_choice", f"no choice has the index {answer}")
        answer = choices[answer]
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = f"{answer:.12g}" if isinstance(answer, float) else str(answer)[:40]
    answer = _field({"answer": answer}, "answer")
    if kind == "open" and (final := _FINAL_NUMBER.match(answer)):
        answer = final[1].replace(",", "")
    return Question(kind, asked, choices, answer, aliases)


def _choices(row: Mapping[str, Any]) -> list[str]:
    """Choices of a list, of ARC's texts with labels, or of MMLU's columns A, B, C, ..."""
    given = row.get("choices")
    if isinstance(given, Mapping) and "text" in given:
        return _texts(given, "text")
    if given:
        return _texts(row, "choices")
    columns = [row.get(letter) for letter in _LETTERS]
    if not isinstance(columns[0], str):
        return []
    return [visible(str(text)).strip() for text in columns if text is not None]


def _labelled(labels: Any, answer: Any, choices: list[str]) -> Any:
    """The choice with the label that ARC gives as the answer."""
    if isinstance(labels, list) and answer in labels and len(labels) == len(choices):
        return choices[labels.index(answer)]
    return answer


def _answers(given: Any) -> list[str]:
    """Distinct texts of SQuAD's answers: a list of objects, or an object of lists."""
    texts = given.get("text") if isinstance(given, Mapping) else given
    if not isinstance(texts, list):
        raise Malformed("malformed_answers", "'answers' must hold texts")
    texts = [text.get("text") if isinstance(text, Mapping) else text for text in texts]
    said = [visible(text).strip() for text in texts if isinstance(text, str)]
    if not any(said):
        raise Malformed("malformed_answers", "'answers' holds no text")
    return list(dict.fromkeys(filter(None, said)))


def nested_questions(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The questions that a file holds as one object, a row each; none for other rows.

    Such are SQuAD's and DRCD's articles, and TC-Eval's objects by question id.
    """
    articles = row.get("data") if isinstance(row.get("data"), list) else [row]
    for article in articles or ():
        for paragraph in _listed(article, "paragraphs"):
            for asked in _listed(paragraph, "qas"):
                yield {
                    "item_id": asked.get("id"),
                    "context": paragraph.get("context"),
                    "question": asked.get("question"),
                    "answers": asked.get("answers"),
                }
    if row and all(isinstance(one, Mapping) and "question" in one for one in row.values()):
        for key, one in row.items():
            yield {"item_id": key, **one}


def _listed(value: Any, name: str) -> list[Mapping[str, Any]]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def list_at(row: Mapping[str, Any], key: str) -> list[Any]:
    """The list of a field, which may be written as JSON.

    Raises:
        Malformed: it is no list, or an empty one.
    """
    value = row[key]
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Malformed("no_turns", f"'{key}' is a text that is no JSON: {error}") from error
    if not isinstance(value, list) or not value:
        raise Malformed("no_turns", f"'{key}' must be a filled list")
    return value


def turn_of(turn: Any) -> tuple[Message, Any]:
    """A turn in ShareGPT or messages form, with its weight."""
    if not isinstance(turn, Mapping):
        raise Malformed("malformed_turn", "a turn must be an object")
    speaker, key = ("from", "value") if "from" in turn else ("role", "content")
    told = turn.get(speaker)
    role = _SPEAKERS.get(told.strip().lower()) if isinstance(told, str) else None
    if role is None:
        raise Malformed("unknown_role", f"unknown speaker {told!r:.40}")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise Malformed("tool_call", "a turn that calls a tool is more than text")
    if role == "system" and not turn.get(key):
        return Message(role=role, content=""), None
    content = turn.get(key)
    if isinstance(content, list):
        content = _parts(content, key)
    return Message(role=role, content=plain_text(content, key)), turn.get("weight")


def _parts(parts: list[Any], key: str) -> str:
    """The texts of a turn in parts; pictures and sounds are no text."""
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    said = [text for text in texts if isinstance(text, str)]
    if len(said) < len(parts):
        raise Malformed("not_text", f"'{key}' has parts that are not text")
    return "\n".join(said)


def _weighed(turns: list[tuple[Message, Any]]) -> list[Message]:
    """Turns without those at the end, and none before, whose answers have weight 0."""
    counts = [turn["role"] == "assistant" and weight != 0 for turn, weight in turns]
    if not any(weight == 0 for turn, weight in turns if turn["role"] == "assistant"):
        return [turn for turn, _ in turns]
    last = max((number for number, counted in enumerate(counts) if counted), default=-1)
    if any(turn["role"] == "assistant" and weight == 0 for turn, weight in turns[:last]):
        raise Malformed("zero_weight", "an answer of weight 0 stands before one that counts")
    if last < 0:
        raise Malformed("zero_weight", "every answer has weight 0")
    return [turn for turn, _ in turns[: last + 1]]


def _trimmed(turns: list[Message]) -> list[Message]:
    """Turns from the first of the user to the last answer, after a system turn that says much."""
    system = [turn for turn in turns[:1] if turn["role"] == "system"]
    spoken = turns[len(system) :]
    while spoken and spoken[0]["role"] == "assistant":
        spoken = spoken[1:]
    while spoken and spoken[-1]["role"] == "user":
        spoken = spoken[:-1]
    if not spoken:
        raise Malformed("no_answer", "no user turn is followed by an answer")
    return [*(turn for turn in system if turn["content"]), *spoken]


def text_at(row: Mapping[str, Any], key: str) -> str:
    """The text of a field, see `plain_text`."""
    return plain_text(row.get(key), key)


def plain_text(value: Any, key: str) -> str:
    """A text without what nobody sees.

    Raises:
        Malformed: it is no text, or says nothing.
    """
    if not isinstance(value, str):
        raise Malformed("not_text", f"'{key}' must be text, not {type(value).__name__}")
    seen = visible(value).strip()
    if not seen:
        raise Malformed("blank_text", f"'{key}' is blank")
    return seen


def _field(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not (seen := visible(value).strip()):
        raise Malformed("missing_field", f"no text under '{key}'")
    return seen


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    found = row.get(name) or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Malformed(f"malformed_{name}", f"'{name}' must be a list of texts")
    return [visible(text).strip() for text in found]


def keys_of(row: Mapping[str, Any]) -> list[str]:
    """Names of a row's fields, for a message."""
    return sorted(map(str, row))


def alternating(turns: list[Message], last: str) -> list[Message]:
    """Turns, once user and assistant are seen to alternate up to the last.

    Raises:
        Malformed: they do not.
    """
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    expected = [("user", "assistant")[i % 2] for i in range(len(spoken))]
    if [turn["role"] for turn in spoken] != expected or not spoken or expected[-1] != last:
        raise Malformed("roles_not_alternating", "user and assistant must alternate")
    return turns
