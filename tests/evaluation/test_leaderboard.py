import polars as pl
import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import item_row
from kyara_kedro.evaluation.leaderboard import _LEADERBOARD, leaderboard_scores, normalised
from kyara_kedro.records import BENCHMARK_ITEM


def items(benchmark: str, metric: str, shares: dict[str, float], number: int = 100) -> pl.DataFrame:
    """Answers of which a share is right, of each stratum."""
    return BENCHMARK_ITEM.frame(
        item_row(
            benchmark,
            f"{stratum}/{i}",
            "m",
            metric,
            value=float(i < round(share * number)),
            no_answer=False,
            stratum=stratum,
            scorer_version="v",
        )
        for stratum, share in shares.items()
        for i in range(number)
    )


def scores(*tables: pl.DataFrame) -> dict[str, float]:
    return dict(leaderboard_scores(pl.concat(tables)).select("benchmark", "score").iter_rows())


@pytest.mark.parametrize(
    ("share", "choices", "expected"),
    [(1, 4, 1), (0.25, 4, 0), (0.1, 4, 0), (0.6, 4, 0.466667), (0.3, 1, 0.3), (0.55, 10, 0.5)],
)
def test_chance_becomes_zero_and_certainty_one(share: float, choices: int, expected: float) -> None:
    assert normalised(share, choices) == pytest.approx(expected, abs=1e-6)


def test_musr_equals_the_example_of_the_documentation() -> None:
    shares = {"murder_mysteries": 0.7, "object_placements": 0.4, "team_allocation": 0.6}
    found = scores(items("lm-eval/leaderboard_musr", "acc_norm", shares))
    assert found == {"MUSR": pytest.approx(35)}
    shares["murder_mysteries"] = 0.2
    assert scores(items("lm-eval/leaderboard_musr", "acc_norm", shares)) == {
        "MUSR": pytest.approx((0 + 25 + 40) / 3)
    }


def test_gpqa_and_math_count_questions_and_not_parts() -> None:
    gpqa = pl.concat(
        [
            items("lm-eval/leaderboard_gpqa", "acc_norm", {"diamond": 1.0}, 10),
            items("lm-eval/leaderboard_gpqa", "acc_norm", {"extended": 0.5, "main": 0.5}, 95),
        ]
    )
    right = (10 + 2 * round(0.5 * 95)) / 200
    assert scores(gpqa) == {"GPQA": pytest.approx(100 * (right - 0.25) / 0.75)}


def test_ifeval_is_the_mean_of_its_strict_accuracies() -> None:
    prompts = items("lm-eval/leaderboard_ifeval", "prompt_level_strict_acc", {"all": 0.4})
    instructions = items("lm-eval/leaderboard_ifeval", "inst_level_strict_acc", {"all": 0.6})
    loose = items("lm-eval/leaderboard_ifeval", "inst_level_loose_acc", {"all": 1.0})
    assert scores(prompts, instructions, loose) == {"IFEval": pytest.approx(50)}
    with pytest.raises(UserError, match="IFEval: model 'm' has no inst_level_strict_acc of all"):
        scores(prompts)


def test_a_benchmark_that_lacks_a_part_has_no_score() -> None:
    with pytest.raises(UserError, match=r"BBH: model 'm' has no acc_norm of boolean_expressions, "):
        scores(items("lm-eval/leaderboard_bbh", "acc_norm", {"snarks": 0.6}))


def test_the_average_is_there_when_all_six_are() -> None:
    tables = [
        items(name, metric, dict.fromkeys(spec.strata, 1.0), 2)
        for name, spec in _LEADERBOARD.items()
        for metric in spec.metrics
    ]
    titles = ["IFEval", "BBH", "MATH Lvl 5", "GPQA", "MUSR", "MMLU-PRO", "Average"]
    assert scores(*tables) == dict.fromkeys(titles, 100.0)
    assert "Average" not in scores(*tables[:-1])
    assert scores(items("other", "accuracy", {"all": 1.0})) == {}
