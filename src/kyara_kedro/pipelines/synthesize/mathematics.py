"""Problems that personas pose, solved several times; the solutions vote (PersonaHub)."""

from collections.abc import Sequence

from kyara_kedro.content import content_id
from kyara_kedro.pipelines.asking import Fault, assistant, fault, synthetic, user
from kyara_kedro.pipelines.synthesize.desk import Desk, chain
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.tasks import Check, Problem, Solution
from kyara_kedro.text.numbers import Majority, majority


def pose_problems(
    desk: Desk, personas: Sequence[Row], basket: Basket, problems: dict[str, Row]
) -> None:
    """Let personas pose problems; keep those whose solutions agree and pass the checker.

    Each problem is solved ``math.solutions`` times, by different teachers where there are several.
    Equal answers are equal as values. The difficulty of a problem is the share of its solutions
    that disagree with the majority.

    Args:
        desk: Teachers and parameters.
        personas: Who poses them.
        basket: Takes the conversations.
        problems: Takes rows of ``records.MATH_PROBLEM`` by persona, of every posed problem.
    """
    wanted = {}
    for persona in personas:
        if persona["language"] in desk.params.languages:
            wanted[persona["id"]] = persona
        else:
            basket.drop(persona["id"], ("language_not_wanted", persona["language"]))
    requests = [
        desk.ask(name, "pose_problem", persona["language"], persona=persona["text"])
        for name, persona in wanted.items()
    ]
    posed: dict[str, tuple[str, Completion]] = {}
    for name, completion in desk.write(requests, "problems").items():
        said = completion.parsed.problem if isinstance(completion.parsed, Problem) else ""
        text, why = desk.reviewed(said, wanted[name]["language"], completion)
        if why:
            basket.drop(name, why)
        else:
            posed[name] = text, completion
    solved = _solved(desk, wanted, posed)
    agreed: dict[str, Completion] = {}
    for name, (problem, _) in posed.items():
        solutions = solved[name]
        vote = majority(
            [one.parsed.answer if isinstance(one.parsed, Solution) else "" for one in solutions]
        )
        winner = solutions[vote.index] if vote.unique else None
        problems[name] = _problem(name, problem, solutions, winner, vote)
        if winner is None or vote.size <= desk.params.math.agreement * len(solutions):
            detail = f"{vote.size} of {len(solutions)} solutions agree"
            basket.drop(name, _unsolved(solutions) or ("no_majority", detail))
        else:
            agreed[name] = winner
    checked = _checked(desk, wanted, posed, agreed)
    for name, winner in agreed.items():
        language = wanted[name]["language"]
        text, why = desk.reviewed(winner.text, language, winner)
        if why := why or _wrong(checked.get(name)):
            basket.drop(name, why)
            continue
        problem, pose = posed[name]
        row = synthetic(
            [user(problem), assistant(text)],
            "math",
            language,
            winner,
            [name],
            desk.params.math.licence,
            calls=chain(
                pose, *(one for one in solved[name] if one is not winner), checked.get(name)
            ),
        )
        if basket.put(name, row):
            problems[name]["conversation_id"] = row["id"]


def _solved(
    desk: Desk, personas: dict[str, Row], posed: dict[str, tuple[str, Completion]]
) -> dict[str, list[Completion]]:
    params = desk.params.math
    completions = desk.write(
        [
            desk.ask(
                f"{name}:{sample}",
                "solve_problem",
                personas[name]["language"],
                sample=sample,
                temperature=params.temperature,
                problem=problem,
            )
            for name, (problem, _) in posed.items()
            for sample in range(params.solutions)
        ],
        "solutions",
    )
    return {
        name: [completions[f"{name}:{sample}"] for sample in range(params.solutions)]
        for name in posed
    }


def _checked(
    desk: Desk,
    personas: dict[str, Row],
    posed: dict[str, tuple[str, Completion]],
    agreed: dict[str, Completion],
) -> dict[str, Completion]:
    """Have the checker look through the solutions that won."""
    requests = [
        desk.ask(
            name,
            "check_solution",
            personas[name]["language"],
            problem=posed[name][0],
            solution=winner.text,
        )
        for name, winner in agreed.items()
        if desk.params.math.checked
    ]
    return desk.check(requests, "solutions checked")


def _problem(
    persona: str,
    problem: str,
    solutions: Sequence[Completion],
    winner: Completion | None,
    vote: Majority,
) -> Row:
    parsed = winner.parsed if winner else None
    return {
        "id": content_id("problem", persona, problem),
        "persona_id": persona,
        "problem": problem,
        "answer": parsed.answer if isinstance(parsed, Solution) else None,
        "solutions": len(solutions),
        "agreed": vote.size,
        "difficulty": vote.difficulty,
        "teachers": sorted({one.teacher for one in solutions}),
        "conversation_id": None,
    }


def _unsolved(solutions: Sequence[Completion]) -> Fault | None:
    """The fault that all solutions share, when there is none that can be read."""
    faults = [fault(one) for one in solutions]
    return faults[0] if all(faults) else None


def _wrong(completion: Completion | None) -> Fault | None:
    """Why the checker does not let a solution pass, or None."""
    if completion is None:
        return None
    if found := fault(completion):
        return found
    assert isinstance(completion.parsed, Check)  # noqa: S101 - narrows the type
    if completion.parsed.correct:
        return None
    return "wrong_solution", f"the checker finds: {completion.parsed.reason[:80]}"
