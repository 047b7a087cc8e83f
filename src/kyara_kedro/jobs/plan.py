"""Jobs that together run pipelines, each of them one `kedro run`, and the order that they need."""

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from typing import Literal, NamedTuple

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from kyara_kedro.shards import shard_of

Group = Literal["namespace", "node"]
Part = tuple[str, ...]


class Job(NamedTuple):
    """Nodes that run together on one machine, or the shards of one node on several.

    Attributes:
        name: Of lower-case letters, digits and hyphens.
        namespace: What all its nodes belong to.
        nodes: Names of the nodes, in an order in which they can run.
        needs: Names of the jobs that have to end well before, those that one of these needs itself
            left out.
        tags: What its nodes need: ``cpu``, ``llm``, ``gpu``.
        gpus: GPUs that it uses at once; 0 for a job that needs none.
        shards: In how many tasks it is done; 1 for most jobs.
        selection: Options of `kedro run` that choose the nodes; of a job in several tasks with
            ``{shard}`` where the task's number stands.
    """

    name: str
    namespace: str
    nodes: tuple[str, ...]
    needs: tuple[str, ...]
    tags: frozenset[str]
    gpus: int
    shards: int
    selection: str


def plan_jobs(pipelines: Mapping[str, Pipeline], group: Group, processes: int) -> list[Job]:
    """Cut pipelines into jobs.

    By namespace a job is a namespace, but for nodes that are split in shards: these are a job of
    their own, and so is what comes before and after them. Pipelines would be no jobs, since
    preference stands between the two halves of train.

    Args:
        pipelines: By name.
        group: ``namespace`` for few long jobs, ``node`` for a job a node.
        processes: Processes, and so GPUs, of a training stage.

    Returns:
        The jobs, such that each follows all that it needs.
    """
    whole = sum(pipelines.values(), Pipeline([]))
    home = {node.name: name for name, pipeline in pipelines.items() for node in pipeline.nodes}
    parts = _parts(whole, group)
    members: dict[Part, list[Node]] = {}
    for node in whole.nodes:
        members.setdefault(parts[node], []).append(node)
    names = _names(members, group)
    needs: dict[Part, set[Part]] = {part: set() for part in members}
    for node, before in whole.node_dependencies.items():
        needs[parts[node]] |= {parts[one] for one in before} - {parts[node]}
    needs = _reduced(needs)
    jobs = [
        Job(
            name=names[part],
            namespace=str(nodes[0].namespace),
            nodes=tuple(node.name for node in nodes),
            needs=tuple(sorted(names[one] for one in needs[part])),
            tags=frozenset().union(*(node.tags for node in nodes)),
            gpus=max(_gpus(node, processes) for node in nodes),
            shards=_shards(nodes),
            selection=_selection(nodes, home, pipelines),
        )
        for part, nodes in members.items()
    ]
    return _ordered(jobs)


def _parts(whole: Pipeline, group: Group) -> dict[Node, Part]:
    """What each node is put together by: equal keys are one job."""
    if group == "node":
        return {node: (_base(node) or node.name,) for node in whole.nodes}
    before = whole.node_dependencies
    stages: dict[Node, int] = {}
    for node in whole.nodes:
        own = (one for one in before[node] if one.namespace == node.namespace)
        stages[node] = max((stages[o] + (_base(o) != _base(node)) for o in own), default=0)
    return {
        node: (str(node.namespace), f"{stages[node]:03}", _base(node) or "") for node in whole.nodes
    }


def _base(node: Node) -> str | None:
    """The name that the shards of a node have in common; None for a node that is none."""
    found = shard_of(node.name)
    return None if found is None else found.base


def _names(members: Mapping[Part, list[Node]], group: Group) -> dict[Part, str]:
    found: dict[Part, str] = {}
    counts: dict[str, int] = {}
    for part, nodes in sorted(members.items()):
        namespace, base = str(nodes[0].namespace), _base(nodes[0])
        if group == "node" or base:
            name = base or nodes[0].name
        else:
            counts[namespace] = counts.get(namespace, 0) + 1
            number = counts[namespace]
            name = namespace if number == 1 else f"{namespace}-{number}"
        found[part] = name.replace(".", "-").replace("_", "-").lower()
    return found


def _gpus(node: Node, processes: int) -> int:
    """GPUs that a node uses; a training stage has as many as the launcher starts processes."""
    if "gpu" not in node.tags:
        return 0
    trains = "params:train" in node.inputs and "tracking" in node.inputs
    return processes if trains else 1


def _shards(nodes: Iterable[Node]) -> int:
    found = shard_of(next(iter(nodes)).name)
    return 1 if found is None else found.shard.total


def _selection(
    nodes: list[Node], home: Mapping[str, str], pipelines: Mapping[str, Pipeline]
) -> str:
    pipeline = home[nodes[0].name]
    found = shard_of(nodes[0].name)
    if found is not None:
        return f"--pipelines={pipeline} --nodes={found.base}_{{shard}}_of_{found.shard.total}"
    chosen, namespace = set(nodes), str(nodes[0].namespace)
    if chosen == set(pipelines[pipeline].nodes):
        return f"--pipelines={pipeline}"
    if chosen == {node for node in pipelines[pipeline].nodes if node.namespace == namespace}:
        return f"--pipelines={pipeline} --namespaces={namespace}"
    return f"--pipelines={pipeline} --nodes={','.join(node.name for node in nodes)}"


def _reduced(needs: dict[Part, set[Part]]) -> dict[Part, set[Part]]:
    """Only the needs that do not follow from others."""
    every: dict[Part, set[Part]] = {}
    for part in TopologicalSorter(needs).static_order():
        every[part] = needs[part].union(*(every[one] for one in needs[part]))
    return {
        part: direct - set().union(*(every[one] for one in direct))
        for part, direct in needs.items()
    }


def _ordered(jobs: list[Job]) -> list[Job]:
    known = {job.name: job for job in jobs}
    order = TopologicalSorter({job.name: job.needs for job in jobs}).static_order()
    return [known[name] for name in order]
