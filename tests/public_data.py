"""Public data that conformance tests need, and the marks of such tests."""

import os
from pathlib import Path

import pytest

from support import ROOT

DATA = Path(os.environ.get("KYARA_CONFORMANCE_DATA", ROOT.parent / "shared" / "data"))
CONFORMANCE = [
    pytest.mark.conformance,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}; set KYARA_CONFORMANCE_DATA"),
]


def needs_data(test):
    """Mark one test of a file whose others need no data."""
    for mark in CONFORMANCE:
        test = mark(test)
    return test
