"""Kedro dataset classes: atomic tables and files, sources, teachers, prompts, knowledge, models."""

from typing import Any

_HOMES = {
    "TableDataset": "table",
    "EarlierTableDataset": "earlier",
    "EarlierTagMapDataset": "earlier",
    "TagMapDataset": "tag_map",
    "EarlierModelDataset": "earlier",
    "EarlierJSONDataset": "earlier",
    "LedgerDataset": "ledger",
    "TextDataset": "files",
    "HTMLDataset": "files",
    "JSONDataset": "files",
    "FigureDataset": "files",
    "SourceFilesDataset": "sources",
    "KnowledgeBaseDataset": "knowledge",
    "TeacherDataset": "teachers",
    "PromptLibraryDataset": "prompts",
    "EncoderDataset": "encoder",
    "ModelRefDataset": "models",
    "TokensRefDataset": "models",
    "FolderDataset": "models",
    "PublicationDataset": "publication",
    "ModelRegistryDataset": "models",
    "TrackingDataset": "tracking",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a dataset class when it is asked for, so that a run loads only what it uses."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
