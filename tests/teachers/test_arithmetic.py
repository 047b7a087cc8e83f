from collections.abc import Callable
from fractions import Fraction

import pytest

from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.rules import arithmetic

Ask = Callable[..., Completion]


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        ("阿明要採購40份便當，每份100元，店家對超過20份的部分打9折。一共要付多少元？", "3800"),
        (
            "某人先以每小時10公里的速度走了2小時，再以每小時5公里的速度走了2小時。全程的平均"
            "速度是每小時多少公里？",
            "7.5",
        ),
        (
            "某人獨自完成一批海報要6天，夥伴獨自完成要12天。兩人合作2天後，其餘由夥伴獨自完成"
            "，夥伴還要做多少天？",
            "6",
        ),
        (
            "Ann prepares 30 cakes, large ones at 90 dollars and small ones at 50 dollars, wo"
            "rth 1900 "
            "dollars in all. How many are large?",
            "10",
        ),
        (
            "Ann finishes 3 nets in the first week and 2 more each week than in the week befo"
            "re. How many "
            "are finished in the first 4 weeks?",
            "24",
        ),
    ],
)
def test_known_problems_are_solved_exactly(rules: Ask, problem: str, answer: str) -> None:
    solved = rules("solve_problem", problem=problem)
    assert solved.parsed.answer == answer  # type: ignore[union-attr]
    assert solved.text.splitlines()[-1].endswith(answer)
    assert rules("respond", prompt=problem, documents=[]).text == solved.text


@pytest.mark.parametrize("language", ["zh-TW", "en"])
def test_every_posed_problem_fits_its_persona_and_is_solved(rules: Ask, language: str) -> None:
    persona = (
        "在花蓮經營稻田的農夫，想估算收成。"
        if language == "zh-TW"
        else "A tea farmer who sells online."
    )
    problems = set()
    for row in range(200):
        posed = rules("pose_problem", language, row_id=f"row{row}", persona=persona)
        problem = posed.parsed.problem  # type: ignore[union-attr]
        assert problem.startswith(persona[:10])
        solved = arithmetic.solve(problem)
        assert solved is not None
        assert Fraction(solved.answer) > 0
        problems.add(problem)
    assert len(problems) >= 190


def test_solutions_state_true_equations(rules: Ask) -> None:
    for family in arithmetic.FAMILIES:
        numbers = {name: Fraction(low) for name, (low, _, _) in family.draw.items()}
        try:
            results = family.work(numbers)
        except ValueError:
            continue
        assert results["x"] > 0


def test_unknown_problems_are_refused(rules: Ask) -> None:
    reply = rules("solve_problem", problem="請證明質數有無限多個。")
    assert (reply.status, reply.text, reply.parsed) == ("rejected", "", None)
    assert "does not know" in reply.error


def test_numbers_are_shown_without_loss() -> None:
    shown = [arithmetic.show(Fraction(*pair)) for pair in ((6, 2), (1, 4), (22, 7), (1, 10**6))]
    assert shown == ["3", "0.25", "22/7", "0.000001"]
