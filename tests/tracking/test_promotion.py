"""What a person sees and does about the champion, on the real registry."""

import json
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import item_row
from kyara_kedro.evaluation.comparison import compare
from kyara_kedro.evaluation.gate import GateOptions, Rule, decide
from kyara_kedro.evaluation.scores import benchmark_scores
from kyara_kedro.pipelines.evaluate.nodes import promote
from kyara_kedro.records import BENCHMARK_ITEM
from kyara_kedro.tracking.promotion import override, roll_back, told
from kyara_kedro.tracking.registry import ModelRegistry
from kyara_kedro.training.model_ref import ModelRef

from .conftest import Server
from .models import model


def nominated(registry: ModelRegistry, folder: Path, weights: str, verdict: str) -> int:
    decision = {"verdict": verdict, "reasons": [f"✓ floor of {weights}"]}
    tags = {"verdict": verdict, "decision": json.dumps(decision)}
    return registry.nominate(model(folder / weights, weights), None, tags)


def test_a_person_sees_overrules_and_goes_back_with_reasons(database: str, tmp_path: Path) -> None:
    registry = ModelRegistry(database, "people", "kyara-evaluate")
    assert told(registry).count("there is none yet") == 3

    good = nominated(registry, tmp_path, "good", "promote")
    assert "is the champion now" in override(registry, good, None)
    assert "is the champion already" in override(registry, good, None)
    weak = nominated(registry, tmp_path, "weak", "hold")
    assert "gate, v2: hold\n  ✓ floor of weak" in told(registry)
    for reason in (None, "  "):
        with pytest.raises(UserError, match=r"verdict on version 2 is 'hold'.*--reason"):
            override(registry, weak, reason)
    assert registry.resolve("champion").version == good  # type: ignore[union-attr]
    override(registry, weak, "the benchmark is broken")

    with pytest.raises(UserError, match="--reason"):
        roll_back(registry, None)
    assert "v1" in roll_back(registry, "users complain")
    with pytest.raises(UserError, match=r"taken back by .* \(users complain\)"):
        override(registry, weak, None)
    shown = told(registry)
    assert "champion: v1" in shown
    assert "v2 撤回 taken back): users complain" in shown
    assert "the benchmark is broken (gate: hold)" in shown


def test_the_gate_promotes_holds_and_leaves_back_what_a_person_took_back(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Scores of three models go through the gate and the node that promotes, on a real server."""
    server.start()
    registry = ModelRegistry(server.uri, "gate", "kyara-evaluate")
    options = GateOptions(
        rules=(
            Rule(benchmark="b", metric="accuracy", must_improve="base", floor=0.5),
            Rule(benchmark="b", metric="accuracy", must_not_regress="champion", margin=0.05),
        )
    )

    def run(weights: str, *, right: int, champion: int | None) -> dict[str, Any]:
        folder = tmp_path / weights
        path = folder if folder.exists() else model(folder, weights)
        candidate = ModelRef(str(path), f"f-{weights}", "dpo", "embedded")
        rights = {"base": 20, "dpo": right} | ({"champion": champion} if champion else {})
        items = BENCHMARK_ITEM.frame(
            item_row(
                *("b", f"q{i}", name, "accuracy"),
                value=float(i < correct),
                no_answer=False,
                stratum="first" if i < 200 else "second",
                scorer_version="s-1",
            )
            for name, correct in rights.items()
            for i in range(400)
        )
        scores = benchmark_scores(items)
        decision = decide("dpo", scores, compare(items), options, has_champion=bool(champion))
        return promote(candidate, decision.to_dict(), scores, registry)

    first = run("a", right=300, champion=None)
    assert (first["verdict"], first["champion"]) == ("promote", 1)
    worse = run("b", right=240, champion=300)
    assert (worse["verdict"], worse["candidate"], worse["champion"]) == ("hold", 2, 1)
    close = run("c", right=284, champion=300)
    assert (close["verdict"], close["champion"]) == ("inconclusive", 1)
    better = run("d", right=340, champion=300)
    assert (better["verdict"], better["champion"]) == ("promote", 4)
    tags = registry.version(4).tags
    assert tags["b.accuracy"] == "0.8500"
    assert json.loads(tags["decision"])["numbers"][-1]["bar"] == -0.05

    roll_back(registry, "it was tested on the wrong questions")
    again = run("d", right=340, champion=300)
    assert (again["verdict"], again["champion"], again["candidate"]) == ("promote", 1, 4)
    assert again["withdrawn"]["reason"] == "it was tested on the wrong questions"
    assert "kedro promote 4" in caplog.text
    override(registry, 4, "it was tested again")
    assert run("d", right=340, champion=340)["champion"] == 4


def test_a_champion_that_was_deleted_is_not_gone_back_to(database: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    registry = ModelRegistry(database, "deleted", "kyara-evaluate")
    first, second = (nominated(registry, tmp_path, name, "promote") for name in ("one", "two"))
    override(registry, first, None)
    override(registry, second, None)
    MlflowClient(database, database).delete_model_version("deleted", str(first))
    with pytest.raises(UserError, match=r"has no version 1; there are: 2"):
        roll_back(registry, "it is bad")
