import os
from pathlib import Path

import pytest


@pytest.fixture
def corpora() -> Path:
    """Public corpora for conformance tests; skips where they are absent."""
    root = Path(__file__).parents[2]
    data = root / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data")
    if not (data / "corpora").is_dir():
        pytest.skip(f"no public corpora in {data}; set KYARA_CONFORMANCE_DATA")
    return data / "corpora"
