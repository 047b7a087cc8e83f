"""Conversations grounded in documents: one function a strategy.

Each strategy plans its attempts first; every attempt becomes a conversation or a drop.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.asking import answers, assistant, fault, synthetic, user
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.library import REFUSAL, template_language
from kyara_kedro.records import CONVERSATION, drops
from kyara_kedro.teachers.base import Completion, Teacher, ask
from kyara_kedro.teachers.tasks import Instruction, Problem, Question, Solution
from kyara_kedro.text.citations import citation_fault

PIPELINE = "synthesize"
Strategy = tuple[pl.DataFrame, pl.DataFrame]
Row = dict[str, Any]

_SHOWN = 4
"""Most documents in a prompt with references."""


class Attempt(NamedTuple):
    """One planned answer to a question."""

    id: str
    question: Row
    style: str


def drawn(share: float, *parts: str) -> bool:
    """Whether a record falls into a share of all records; depends on its id alone."""
    return int(content_id(*parts)[:8], 16) < share * 16**8


def knowledge_attempts(questions: pl.DataFrame, params: SynthesizeParams) -> Iterator[Attempt]:
    """Plan the styles in which each question is answered."""
    for question in questions.iter_rows(named=True):
        for style in params.styles[question["operation"]]:
            yield Attempt(content_id("knowledge", style, question["id"]), question, style)


def write_knowledge_conversations(
    questions: pl.DataFrame,
    references: pl.DataFrame,
    passages: pl.DataFrame,
    writer: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> Strategy:
    """Answer each question from its own passage and the relevant supplements, without references.

    Detailed answers become the source ``knowledge``, bare ones (a root question's brief answer,
    and evolved questions that get the same) ``knowledge_brief``, other forms ``knowledge_evolved``.
    """
    library = _Library(passages, references)
    attempts = {attempt.id: attempt for attempt in knowledge_attempts(questions, params)}
    requests = [
        ask(
            prompts,
            attempt.id,
            "answer_question",
            attempt.question["language"],
            question=attempt.question["text"],
            documents=library.supports(attempt.question),
            style=attempt.style,
            cite=False,
        )
        for attempt in attempts.values()
    ]
    completions = answers(writer, requests, "knowledge answers")
    bare = {
        (attempt.question["id"], completions[row_id].text)
        for row_id, attempt in attempts.items()
        if attempt.style == "brief" and attempt.question["parent"] is None
    }
    rows, dropped = [], []
    for row_id, completion in completions.items():
        question = attempts[row_id].question
        if found := fault(completion) or _refused(completion, question["language"]):
            dropped.append((row_id, found[0], f"question {question['id']}: {found[1]}"))
            continue
        source = "knowledge"
        if attempts[row_id].style == "brief":
            root = question["parent"] or question["id"]
            source += "_brief" if (root, completion.text) in bare else "_evolved"
        turns = [user(question["text"]), assistant(completion.text)]
        row = synthetic(
            turns,
            source,
            question["language"],
            completion,
            library.parents(question),
            library.licence(question),
        )
        rows.append((row_id, row))
    return _unique(rows, dropped)


def rag_attempts(questions: pl.DataFrame, params: SynthesizeParams) -> Iterator[Attempt]:
    """Plan which root questions are asked with references, and which of them unanswerably."""
    for question in questions.filter(pl.col("operation") == "none").iter_rows(named=True):
        if drawn(params.rag_share, "rag", question["id"]):
            refuse = drawn(params.unanswerable_share, "unanswerable", question["id"])
            style = "unanswerable" if refuse else "answerable"
            yield Attempt(content_id("rag", question["id"]), question, style)


def write_rag_conversations(
    questions: pl.DataFrame,
    references: pl.DataFrame,
    passages: pl.DataFrame,
    writer: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> Strategy:
    """Ask with reference documents in the prompt; answers cite them, or refuse word for word.

    Distractors are retrieved passages that were judged irrelevant. An answer is kept when its
    citations name given documents only, and at least one.
    """
    library = _Library(passages, references)
    plan = {attempt.id: attempt for attempt in rag_attempts(questions, params)}
    shown = {row_id: library.shown(attempt) for row_id, attempt in plan.items()}
    requests = [
        ask(
            prompts,
            row_id,
            "answer_question",
            attempt.question["language"],
            question=attempt.question["text"],
            documents=shown[row_id],
            style="detailed",
            cite=True,
        )
        for row_id, attempt in plan.items()
        if attempt.style == "answerable"
    ]
    completions = answers(writer, requests, "cited answers")
    rows, dropped = [], []
    for row_id, attempt in plan.items():
        question, completion = attempt.question, completions.get(row_id)
        found = _rag_fault(attempt, completion, shown[row_id])
        if found:
            dropped.append((row_id, found[0], f"question {question['id']}: {found[1]}"))
            continue
        answer = completion.text if completion else _refusal(question["language"])
        prompt = prompts.render_rag(
            shown[row_id], question["text"], question["language"], int(row_id[:8], 16)
        )
        row = synthetic(
            [user(prompt.messages[-1]["content"]), assistant(answer)],
            "rag",
            question["language"],
            completion,
            library.parents(question),
            library.licence(question),
        )
        rows.append((row_id, row | {"prompt_version": prompt.version}))
    return _unique(rows, dropped)


def _rag_fault(
    attempt: Attempt, completion: Completion | None, shown: Sequence[Row]
) -> tuple[str, str] | None:
    if not shown:
        return "no_references", "no passage to show"
    if completion is None:
        return None
    allowed = [document["passage_id"] for document in shown]
    return (
        fault(completion)
        or _refused(completion, attempt.question["language"])
        or citation_fault(completion.text, allowed)
    )


def write_document_conversations(
    documents: pl.DataFrame, writer: Teacher, prompts: PromptLibrary, params: SynthesizeParams
) -> Strategy:
    """Write the prompt whose answer a document is, and pair them."""
    requests, dropped = [], []
    by_id = {document["id"]: document for document in documents.iter_rows(named=True)}
    for document in by_id.values():
        length = len(document["text"])
        if document["language"] not in params.languages:
            dropped.append((document["id"], "language_not_wanted", document["language"]))
        elif not params.document_chars[0] <= length <= params.document_chars[1]:
            dropped.append((document["id"], "document_length", f"{length} characters"))
        else:
            inputs = {"title": document["title"], "text": document["text"]}
            requests.append(
                ask(prompts, document["id"], "prompt_for_document", document["language"], **inputs)
            )
    rows = []
    for row_id, completion in answers(writer, requests, "document prompts").items():
        document = by_id[row_id]
        if found := fault(completion):
            dropped.append((row_id, *found))
            continue
        assert isinstance(completion.parsed, Instruction)  # noqa: S101 - narrows the type
        turns = [user(completion.parsed.prompt), assistant(document["text"])]
        row = synthetic(
            turns, "document", document["language"], completion, [row_id], document["licence"]
        )
        rows.append((row_id, row))
    return _unique(rows, dropped)


def write_math_conversations(
    personas: pl.DataFrame, writer: Teacher, prompts: PromptLibrary, params: SynthesizeParams
) -> Strategy:
    """Let personas pose problems; keep those whose solutions agree by majority.

    Each problem is solved ``params.solutions`` times, and dropped unless more than half of the
    solutions share a final answer.
    """
    wanted = personas.filter(pl.col("language").is_in(list(params.languages)))
    posed = answers(
        writer,
        [
            ask(prompts, row["id"], "pose_problem", row["language"], persona=row["text"])
            for row in wanted.iter_rows(named=True)
        ],
        "problems",
    )
    languages = dict(wanted.select("id", "language").iter_rows())
    problems = {
        row_id: completion.parsed.problem
        for row_id, completion in posed.items()
        if isinstance(completion.parsed, Problem)
    }
    solved = answers(
        writer,
        [
            ask(
                prompts,
                f"{row_id}:{sample}",
                "solve_problem",
                languages[row_id],
                sample=sample,
                temperature=params.solution_temperature,
                problem=problem,
            )
            for row_id, problem in problems.items()
            for sample in range(params.solutions)
        ],
        "solutions",
    )
    rows = []
    dropped = [
        (row["id"], "language_not_wanted", row["language"])
        for row in personas.iter_rows(named=True)
        if row["id"] not in languages
    ]
    for row_id, completion in posed.items():
        if row_id not in problems:
            dropped.append((row_id, *(fault(completion) or ("no_problem", "nothing was posed"))))
            continue
        attempts = [solved[f"{row_id}:{sample}"] for sample in range(params.solutions)]
        agreed = _majority(attempts)
        if agreed is None:
            dropped.append((row_id, "no_majority", "the solutions do not agree"))
            continue
        turns = [user(problems[row_id]), assistant(agreed.text)]
        row = synthetic(turns, "math", languages[row_id], agreed, [row_id], params.math_licence)
        rows.append((row_id, row))
    return _unique(rows, dropped)


def _majority(solutions: Sequence[Completion]) -> Completion | None:
    """The first solution whose final answer more than half of all solutions share."""
    solved = [
        (completion.parsed.answer.replace(",", "").strip(), completion)
        for completion in solutions
        if isinstance(completion.parsed, Solution)
    ]
    for answer, completion in solved:
        if 2 * sum(other == answer for other, _ in solved) > len(solutions):
            return completion
    return None


def dialogue_seeds(questions: pl.DataFrame, passages: pl.DataFrame) -> pl.DataFrame:
    """The passages that can be talked about: those that have a root question."""
    return (
        questions.filter(pl.col("operation") == "none")
        .with_columns(passage_id=pl.col("passage_ids").list.first())
        .sort("passage_id", "id")
        .group_by("passage_id", maintain_order=True)
        .agg(pl.col("text").first().alias("question"), pl.col("id").first().alias("question_id"))
        .join(passages, on="passage_id")
        .sort("passage_id")
    )


def write_dialogue_conversations(
    questions: pl.DataFrame,
    passages: pl.DataFrame,
    writer: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> Strategy:
    """Talk about a passage over several rounds: a question, then follow-up questions.

    A dialogue that cannot be carried on ends early; with fewer than two rounds it is dropped.
    """
    seeds = {
        content_id("dialogue", row["question_id"]): row
        for row in dialogue_seeds(questions, passages).iter_rows(named=True)
    }
    talks: dict[str, list[Message]] = {row_id: [] for row_id in seeds}
    last: dict[str, Completion] = {}
    asked = {row_id: row["question"] for row_id, row in seeds.items()}
    for number in range(params.dialogue_rounds):
        replies = answers(
            writer,
            [
                ask(
                    prompts,
                    f"{row_id}:{number}",
                    "answer_question",
                    seeds[row_id]["language"],
                    question=question,
                    documents=[_document(seeds[row_id])],
                    style="detailed",
                    cite=False,
                )
                for row_id, question in asked.items()
            ],
            f"dialogue answers, round {number + 1}",
        )
        going = []
        for row_id, question in asked.items():
            reply = replies[f"{row_id}:{number}"]
            said = {turn["content"] for turn in talks[row_id]}
            usable = not (fault(reply) or _refused(reply, seeds[row_id]["language"]))
            if usable and question not in said and reply.text not in said:
                talks[row_id] += [user(question), assistant(reply.text)]
                last[row_id] = reply
                going.append(row_id)
        if number + 1 < params.dialogue_rounds:
            asked = _follow_ups(going, seeds, talks, writer, prompts, number)
    rows, dropped = [], []
    for row_id, row in seeds.items():
        if len(talks[row_id]) < 4:
            detail = f"passage {row['passage_id']} carries {len(talks[row_id]) // 2} rounds"
            dropped.append((row_id, "too_few_rounds", detail))
            continue
        parents = [row["question_id"], row["id"]]
        talk = synthetic(
            talks[row_id], "dialogue", row["language"], last[row_id], parents, row["licence"]
        )
        rows.append((row_id, talk))
    return _unique(rows, dropped)


def _follow_ups(
    going: Sequence[str],
    seeds: dict[str, Row],
    talks: dict[str, list[Message]],
    writer: Teacher,
    prompts: PromptLibrary,
    number: int,
) -> dict[str, str]:
    completions = answers(
        writer,
        [
            ask(
                prompts,
                f"{row_id}:{number}",
                "follow_up",
                seeds[row_id]["language"],
                history=talks[row_id],
                title=seeds[row_id]["title"],
                text=seeds[row_id]["text"],
            )
            for row_id in going
        ],
        f"follow-up questions, round {number + 1}",
    )
    return {
        row_id: parsed.question
        for row_id in going
        if isinstance(parsed := completions[f"{row_id}:{number}"].parsed, Question)
    }


class _Library:
    """Passages by id, and what was found out about them for each question."""

    def __init__(self, passages: pl.DataFrame, references: pl.DataFrame) -> None:
        self._passages = {row["passage_id"]: row for row in passages.iter_rows(named=True)}
        self._references: dict[str, list[Row]] = {}
        for row in references.sort("question_id", "rank").iter_rows(named=True):
            self._references.setdefault(row["question_id"], []).append(row)

    def supports(self, question: Row) -> list[Row]:
        """The question's own passages, then the relevant supplements."""
        own = question["passage_ids"]
        found = [row["passage_id"] for row in self._about(question) if row["relevant"]]
        return [_document(self._passages[name]) for name in dict.fromkeys([*own, *found])]

    def shown(self, attempt: Attempt) -> list[Row]:
        """What a prompt shows: own passage and distractors, or distractors alone; shuffled."""
        own = [] if attempt.style == "unanswerable" else attempt.question["passage_ids"]
        others = [row["passage_id"] for row in self._about(attempt.question) if not row["relevant"]]
        names = [*own, *(name for name in others if name not in attempt.question["passage_ids"])]
        order = sorted(names[:_SHOWN], key=lambda name: content_id(attempt.id, name))
        return [_document(self._passages[name]) for name in order]

    def parents(self, question: Row) -> list[str]:
        """The root question first, then the question and its passages' ids."""
        root = question["parent"] or question["id"]
        passages = [self._passages[name]["id"] for name in question["passage_ids"]]
        return list(dict.fromkeys([root, question["id"], *passages]))

    def licence(self, question: Row) -> str:
        """The licence of the question's own passage."""
        return str(self._passages[question["passage_ids"][0]]["licence"])

    def _about(self, question: Row) -> list[Row]:
        return self._references.get(question["id"], [])


def _document(passage: Row) -> Row:
    return {name: passage[name] for name in ("passage_id", "title", "text")}


def _refusal(language: str) -> str:
    return REFUSAL[template_language(language)]


def _refused(completion: Completion, language: str) -> tuple[str, str] | None:
    if completion.text.strip().rstrip("。.") == _refusal(language).rstrip("。."):
        return "no_answer", "the documents do not answer it"
    return None


def _unique(rows: list[tuple[str, Row]], dropped: list[tuple[str, str, str]]) -> Strategy:
    """Build the table from attempts and their rows; of equal conversations the first stays."""
    kept: dict[str, Row] = {}
    for attempt, row in rows:
        if row["id"] in kept:
            dropped.append((attempt, "repeated", f"same content as {row['id']}"))
        else:
            kept[row["id"]] = row
    return CONVERSATION.frame(kept.values()), drops(PIPELINE, dropped)
