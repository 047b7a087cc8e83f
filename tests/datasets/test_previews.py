"""What kedro-viz shows of each entry of the catalog."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession

from kyara_kedro.datasets import previews
from kyara_kedro.datasets.ledger import LedgerDataset
from kyara_kedro.datasets.models import FolderDataset
from kyara_kedro.datasets.tracking import TrackingDataset

from support import ROOT

SECRET = "sk-shown-to-nobody"  # noqa: S105


def catalog(monkeypatch: pytest.MonkeyPatch, env: str | None = None) -> Any:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    configure_project("kyara_kedro")
    return KedroSession.create(ROOT, save_on_close=False, env=env).load_context().catalog


def test_every_entry_of_the_catalog_has_a_preview_that_kedro_viz_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = catalog(monkeypatch)
    without = set()
    for name in entries.filter():
        dataset = entries.get(name)
        preview = getattr(dataset, "preview", None)
        if preview is None:
            without.add(type(dataset))
        else:
            kind = inspect.signature(preview).return_annotation.__name__
            assert kind in ("TablePreview", "JSONPreview", "HTMLPreview", "PlotlyPreview"), name
    assert {one for one in without if one.__module__.startswith("kyara_kedro")} == {TrackingDataset}


@pytest.mark.parametrize("env", ["openai", "vllm", None])
def test_what_is_configured_is_shown_without_a_key(
    monkeypatch: pytest.MonkeyPatch, env: str | None
) -> None:
    entries = catalog(monkeypatch, env)
    for name in ("writer", "checker", "judge", "contestants", "tagger", "text_encoder"):
        shown = entries.get(name).preview()
        assert SECRET not in shown and "credentials" not in shown
        json.loads(shown)
    if env == "openai":
        members = json.loads(entries.get("contestants").preview())["members"]
        assert members["gpt_grounded"]["grounded"] and members["gpt_grounded"]["options"]["prices"]
    sources = entries.get("raw_documents").preview()
    assert sources["columns"][0].endswith(" files") and sources["data"]


def test_long_documents_are_shortened_and_stay_json() -> None:
    shown = json.loads(previews.document({"rows": list(range(100)), "text": "山" * 1000}))
    assert shown["rows"][-1] == "… 80 more" and len(shown["rows"]) == 21
    assert len(shown["text"]) == 300
    page = previews.markdown("---\nlicense: cc0-1.0\n---\n" + "- 臺灣\n" * 300)
    assert "cc0" not in page and page.startswith("- 臺灣\n") and "100 lines more" in page


def test_folders_and_ledgers_are_listed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert FolderDataset(filepath=str(tmp_path)).preview()["data"] == [["model", 1, 2]]
    nothing = LedgerDataset(filepath=str(tmp_path / "replies.db")).preview()
    assert nothing["data"] == [] and nothing["columns"][0] == "teacher"
    assert not (tmp_path / "replies.db").exists()
