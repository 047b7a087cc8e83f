"""What a teacher can be asked: each task's inputs and the shape of its reply, in one table."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from kyara_kedro.content import all_well_formed
from kyara_kedro.prompts.rubric import HIGHEST, LOWEST
from kyara_kedro.text.pairwise import (
    LABELS,
    Label,
    letter_of,
    likely_second,
    parse_label,
    parse_second,
)
from kyara_kedro.text.ratings import bracketed_rating, overall_rating
from kyara_kedro.text.verdicts import parse_verdict

_ANSWER = re.compile(r"^\W*(?:答案|Answer)\W*[:：]\s*(?P<answer>.+?)[\s*$]*$", re.IGNORECASE)


T = TypeVar("T", str, list[Any])


def _filled(value: T) -> T:
    if not (value.strip() if isinstance(value, str) else value):
        raise ValueError("must not be empty")
    return value


Filled = Annotated[str, AfterValidator(_filled)]
"""A string that is not blank; a validator, as strict schemas have no ``minLength``."""


def _grade(value: Any) -> Any:
    whole = isinstance(value, int | str) and not isinstance(value, bool)
    if not (whole and re.fullmatch(r"\d+", str(value)) and LOWEST <= int(value) <= HIGHEST):
        raise ValueError(f"must be a whole number from {LOWEST} to {HIGHEST}")
    return value


Grade = Annotated[int, BeforeValidator(_grade)]
"""A grade on the judges' scale; nothing else is taken for one."""


def _mark(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"10|\d", str(value), re.ASCII):
        raise ValueError("must be a whole number from 0 to 10")
    return int(value)


Mark = Annotated[int, BeforeValidator(_mark)]
"""A whole number from 0 to 10."""


TopLogprobs = Sequence[Mapping[str, float]]
"""The most probable tokens at each place of a reply, and their log-probabilities."""

Fault = Literal[
    "empty", "not_json", "schema", "form", "several", "body", "tool_calls", "refusal", "finish"
]
"""How a reply can fail.

empty: nothing is said; not_json: no JSON object is in it; schema: its JSON lacks or misuses a
field; form: plain text of another form than asked for; several: verdicts that contradict each
other, after which a protocol has nobody asked again; body: the HTTP body is no chat completion;
tool_calls: it calls tools instead of answering; refusal: the model declined; finish: the server
broke it off.
"""


class ReplyError(ValueError):
    """A reply does not have the form that its task asks for; the message says what is wrong.

    Args:
        fault: The class of the failure.
        message: What is wrong, for the teacher and for people.
    """

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Reply(BaseModel):
    """Base of the parsed replies. Flat, closed and without defaults, as strict schemas demand."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    structured: ClassVar[bool] = True
    """Whether the reply is JSON, so that a server may be asked to enforce its schema."""
    one_token: ClassVar[bool] = False
    """Whether its first token says all, so that a reply cut at the token limit is whole."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Read the JSON object in a text, in a code fence or between sentences, or else its tags.

        Raises:
            ReplyError: there is neither, or it breaks the schema.
        """
        found = _json_object(text)
        if found is None:
            found = read_tags(cls, text)
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "object"
            raise ReplyError("schema", f"field {where!r}: {first['msg']}") from error

    @classmethod
    def weigh(cls, text: str, top_logprobs: TopLogprobs) -> Self:
        """Read a reply whose tokens' log-probabilities are known too; most look at the text alone.

        Raises:
            ReplyError: see :meth:`read`.
        """
        return cls.read(text)


def _json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text; None when there is none."""
    start = text.find("{")
    while start >= 0:
        try:
            found: dict[str, Any]
            found, end = json.JSONDecoder().raw_decode(text, start)
            if "\\u" in text[start:end]:
                found = all_well_formed(found)
        except (json.JSONDecodeError, RecursionError):
            start = text.find("{", start + 1)
        else:
            return found
    return None


def tag_form(shape: type[Reply]) -> str:
    """How a reply is written in plain tags, for models that cannot write JSON."""
    parts = []
    for name, field in shape.model_fields.items():
        inner = _inner(field.annotation)
        if isinstance(inner, type) and issubclass(inner, Reply):
            body = tag_form(inner)
        else:
            body = "|".join(get_args(inner)) if get_origin(inner) is Literal else "…"
        parts.append(f"<{name}>{body}</{name}>")
    return "".join(parts)


def read_tags(shape: type[Reply], text: str) -> dict[str, Any]:
    """Read a reply in plain tags, one tag a field; a list repeats its tag.

    Raises:
        ReplyError: not one of the tags is there.
    """
    found: dict[str, Any] = {}
    for name, field in shape.model_fields.items():
        inner = _inner(field.annotation)
        said: list[Any] = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        if isinstance(inner, type) and issubclass(inner, Reply):
            said = [read_tags(inner, one) for one in said]
        else:
            said = [one.strip() for one in said]
        if inner is not field.annotation:
            found[name] = said
        elif said:
            found[name] = said[0]
    if not any(found.values()):
        raise ReplyError("not_json", "there is no complete JSON object in it")
    return found


def _inner(annotation: Any) -> Any:
    """The type of a list's items; the annotation itself when it is no list."""
    return get_args(annotation)[0] if get_origin(annotation) is list else annotation


Kind = Literal["time", "number", "person", "place", "work", "term", "definition", "cause"]
"""A kind of question that both the prompts and the rules know."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class WrittenQuestion(Reply):
    """One question; ``answer`` and ``evidence`` are literal substrings of its document."""

    text: Filled
    kind: Kind
    answer: Filled
    evidence: Filled


class WrittenQuestions(Reply):
    """The questions that a document supports; perhaps none."""

    questions: list[WrittenQuestion]


class Question(Reply):
    """A single question: an evolved one, or what a user asks next."""

    question: Filled


class Queries(Reply):
    """Search queries, the most specific first."""

    queries: Annotated[list[Filled], AfterValidator(_filled)]


class Relevance(Reply):
    """Whether a passage bears on a question, with the literal sentence that shows it."""

    relevant: bool
    evidence: str
    summary: str


class Instruction(Reply):
    """The request whose answer a document is."""

    prompt: Filled


class Problem(Reply):
    """A mathematics problem."""

    problem: Filled


class Solution(Reply):
    """A worked solution and the final answer of its last line."""

    structured: ClassVar[bool] = False
    solution: Filled
    answer: Filled

    @classmethod
    def read(cls, text: str) -> Self:
        """Take the answer from the last line, ``答案：42`` or ``Answer: 42``.

        Raises:
            ReplyError: the last line is not of that form.
        """
        solution = text.strip()
        found = _ANSWER.match(solution.rpartition("\n")[2])
        answer = found["answer"].strip("*$ 。") if found else ""
        if not answer:
            raise ReplyError(
                "form", "its last line is not '答案：' or 'Answer:' with the final value"
            )
        return cls(solution=solution, answer=answer)


class InstructionTag(Reply):
    """One fine-grained intention of a request."""

    tag: Filled
    explanation: str


class InstructionTags(Reply):
    """All intentions of a request."""

    tags: Annotated[list[InstructionTag], AfterValidator(_filled)]


class Comparison(Reply):
    """Whether two questions set the same constraints with the same depth and breadth."""

    reason: str
    equal: bool


class Verdict(Reply):
    """Whether the text of the claim of a number, from 1 on, supports it."""

    number: int
    supported: bool


class Support(Reply):
    """Verdicts on numbered claims, for models lose count of bare ones."""

    reason: str
    claims: list[Verdict]

    @property
    def verdicts(self) -> list[bool]:
        """Whether claims 1, 2, ... are supported, as many as there are verdicts.

        A claim without a verdict, or with contrary ones, is not.
        """
        supported = {one.number for one in self.claims if one.supported}
        supported -= {one.number for one in self.claims if not one.supported}
        return [number in supported for number in range(1, len(self.claims) + 1)]


class Check(Reply):
    """Whether a solution's calculation and reasoning are right."""

    reason: str
    correct: bool


class PairVerdict(Reply):
    """Which of two replies is better: ``A``, ``B``, or ``C`` for neither."""

    structured: ClassVar[bool] = False
    verdict: Literal["A", "B", "C"]

    @classmethod
    def read(cls, text: str) -> Self:
        """Take the verdict that the judgement ends with, see :func:`parse_verdict`.

        Raises:
            ReplyError: there is none.
        """
        found = parse_verdict(text)
        if found in ("A", "B", "C"):
            return cls(verdict=found)
        what = "several verdicts" if found == "several_verdicts" else "no verdict"
        raise ReplyError(
            "form", f"it ends with {what}; the last line is [[A]], [[B]] or [[C]] alone"
        )


class Judgement(Reply):
    """What a judge says by a benchmark's protocol."""

    structured: ClassVar[bool] = False

    @property
    @abstractmethod
    def verdict(self) -> str:
        """In the form that the protocol asks for, such as ``7`` or ``A>>B``."""

    @abstractmethod
    def value(self, *, swapped: bool) -> float:
        """What it means for the model: a rating, or from 0 for a loss to 1 for a win.

        Args:
            swapped: Whether the opponent's output was shown first.
        """


class Rating(Judgement):
    """A rating up to 10."""

    rating: float

    @property
    def verdict(self) -> str:
        """The rating."""
        return f"{self.rating:g}"

    def value(self, *, swapped: bool) -> float:
        """The rating."""
        return self.rating

    @classmethod
    def _of(cls, rating: float | None, form: str) -> Self:
        if rating is None or rating > 10:
            what = "no rating" if rating is None else f"the rating {rating:g}"
            raise ReplyError("form", f"it has {what}; end with a number up to 10 as {form}")
        return cls(rating=rating)


class BracketedRating(Rating):
    """A rating in double brackets, as FastChat's judges write it."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``[[7]]``, see :func:`bracketed_rating`.

        Raises:
            ReplyError: there is none up to 10.
        """
        return cls._of(bracketed_rating(text), "[[rating]]")


class OverallRating(Rating):
    """The overall score at the end of ratings by dimension, as AlignBench's judges write it."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``{'...': 6, '综合得分': 7}``, see :func:`overall_rating`.

        Raises:
            ReplyError: there is none up to 10.
        """
        return cls._of(overall_rating(text), "{'...': 6, '综合得分': 7} in single quotes")


class ReasonedMark(Judgement):
    """A mark from 0 to 10 after the reason for it, as Chinese-Reason-Bench's judges write it."""

    structured: ClassVar[bool] = True
    judge_reason: str
    judge_score: Mark

    @property
    def verdict(self) -> str:
        """The mark."""
        return str(self.judge_score)

    def value(self, *, swapped: bool) -> float:
        """The mark."""
        return float(self.judge_score)


class ArenaVerdict(Judgement):
    """How much better one of two replies is, in Arena-Hard's five labels."""

    label: Label

    @classmethod
    def read(cls, text: str) -> Self:
        """Take the only label in double brackets, see :func:`parse_label`.

        Raises:
            ReplyError: there is none, or none that counts.
        """
        found = parse_label(text)
        if found == "no_verdict":
            stamps = ", ".join(f"[[{label}]]" for label in LABELS)
            raise ReplyError("form", f"no verdict is in it; end with one of {stamps}")
        if found == "several_verdicts":
            raise ReplyError(
                "several", "it holds several verdicts, or one that is none of the five"
            )
        return cls(label=found)

    @property
    def verdict(self) -> str:
        """The label."""
        return self.label

    def value(self, *, swapped: bool) -> float:
        """1 for a win, 0.5 for a tie, 0 for a loss, by however much."""
        return LABELS[self.label].second if swapped else 1 - LABELS[self.label].second


class AlpacaVerdict(Judgement):
    """Which of two replies is better, ``m`` or ``M``, and how sure the judge is."""

    one_token: ClassVar[bool] = True
    second: float

    @classmethod
    def read(cls, text: str) -> Self:
        """Take the letter that the reply consists of, see :func:`parse_second`.

        Raises:
            ReplyError: there is none.
        """
        return cls._of(parse_second(text))

    @classmethod
    def weigh(cls, text: str, top_logprobs: TopLogprobs) -> Self:
        """Weigh the letters' probabilities as the first token, or read the text without them.

        Raises:
            ReplyError: neither letter is there.
        """
        likely = likely_second(top_logprobs[0]) if top_logprobs else None
        return cls._of(parse_second(text) if likely is None else likely)

    @classmethod
    def _of(cls, second: float | None) -> Self:
        if second is None:
            raise ReplyError("form", "it is neither m nor M; answer with that single letter")
        return cls(second=second)

    @property
    def verdict(self) -> str:
        """The likelier letter, or a tie of both."""
        return letter_of(self.second)

    def value(self, *, swapped: bool) -> float:
        """Probability that the model's reply is the better one."""
        return self.second if swapped else 1 - self.second


class Grades(Reply):
    """A judge's grades of a conversation, by :data:`kyara_kedro.prompts.rubric.CRITERIA`."""

    reason: str
    instruction: Grade
    correctness: Grade
    helpfulness: Grade
    language: Grade


class SystemPrompt(Reply):
    """The system prompt of an assistant."""

    system: Filled


@dataclass(frozen=True)
class Task:
    """What a teacher is asked.

    Attributes:
        inputs: Names of the inputs, the same for the rules and for the prompt templates.
        reply: Shape of the reply; None for plain text.
        verbatim: Whether whatever is said is the answer, nothing too, so that nobody asks again.
    """

    inputs: frozenset[str]
    reply: type[Reply] | None = None
    verbatim: bool = False

    @cached_property
    def schema(self) -> dict[str, Any] | None:
        """JSON schema of a structured reply."""
        if self.reply is None or not self.reply.structured:
            return None
        return self.reply.model_json_schema()

    @cached_property
    def written_schema(self) -> str:
        """The schema as JSON, empty when there is none."""
        return json.dumps(self.schema) if self.schema else ""


def _task(inputs: str, reply: type[Reply] | None = None) -> Task:
    return Task(frozenset(inputs.split()), reply)


TASKS: Mapping[str, Task] = {
    "write_questions": _task("title text count kinds", WrittenQuestions),
    "evolve_question": _task("question operation title text", Question),
    "expand_query": _task("question", Queries),
    "judge_passage": _task("question title text", Relevance),
    "answer_question": _task("question documents style cite"),
    "prompt_for_document": _task("title text", Instruction),
    "pose_problem": _task("persona", Problem),
    "solve_problem": _task("problem", Solution),
    "follow_up": _task("history title text", Question),
    "answer_follow_up": _task("history question documents"),
    "respond": _task("prompt documents"),
    "judge_pair": _task("prompt answer_a answer_b", PairVerdict),
    "judge_arena": _task("prompt answer_a answer_b", ArenaVerdict),
    "judge_alpaca": _task("prompt answer_a answer_b", AlpacaVerdict),
    "judge_mt_bench": _task("turns references", BracketedRating),
    "judge_align_bench": _task("prompt reference answer category dimensions", OverallRating),
    "judge_reasoning": _task("prompt reference answer", ReasonedMark),
    "rate_conversation": _task("messages", Grades),
    "tag_instruction": _task("messages", InstructionTags),
    "compare_questions": _task("parent question", Comparison),
    "check_support": _task("claims", Support),
    "check_solution": _task("problem solution", Check),
    "write_system_prompt": _task("title text constraints", SystemPrompt),
    "answer_as_told": _task("system question documents"),
    "magpie_query": Task(frozenset()),
    "self_play": Task(frozenset()),
    "answer_benchmark": Task(frozenset(), verbatim=True),
}


def read_reply(task: str, text: str, top_logprobs: TopLogprobs = ()) -> Reply | None:
    """Read a reply in its task's form; None for a task whose reply is plain text.

    Args:
        task: A key of :data:`TASKS`.
        text: The reply.
        top_logprobs: What was likely at each place of it, where that is known.

    Raises:
        ReplyError: the reply is empty or does not have the form.
    """
    shape = TASKS[task].reply
    if not text.strip() and not TASKS[task].verbatim:
        raise ReplyError("empty", "it is empty")
    return None if shape is None else shape.weigh(text, top_logprobs)
