"""Kedro settings: no telemetry, soft-merged parameters, our hooks."""

import os
import warnings

os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("PYDANTIC_ERRORS_INCLUDE_URL", "0")

from kyara_kedro.config import ConfigLoader
from kyara_kedro.hooks import ProjectHooks

# Kedro 1.7 registers its resolvers by omegaconf's old name.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\)")

warnings.filterwarnings("ignore", message="The 'preview_fn' feature is experimental")

CONFIG_LOADER_CLASS = ConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "mlflow": "soft", "jobs": "soft"},
    "config_patterns": {"mlflow": ["mlflow*"], "jobs": ["jobs*"]},
}
HOOKS = ProjectHooks()
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro-viz")
