"""The project's hooks, which are imported when a session asks for them."""

from collections.abc import Iterator
from functools import cache
from typing import Any


class ProjectHooks:
    """The hooks in their order; a command that runs nothing does not wait for their imports."""

    def __iter__(self) -> Iterator[Any]:
        """Give the hooks, the same ones for every session of a process."""
        return iter(_hooks())


@cache
def _hooks() -> tuple[Any, ...]:
    from kyara_kedro.hooks.accounts import AccountHooks
    from kyara_kedro.hooks.gatekeeper import GatekeeperHooks
    from kyara_kedro.hooks.prompts import PromptHooks
    from kyara_kedro.hooks.runs import RunHooks
    from kyara_kedro.hooks.sharding import ShardingHooks
    from kyara_kedro.hooks.statistics import StatisticsHooks
    from kyara_kedro.hooks.tracking import TrackingHooks
    from kyara_kedro.hooks.workflow import WorkflowHooks

    accounts = AccountHooks()
    return (
        *(ShardingHooks(), GatekeeperHooks(), PromptHooks()),
        *(StatisticsHooks(), WorkflowHooks()),
        *(accounts, TrackingHooks(accounts), RunHooks(accounts)),
    )
