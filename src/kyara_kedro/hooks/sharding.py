"""How many nodes share the heavy work, told before the pipelines are made."""

from collections.abc import Mapping
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines

from kyara_kedro.params import ShardsParams
from kyara_kedro.pipelines.sharding import want_shards


class ShardingHooks:
    """Reads the parameter ``shards``; pipelines that a process has made before are made anew."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Tell the pipelines.

        Raises:
            UserError: a number is impossible, or there is no work of that name.
        """
        make_pipelines(context.config_loader["parameters"].get("shards"))


def make_pipelines(wished: Mapping[str, Any] | None) -> None:
    """Make the pipelines anew if they have to be other ones.

    Args:
        wished: Nodes by the name of the work.

    Raises:
        UserError: a number is impossible, or there is no work of that name.
    """
    if want_shards(ShardsParams.read(wished or {}, "shards")):
        requested = pipelines._requested_pipelines
        pipelines.configure(pipelines._pipelines_module)
        pipelines.set_requested(requested)
