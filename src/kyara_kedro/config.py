"""Kedro's configuration loader, with a resolver for files that are not YAML."""

from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf


class ConfigLoader(OmegaConfigLoader):
    """Kedro's own, plus ``${folders:<name>}``: the folders of that name in the environments in use.

    That of the base environment comes first, so what reads them lets the later one win, as the
    configuration itself does. A folder that is not there is left out.
    """

    def __init__(self, conf_source: str, *args: Any, **settings: Any) -> None:
        OmegaConf.clear_resolver("folders")  # Kedro keeps that of an earlier session
        resolvers = {"folders": self._folders, **settings.pop("custom_resolvers", {})}
        super().__init__(conf_source, *args, custom_resolvers=resolvers, **settings)

    def _folders(self, name: str) -> list[str]:
        environments = dict.fromkeys((self.base_env, self.env or self.default_run_env))
        folders = (Path(self.conf_source, environment, name) for environment in environments)
        return [str(folder) for folder in folders if folder.is_dir()]
