"""Settings and counts in the form that MLflow holds: dotted keys with plain values."""

import re
from typing import Any

from kyara_kedro.content import content_id
from kyara_kedro.options import Options

_FORBIDDEN = re.compile(r"[^\w\-. /]")


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings to dotted keys, with the characters that MLflow allows."""
    if isinstance(values, Options):
        values = values.model_dump()
    if not isinstance(values, dict):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}.{allowed(key)}" if prefix else allowed(key))
    return found


def allowed(key: Any) -> str:
    """A key that MLflow takes; one without any letter that it takes becomes a hash."""
    name = _FORBIDDEN.sub("_", str(key))
    return name if name.strip("_") else f"key_{content_id(str(key))[:8]}"


def numbers(values: Any) -> dict[str, float]:
    """The numbers of nested values, by dotted keys."""
    return {
        key: value
        for key, value in flat(values).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
