"""`make notebooks`: runs every notebook and writes it with its outputs to build/notebooks."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Runs each notebook from the project's root, 300 s a cell at most."""
    target = FOLDER.parent / "build" / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER.parent)}}).execute()
        nbformat.write(notebook, target / path.name)
        print(target / path.name)


if __name__ == "__main__":
    main()
