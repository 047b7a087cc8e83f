"""The embedded teacher: answers every task by rules, with no model behind it.

It copies, cuts and counts; it never writes a fact that is not in its inputs, and what it cannot do
it refuses. Its name and kind say ``rules`` on every record, so that nobody takes it for a language
model. What it chooses, it chooses by the row's id: the same requests give the same replies.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from pydantic import Field, field_validator

from kyara_kedro.content import content_id
from kyara_kedro.options import Options
from kyara_kedro.prompts import REFUSAL
from kyara_kedro.teachers.base import (
    ChatRequest,
    Completion,
    Teacher,
    TeacherError,
    request_key,
    unanswered,
)
from kyara_kedro.teachers.rules import (
    arithmetic,
    checks,
    grading,
    judge,
    system_prompts,
)
from kyara_kedro.teachers.rules.answers import (
    Documents,
    Manner,
    answer,
    clozes,
    find,
    keywords,
    search_queries,
)
from kyara_kedro.teachers.rules.cloze import Cloze
from kyara_kedro.teachers.rules.cloze_zh import plain_title
from kyara_kedro.teachers.rules.evolution import TEMPLATES, unwrap, wrap
from kyara_kedro.teachers.rules.simplified import in_traditional
from kyara_kedro.teachers.tasks import ReplyError, Solution, read_reply
from kyara_kedro.text.constraints import compose, stated
from kyara_kedro.text.intentions import explain_intentions
from kyara_kedro.text.numbers import equivalent

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")

_SAMPLES = (  # what the samples of one prompt differ in: (brief, sentences)
    (False, 2),
    (True, 1),
    (False, 1),
    (False, 3),
)
_NOTHING_GIVEN = {
    "zh-TW": "我手邊沒有可以查證的資料，因此無法回答這個要求。",
    "en": "I have no material to check this against, so I cannot answer it.",
}
_SAYS = {
    "zh-TW": {
        "equal": "除了客套話與寫法，兩題相同。",
        "unequal": "兩題的文字在客套話與寫法之外仍有不同。",
        "supported": "每一句都逐字見於所引的文件。",
        "unsupported": "第 {numbers} 筆沒有逐字見於所引文件的同一句。",
        "right": "以規則重新解題，結果同樣是 {answer}。",
        "wrong": "以規則重新解題，結果是 {answer}，與這份解答不同。",
        "words": "要求中出現「{words}」。",
    },
    "en": {
        "equal": "Politeness and spelling aside the questions are the same.",
        "unequal": "The questions differ in more than politeness and spelling.",
        "supported": "Every sentence stands literally in the text that it cites.",
        "unsupported": "Claims not found literally in one sentence of their text: {numbers}.",
        "right": "Solved again by rules, with the same result {answer}.",
        "wrong": "Solved again by rules, the result is {answer} and not this one.",
        "words": "The request says '{words}'.",
    },
}
"""Reasons of what the rules decide."""


class ExtractiveOptions(Options):
    """Settings of the extractive teacher.

    Attributes:
        name: Name on the records; it has to say ``rules``.
        role: What it does in this project, for reports.
        threshold: Least score of a sentence that bears on a question, see ``rules.evidence``.
        sentences: Most sentences of a detailed answer.
    """

    name: str = "extractive-rules-v1"
    role: str = "teacher"
    threshold: float = Field(0.37, gt=0, lt=1)
    sentences: int = Field(2, ge=1)

    @field_validator("name")
    @classmethod
    def _says_rules(cls, name: str) -> str:
        if "rules" not in name:
            raise ValueError("must contain 'rules', since no language model is behind it")
        return name


class Refused(Exception):
    """The rules cannot do what is asked; the message says why."""


@cache
def _warn_once(name: str) -> None:
    LOGGER.warning(
        "%s answers by rules, without a language model: fit to try the pipelines, not to train a "
        "model on",
        name,
    )


class ExtractiveTeacher(Teacher):
    """Answers every task by rules.

    Args:
        options: Name and thresholds.
    """

    kind = "rules"
    licence_note = "literal extracts: the licence of the source documents applies"

    def __init__(self, options: ExtractiveOptions | None = None) -> None:
        super().__init__()
        self.options = options or ExtractiveOptions()
        self.name = self.options.name
        self.role = self.options.role

    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        _warn_once(self.name)
        return map(self.complete, requests)

    def can(self, request: ChatRequest) -> bool:
        """Whether there is a rule for what is asked."""
        return request.task in _RULES and not request.raw

    def complete(self, request: ChatRequest) -> Completion:
        """Answer one request.

        Raises:
            TeacherError: there is no rule for its task.
        """
        rule = _RULES.get(request.task)
        if rule is None:
            raise TeacherError(f"{self.name}: no rule for the task {request.task!r}")
        key = request_key(
            self.name,
            request.messages,
            {"row_id": request.row_id, **self.options.model_dump(exclude={"role"})},
            sample=request.sample,
        )
        blank = unanswered(request, self.name, self.kind, key)
        try:
            reply = _in_its_script(rule, request, self.options)
        except Refused as refusal:
            return replace(blank, status="rejected", error=str(refusal))
        text = reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
        return replace(blank, text=text, parsed=read_reply(request.task, text))


Reply = str | Mapping[str, Any]
Rule = Callable[[ChatRequest, ExtractiveOptions], Reply]


def _in_its_script(rule: Rule, request: ChatRequest, options: ExtractiveOptions) -> Reply:
    """What a rule replies, in Simplified Chinese where that is the language of the request."""
    if request.language != "zh-CN":
        return rule(request, options)
    inputs, simplified = in_traditional(request.inputs)
    reply = rule(replace(request, language="zh-TW", inputs=inputs), options)
    return REFUSAL["zh-CN"] if reply == REFUSAL["zh-TW"] else simplified(reply)


def _choose(options: Sequence[T], *seed: Any) -> T:
    return options[int(content_id(*seed)[:8], 16) % len(options)]


def _made(request: ChatRequest) -> tuple[Cloze, ...]:
    return clozes(request.inputs["title"], request.inputs["text"], request.language)


def _write_questions(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    """Up to ``count`` questions: no sentence twice while others are left, kinds in turn."""
    kinds = set(request.inputs["kinds"])
    pool = sorted(
        (one for one in _made(request) if not kinds or one.kind in kinds),
        key=lambda one: (_awkwardness(one), content_id(request.row_id, one.question)),
    )
    chosen: list[Cloze] = []
    while pool and len(chosen) < request.inputs["count"]:
        asked = [one.kind for one in chosen]
        quoted = {one.evidence for one in chosen}
        best = min(
            pool,
            key=lambda one: (
                one.evidence in quoted,
                asked.count(one.kind),
                _awkwardness(one) > 1,
                content_id(request.row_id, one.kind),
            ),
        )
        chosen.append(best)
        pool = [one for one in pool if one.answer != best.answer and one != best]
    return {
        "questions": [
            {"text": one.question, "kind": one.kind, "answer": one.answer, "evidence": one.evidence}
            for one in chosen
        ]
    }


def _awkwardness(one: Cloze) -> int:
    """0 for a short question of one clause that names its subject; more for each lack."""
    scoped = one.question.startswith(("關於「", "Regarding "))
    body = one.question.partition("」，")[2] if scoped else one.question
    return int(scoped) + min(2, body.count("，")) + int(len(one.question) > 45)


def _evolve_question(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    question, operation = request.inputs["question"], request.inputs["operation"]
    if unwrap(question).form != "plain":
        raise Refused("the question is evolved already")
    others = [
        one.question
        for one in _made(request)
        if not _same(one, question, request) and one.question != question
    ]
    if operation in ("breadth", "several_questions", "complicate_input") and not others:
        raise Refused("the document gives no second question")
    if operation == "breadth":
        return {"question": _choose(others, request.row_id, "other")}
    templates = [
        one for one in TEMPLATES if one.operation == operation and one.language == request.language
    ]
    if not templates:
        raise Refused(f"no template for the operation {operation!r} in {request.language}")
    other = _choose(others, request.row_id, "other") if others else ""
    return {"question": wrap(_choose(templates, request.row_id, operation), question, other)}


def _same(one: Cloze, question: str, request: ChatRequest) -> bool:
    """Whether a question asks for the answer of another one."""
    return any(one.answer == made.answer for made in _made(request) if made.question == question)


def _expand_query(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    return {"queries": search_queries(request.inputs["question"], request.language)}


def _judge_passage(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    document = {"title": request.inputs["title"], "text": request.inputs["text"]}
    for question in unwrap(request.inputs["question"]).questions:
        found = find(question, [document], request.language, options.threshold)
        if found is not None:
            said = [found.evidence, *(text for text, _ in found.support[:1])]
            separator = " " if request.language == "en" else ""
            return {"relevant": True, "evidence": found.evidence, "summary": separator.join(said)}
    return {"relevant": False, "evidence": "", "summary": ""}


def _answer_question(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    inputs = request.inputs
    manner = Manner(
        language=request.language,
        brief=inputs["style"] == "brief",
        cite=bool(inputs["cite"]),
        sentences=options.sentences,
        seed=request.row_id,
    )
    found = answer(inputs["question"], inputs["documents"], manner, options.threshold)
    return found if found is not None else REFUSAL[request.language]


def _answer_follow_up(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    """As a question that stands alone, which the rules' follow-ups do."""
    inputs = {**request.inputs, "style": "detailed", "cite": False}
    return _answer_question(replace(request, inputs=inputs), options)


def _prompt_for_document(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    title, text = request.inputs["title"], request.inputs["text"]
    words = keywords(title, text, request.language, 3)
    if request.language == "en":
        tail = f" that mentions {_listed(words, ', ', ' and ')}" if words else ""
        head = _choose(("Write a text about", "Write an introduction to"), request.row_id)
        return {"prompt": f"{head} {title}{tail}."}
    forms = (
        "請寫一篇介紹「{t}」的文章",
        "請以「{t}」為題，寫一篇說明文",
        "請向一般讀者介紹「{t}」",
    )
    tail = f"，須提到{_listed(words, '、', '與')}" if words else ""
    return {"prompt": f"{_choose(forms, request.row_id).format(t=title)}{tail}。"}


def _listed(words: Sequence[str], comma: str, last: str) -> str:
    return last.join(part for part in (comma.join(words[:-1]), words[-1]) if part)


def _pose_problem(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    seed = content_id(request.row_id, request.sample)
    return {"problem": arithmetic.pose(request.inputs["persona"], seed, request.language)}


def _solve_problem(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    solved = arithmetic.solve(request.inputs["problem"])
    if solved is None:
        raise Refused("the solver does not know this kind of problem")
    return solved.text


def _follow_up(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    said = "\n".join(message["content"] for message in request.inputs["history"])
    open_questions = [
        one for one in _made(request) if one.answer not in said and one.question not in said
    ]
    if not open_questions:
        raise Refused("the document answers nothing that is still open")
    easiest = min(map(_awkwardness, open_questions))
    one = _choose([one for one in open_questions if _awkwardness(one) == easiest], request.row_id)
    opening = (
        ""
        if request.language == "en"
        else _choose(("那麼，", "另外，", ""), request.row_id, "opening")
    )
    return {"question": f"{opening}{one.question}"}


def _respond(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    prompt = request.inputs["prompt"]
    documents: Documents = request.inputs["documents"] or []
    solved = arithmetic.solve(prompt)
    if solved is not None:
        return solved.text
    if not documents:
        return _NOTHING_GIVEN[request.language]
    brief, sentences = _SAMPLES[request.sample % len(_SAMPLES)]
    manner = Manner(request.language, brief, cite=True, sentences=sentences, seed=request.row_id)
    found = answer(prompt, documents, manner, options.threshold)
    return found if found is not None else REFUSAL[request.language]


def _judge_pair(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    inputs = request.inputs
    return judge.judge_pair(
        inputs["prompt"], inputs["answer_a"], inputs["answer_b"], request.language
    )


def _rate_conversation(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    return grading.grade(request.inputs["messages"], request.language)


def _tag_instruction(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    said = "\n".join(m["content"] for m in request.inputs["messages"] if m["role"] == "user")
    says = _SAYS[request.language]
    return {
        "tags": [
            {"tag": tag, "explanation": says["words"].format(words=words) if words else ""}
            for tag, words in explain_intentions(said)
        ]
    }


def _compare_questions(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    equal = checks.same_question(request.inputs["parent"], request.inputs["question"])
    says = _SAYS[request.language]
    return {"reason": says["equal" if equal else "unequal"], "equal": equal}


def _check_support(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    verdicts = [
        checks.supported(claim["sentence"], claim["text"]) for claim in request.inputs["claims"]
    ]
    failed = [str(number) for number, good in enumerate(verdicts, 1) if not good]
    reason = _SAYS[request.language]["unsupported" if failed else "supported"]
    claims = [{"number": number, "supported": good} for number, good in enumerate(verdicts, 1)]
    return {"reason": reason.format(numbers=", ".join(failed)), "claims": claims}


def _check_solution(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    solved = arithmetic.solve(request.inputs["problem"])
    if solved is None:
        raise Refused("the solver does not know this kind of problem")
    try:
        answer = Solution.read(request.inputs["solution"]).answer
    except ReplyError:
        answer = ""
    correct = equivalent(answer, solved.answer)
    reason = _SAYS[request.language]["right" if correct else "wrong"]
    return {"reason": reason.format(answer=solved.answer), "correct": correct}


def _write_system_prompt(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    inputs = request.inputs
    if not inputs["title"].strip():
        raise Refused("the document has no title to name its topic")
    system = system_prompts.write(
        inputs["title"], inputs["constraints"], request.language, request.row_id
    )
    return {"system": system}


def _answer_as_told(request: ChatRequest, options: ExtractiveOptions) -> Reply:
    """The extracts that answer, put as the constraints of the system prompt demand."""
    inputs = request.inputs
    told = stated(inputs["system"], request.language)
    if not told:
        raise Refused("the system prompt states no constraint in words that the rules know")
    if unwrap(inputs["question"]).form != "plain":
        raise Refused("the question asks for a form of its own")
    documents: Documents = inputs["documents"]
    found = find(inputs["question"], documents, request.language, options.threshold)
    if found is None:
        return REFUSAL[request.language]
    further = (found.support or found.context)[: max(1, options.sentences - 1)]
    said = [found.evidence, *(text for text, _ in further)]
    title = plain_title(documents[found.document]["title"])
    put = compose(told, said, title, found.span or "")
    if put is None:
        kept = ", ".join(constraint.id for constraint in told)
        raise Refused(f"the extracts cannot be put so that they keep {kept}")
    return put


_RULES: Mapping[str, Rule] = {
    "write_questions": _write_questions,
    "evolve_question": _evolve_question,
    "expand_query": _expand_query,
    "judge_passage": _judge_passage,
    "answer_question": _answer_question,
    "prompt_for_document": _prompt_for_document,
    "pose_problem": _pose_problem,
    "solve_problem": _solve_problem,
    "follow_up": _follow_up,
    "answer_follow_up": _answer_follow_up,
    "respond": _respond,
    "judge_pair": _judge_pair,
    "rate_conversation": _rate_conversation,
    "tag_instruction": _tag_instruction,
    "compare_questions": _compare_questions,
    "check_support": _check_support,
    "check_solution": _check_solution,
    "write_system_prompt": _write_system_prompt,
    "answer_as_told": _answer_as_told,
}
