"""Pipelines cut into jobs."""

from collections.abc import Iterator
from functools import partial
from graphlib import TopologicalSorter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.framework.project import configure_project, pipelines
from kedro.pipeline import Node, Pipeline

from kyara_kedro.jobs.plan import Group, Job, plan_jobs
from kyara_kedro.pipeline_registry import PIPELINES


@pytest.fixture(scope="module")
def registered() -> dict[str, Pipeline]:
    configure_project("kyara_kedro")
    return {name: pipelines[name] for name in PIPELINES}


def work(*inputs: object) -> int:
    return len(inputs)


def chosen(job: Job, found: dict[str, Pipeline]) -> list[str]:
    """The nodes that `kedro run` with a job's options runs, in all its tasks together."""
    options = dict(option.removeprefix("--").split("=") for option in job.selection.split())
    nodes = options.get("nodes", "")
    return [
        node.name
        for number in range(1, job.shards + 1)
        for node in found[options["pipelines"]]
        .filter(
            node_names=[n for n in nodes.replace("{shard}", str(number)).split(",") if n] or None,
            node_namespaces=[options["namespaces"]] if "namespaces" in options else None,
        )
        .nodes
    ]


def check(jobs: list[Job], found: dict[str, Pipeline]) -> None:
    """Every node runs once, after all that it reads is there."""
    whole = sum(found.values(), Pipeline([]))
    assert sorted(name for job in jobs for name in chosen(job, found)) == sorted(
        node.name for node in whole.nodes
    )
    assert all(sorted(job.nodes) == sorted(chosen(job, found)) for job in jobs)
    assert len({job.name for job in jobs}) == len(jobs)
    list(TopologicalSorter({job.name: job.needs for job in jobs}).static_order())
    before: dict[str, set[str]] = {}
    for job in jobs:
        assert all(need in before for need in job.needs)
        before[job.name] = set(job.needs).union(*(before[need] for need in job.needs))
    home = {name: job.name for job in jobs for name in job.nodes}
    for node, needed in whole.node_dependencies.items():
        for one in needed:
            own = home[node.name]
            assert home[one.name] == own or home[one.name] in before[own]


@pytest.mark.parametrize("group", ["namespace", "node"])
@pytest.mark.parametrize("names", [PIPELINES, ("train",), ("dedup", "curate"), ("evaluate",)])
def test_every_node_runs_once_and_after_what_it_reads(
    registered: dict[str, Pipeline], group: Group, names: tuple[str, ...]
) -> None:
    found = {name: registered[name] for name in names}
    check(plan_jobs(found, group, 1), found)


def test_a_namespace_is_a_job_and_preference_stands_between_the_halves_of_train(
    registered: dict[str, Pipeline],
) -> None:
    jobs = plan_jobs(registered, "namespace", 1)
    assert [(job.name, job.needs) for job in jobs] == [
        ("ingest", ()),
        ("synthesize", ("ingest",)),
        ("dedup", ("synthesize",)),
        ("curate", ("dedup",)),
        ("sft", ("curate",)),
        ("preference", ("sft",)),
        ("dpo", ("preference",)),
        ("evaluate", ("dpo",)),
    ]
    assert jobs[4].selection == "--pipelines=train --namespaces=sft"


def test_training_has_a_gpu_for_each_process_and_other_gpu_nodes_have_one(
    registered: dict[str, Pipeline],
) -> None:
    gpus = {job.name: job.gpus for job in plan_jobs(registered, "node", 8)}
    assert gpus["sft-train-sft-base"] == gpus["dpo-train-preferences"] == 8
    assert gpus["dedup-find-semantic-pairs"] == gpus["evaluate-generate-outputs"] == 1
    assert gpus["ingest-read-documents"] == gpus["sft-select-base-rows"] == 0


def sharded(counts: list[int]) -> Iterator[Node]:
    """A chain of nodes in one namespace; those with a count above one are in shards."""
    last = ["raw"]
    for place, count in enumerate(counts):
        if count > 1:
            outputs = [f"part{place}_{n}_of_{count}" for n in range(1, count + 1)]
            for number, output in enumerate(outputs, 1):
                yield Node(work, last, output, name=f"do{place}_{number}_of_{count}", tags="gpu")
            last = [*outputs, *last]
        yield Node(work, last, f"table{place}", name=f"join{place}", tags="cpu")
        last = [f"table{place}"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.sampled_from(["namespace", "node"]))
def test_shards_are_one_job_in_as_many_tasks(counts: list[int], group: Group) -> None:
    made = Pipeline(
        [*sharded(counts), Node(partial(work, 1), ["raw"], "aside", name="aside", tags="llm")],
        namespace="a",
        prefix_datasets_with_namespace=False,
    )
    jobs = plan_jobs({"one": made}, group, 1)
    check(jobs, {"one": made})
    assert [job.shards for job in jobs if job.shards > 1] == [n for n in counts if n > 1]
    if group == "namespace":
        assert len([job for job in jobs if job.shards == 1]) <= 1 + sum(n > 1 for n in counts)
