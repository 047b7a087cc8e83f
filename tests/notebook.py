"""Run the cells of notebooks in their order, as IPython does, and stop at the first error."""

import json
import os
import sys
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell


def main(*paths: Path) -> None:
    """Run each in the folder that it lies in, with nothing left of the one before."""
    shell = InteractiveShell.instance()
    for path in paths:
        os.chdir(path.parent)
        shell.reset()
        shell.extension_manager.loaded.clear()
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                shell.run_cell("".join(cell["source"])).raise_error()


if __name__ == "__main__":
    main(*(Path(name).resolve() for name in sys.argv[1:]))
