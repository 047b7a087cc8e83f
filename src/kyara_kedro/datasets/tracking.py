"""Where runs and models are tracked when no MLflow server is named."""

from pathlib import Path


def tracking_uri(server: str | None, folder: Path) -> str:
    """The server's address, or that of a SQLite store in a folder, which is made if need be."""
    if server:
        return server
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"
