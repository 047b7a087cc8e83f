"""Nodes as tasks of a Ray cluster, on one machine or on many that share the project's folder."""

import logging
import os
import pickle
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from copy import copy
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from kedro.framework.project import LOGGING, PACKAGE_NAME, settings
from kedro.io import CatalogProtocol, DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import AbstractRunner
from kedro.runner.task import Task
from pluggy import PluginManager

from kyara_kedro.errors import UserError
from kyara_kedro.runners.log import RunLog
from kyara_kedro.runners.stale import StaleAware

logger = logging.getLogger("kyara_kedro")
T = TypeVar("T")
Demand = Mapping[str, float]
Facts = dict[int, Mapping[str, Any]]

DEMANDS: Mapping[str, Demand] = {
    "cpu": {"num_cpus": 1},
    "gpu": {"num_cpus": 1, "num_gpus": 1},
    "llm": {"num_cpus": 0.1},
}
"""What a node with a tag takes of the cluster; one that waits for a teacher takes little."""
_AMOUNTS = ("num_cpus", "num_gpus", "memory")
_PATIENCE = 10.0
"""Seconds that cancelled nodes have to unwind before their processes are killed."""


@runtime_checkable
class CarriesFacts(Protocol):
    """A hook that learns something from each node that the end of the run needs.

    A runner that executes nodes in other processes lets their copy of a hook hand its facts over,
    and the run's own one take them. In such a process no context is created, and a hook writes no
    file there that the run's own one writes.
    """

    def hand_over(self) -> Mapping[str, Any]:
        """Give what is known since the last time, and forget it."""

    def take_over(self, facts: Mapping[str, Any]) -> None:
        """Add what another process has handed over."""


class RayRunner(StaleAware, AbstractRunner):
    """Runs nodes side by side as Ray tasks, each as soon as its inputs are there.

    Data sets go through the catalog, on storage that all machines see; what a node needs of the
    cluster is told by its tags. Where the cluster has no GPU, and nothing is said of one, ``gpu``
    nodes run on a CPU.

    Args:
        is_async: Load and save a node's data sets in threads.
        address: Of a running cluster, such as ``auto`` or ``ray://head:10001``; else that of the
            environment's ``RAY_ADDRESS``, or a cluster on this machine for the time of the run.
        workers: CPUs of a cluster on this machine; all by default.
        resources: Amounts by tag, in place of :data:`DEMANDS`: ``num_cpus``, ``num_gpus``,
            ``memory`` (bytes), or a resource that the cluster has names for.

    Raises:
        UserError: Ray is not installed, or the settings make no sense.
    """

    def __init__(
        self,
        is_async: bool = False,
        address: str | None = None,
        workers: int | None = None,
        resources: Mapping[str, Demand] | None = None,
    ) -> None:
        super().__init__(is_async)
        if workers is not None and (address or workers < 1):
            raise UserError(
                f"RayRunner: workers={workers} is for a cluster on this machine, and at least 1"
            )
        self._address, self._workers = address, workers
        self._resources = _checked(resources or {})

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        check_stored(pipeline, catalog)
        started = _connect(self._address, self._workers)
        try:
            super()._run(pipeline, catalog, hook_manager, run_id)
        finally:
            if started:
                import ray

                ray.shutdown()

    def _get_executor(self, max_workers: int) -> Executor:
        return RayExecutor(self._resources, self._log)


class RayExecutor(Executor):
    """Submits Kedro's tasks to Ray; what is unfinished at the end is cancelled.

    Args:
        resources: Amounts by tag, in place of :data:`DEMANDS`.
        log: Knows what is due, and is told what has run.
    """

    def __init__(self, resources: Mapping[str, Demand], log: RunLog | None = None) -> None:
        import ray

        gpus = bool(ray.cluster_resources().get("GPU"))
        usual = DEMANDS if gpus else {**DEMANDS, "gpu": DEMANDS["cpu"]}
        self._demands = {**usual, **resources}
        self._log = log
        self._remote = ray.remote(_work)
        self._running: dict[Future[Any], Any] = {}

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Send a task to the cluster.

        Args:
            fn: A Kedro task.
            args: None.
            kwargs: None.
        """
        from ray import cloudpickle

        if not isinstance(fn, Task) or not isinstance(fn.catalog, DataCatalog):
            raise TypeError(f"{fn!r} is no Kedro task with a catalog")
        future: Future[Any] = Future()
        if self._log and not self._log.begin(fn.node):
            future.set_result(fn.node)
            return future
        task = copy(fn)
        task.catalog, task.hook_manager = _part(fn.catalog, fn.node), None
        place = _Place(str(PACKAGE_NAME), str(Path.cwd()), dict(LOGGING.data))
        arrives = self._remote.options(
            name=fn.node.name, max_retries=0, **options(demand(fn.node.tags, self._demands))
        ).remote(cloudpickle.dumps(task), place)
        self._running[future] = arrives
        settle = partial(_settle, future, fn.node, self._log, time.perf_counter())
        arrives.future().add_done_callback(settle)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel what is unfinished, gently and then by force."""
        import ray

        left = [arrives for future, arrives in self._running.items() if not future.done()]
        for arrives in left:
            ray.cancel(arrives)
        _, stubborn = ray.wait(left, num_returns=len(left), timeout=_PATIENCE) if left else ([], [])
        for arrives in stubborn:
            ray.cancel(arrives, force=True)


def check_stored(pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> None:
    """Refuse data sets that nodes in other processes could not see.

    Raises:
        UserError: a data set between nodes has no entry in the catalog.
    """
    for name in sorted(pipeline.all_outputs()):
        if name not in catalog or isinstance(catalog.get(name), MemoryDataset):
            raise UserError(
                f"'{name}' is in memory only, and nodes of a cluster share no memory: give it an "
                "entry in the catalog"
            )


def _part(catalog: DataCatalog, node: Node) -> DataCatalog:
    """The entries of a catalog that a node reads and writes, with what checks them."""
    names = sorted({*node.inputs, *node.outputs})
    part = DataCatalog({name: catalog[name] for name in names})
    part.validation_enabled = catalog.validation_enabled
    known = catalog.validator_specs
    part._validator_specs = {name: known[name] for name in names if name in known}
    return part


def demand(tags: Collection[str], demands: Mapping[str, Demand]) -> dict[str, float]:
    """What a node takes of the cluster: of each resource the most that one of its tags says."""
    taken: dict[str, float] = {}
    for tag in sorted(tags & demands.keys()):
        for name, amount in demands[tag].items():
            taken[name] = max(amount, taken.get(name, 0))
    return taken or dict(demands["cpu"])


def options(taken: Demand) -> dict[str, Any]:
    """Ray's options of a demand; what is none of Ray's own resources is one of the cluster's."""
    own = {name: amount for name, amount in taken.items() if name in _AMOUNTS}
    custom = {name: amount for name, amount in taken.items() if name not in _AMOUNTS}
    return {**own, "resources": custom} if custom else own


def _checked(resources: Mapping[str, Demand]) -> Mapping[str, Demand]:
    for tag, taken in resources.items():
        if tag not in DEMANDS:
            raise UserError(f"RayRunner: resources.{tag}: tags of nodes are {', '.join(DEMANDS)}")
        for name, amount in taken.items() if isinstance(taken, Mapping) else [("", taken)]:
            if not name or isinstance(amount, bool) or not isinstance(amount, int | float):
                raise UserError(
                    f"RayRunner: resources.{tag} is {taken!r}: give amounts by name, such as "
                    f"resources.{tag}.num_cpus=2"
                )
    return resources


def _connect(address: str | None, workers: int | None) -> bool:
    """Join a cluster, or start one on this machine; whether this process has done it.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError("RayRunner needs Ray: pip install 'kyara-kedro[ray]'") from error
    if ray.is_initialized():
        return False
    try:
        ray.init(
            address=address, num_cpus=workers, include_dashboard=False, logging_level="warning"
        )
    except Exception as error:  # Ray has no errors of its own for this
        where = address or os.environ.get("RAY_ADDRESS") or "on this machine"
        raise UserError(f"no Ray cluster {where}: {' '.join(str(error).split())}") from error
    return True


class _Place(NamedTuple):
    """Where a process finds the project.

    Attributes:
        package: Its package.
        folder: The folder that relative paths start from.
        logs: How it logs.
    """

    package: str
    folder: str
    logs: dict[str, Any]


class _Outcome(NamedTuple):
    """What came of a node: what went wrong, with its causes, and what the hooks have learnt."""

    errors: list[BaseException]
    facts: Facts


def _work(packed: bytes, place: _Place) -> _Outcome:
    """Execute a task in a process of the cluster, with the project's hooks."""
    hooks = _prepare(place)
    task: Task = pickle.loads(packed)  # noqa: S301 - from the process that started the run
    hooks.hook.after_catalog_created(
        catalog=task.catalog,
        conf_catalog={},
        conf_creds={},
        parameters={},
        save_version=task.run_id,
        load_versions={},
    )
    task.hook_manager = hooks
    errors: list[BaseException] = []
    try:
        task.execute()
    except Exception as caught:
        errors = portable(caught)
    finally:
        for name in task.node.inputs:
            task.catalog.release(name)
    handed = {number: hook.hand_over() for number, hook in _carriers().items()}
    return _Outcome(errors, handed)


def _prepare(place: _Place) -> PluginManager:
    """Make a process know the project, as the one that started the run does."""
    from kedro.framework.hooks.manager import (
        _create_hook_manager,
        _register_hooks,
        _register_hooks_entry_points,
    )
    from kedro.framework.project import configure_logging, configure_project

    os.chdir(place.folder)
    configure_project(place.package)
    configure_logging(place.logs)
    hooks = _create_hook_manager()
    _register_hooks(hooks, settings.HOOKS)
    _register_hooks_entry_points(hooks, settings.DISABLE_HOOKS_FOR_PLUGINS)
    return hooks


def _carriers() -> dict[int, CarriesFacts]:
    """The project's hooks that carry facts, by their place among all."""
    found = enumerate(settings.HOOKS)
    return {number: hook for number, hook in found if isinstance(hook, CarriesFacts)}


def portable(error: Exception) -> list[BaseException]:
    """An error and its causes, such that another process can be told, with a note of its trace."""
    trace = "".join(traceback.format_exception(error))
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        try:
            pickle.loads(pickle.dumps(cause))  # noqa: S301 - our own
        except Exception:
            found.append(UserError(f"{type(cause).__name__}: {cause}"))
        else:
            found.append(cause)
        cause = cause.__cause__
    found[0].add_note(trace)
    return found


def linked(errors: Sequence[BaseException]) -> BaseException:
    """An error whose causes follow it, with these as its causes again; pickling takes them off."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def _settle(
    future: Future[Any],
    node: Node,
    log: RunLog | None,
    started: float,
    arrived: Future[_Outcome],
) -> None:
    """Pass on what came of a node."""
    try:
        outcome = arrived.result()
        for number, hook in _carriers().items():
            hook.take_over(outcome.facts[number])
        if outcome.errors:
            raise linked(outcome.errors)
        if log:
            log.done(node, time.perf_counter() - started)
    except Exception as error:
        if log:
            log.failed(node, time.perf_counter() - started)
        future.set_exception(_told(node, error))
    else:
        future.set_result(node)


def _told(node: Node, error: Exception) -> Exception:
    """In one line what Ray says at length."""
    from ray.exceptions import RayError

    if not isinstance(error, RayError):
        return error
    why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return UserError(f"{node.name}: its process on the cluster was lost, run again: {why}")
