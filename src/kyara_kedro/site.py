"""What kedro-viz needs from us: colours by what a node needs, and a site that asks no other host.

``python -m kyara_kedro.site`` writes the colours; `make docs` does it.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kedro.pipeline import Node

from kyara_kedro.errors import UserError
from kyara_kedro.files import written_whole

STYLES = Path(".viz/styles.json")
_COLOURS = {  # fill and line, in light and in dark
    "gpu": {"light": ("#fde2cf", "#c2571a"), "dark": ("#5a2f14", "#f0a06c")},
    "llm": {"light": ("#d9e8fb", "#2563b0"), "dark": ("#173a63", "#7fb4f2")},
    "cpu": {"light": ("#e3f1e2", "#3f7f3d"), "dark": ("#21421f", "#8fcf8c")},
}
"""By tag, the dearest first."""
_FONTS = (
    "Inter, system-ui, 'Noto Sans TC', 'Noto Sans CJK TC', 'PingFang TC', 'Microsoft JhengHei', "
    "'Noto Sans', sans-serif"
)
_REMOTE = re.compile(r"<link\b[^>]*href=\"https?://[^>]*>\s*")
_MARK = "<!-- fonts of this machine -->"
_STYLE = (
    f"{_MARK}<style>body, body *:not(code, pre, code *, pre *) {{ font-family: {_FONTS}; }}</style>"
)


def styles(nodes: Iterable[Node]) -> dict[str, dict[str, Any]]:
    """The colours of nodes in kedro-viz: models, teachers, or neither."""
    return {node.name.rpartition(".")[2]: _style(node) for node in sorted(nodes)}


def _style(node: Node) -> dict[str, Any]:
    kind = next(kind for kind in _COLOURS if kind in node.tags)
    return {
        "themes": {
            theme: {"fill": fill, "stroke": line} for theme, (fill, line) in _COLOURS[kind].items()
        }
    }


def write_styles(nodes: Iterable[Node], project: Path) -> None:
    """Write the colours where kedro-viz looks for them."""
    with written_whole(project / STYLES) as part:
        part.write_text(json.dumps(styles(nodes), indent=1) + "\n", "utf-8")


def offline(folder: Path) -> None:
    """Take what a built site asks other hosts for out of it: the fonts of this machine are used.

    The page asks for ``api/metadata``, too, which `kedro viz build` leaves out.

    Raises:
        UserError: the folder holds no site that `kedro viz build` has made.
    """
    page = folder / "index.html"
    if not page.is_file():
        raise UserError(f"{folder} holds no site: run `kedro viz build --include-previews` first")
    with written_whole(folder / "api" / "metadata") as part:
        part.write_text(json.dumps(_metadata()), "utf-8")
    text = page.read_text("utf-8")
    if _MARK not in text:
        text = _REMOTE.sub("", text).replace("</head>", f"{_STYLE}</head>")
        with written_whole(page) as part:
            part.write_text(text, "utf-8")


def _metadata() -> dict[str, Any]:
    """Which packages the page may rely on, as the live server tells it."""
    from kedro_viz.api.rest.utils import get_package_compatibilities

    packages = [one.model_dump() for one in get_package_compatibilities()]
    return {"has_missing_dependencies": False, "package_compatibilities": packages}


if __name__ == "__main__":
    from kedro.framework.project import configure_project, pipelines

    configure_project("kyara_kedro")
    write_styles(pipelines["__default__"].nodes, Path.cwd())
