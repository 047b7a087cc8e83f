"""What happens inside of nodes that hold a loop, as Mermaid diagrams that kedro-viz shows."""

from collections.abc import Callable
from functools import partial
from importlib.resources import files

from kedro.pipeline.preview_contract import MermaidPreview

_FOLDER = files("kyara_kedro.reporting") / "diagrams"


def shows(loop: str) -> Callable[[], MermaidPreview]:
    """What gives a diagram, ``reporting/diagrams/<loop>.mmd``, as a node's ``preview_fn``."""
    return partial(_diagram, loop)


def _diagram(loop: str) -> MermaidPreview:
    return MermaidPreview(content=(_FOLDER / f"{loop}.mmd").read_text("utf-8"))
