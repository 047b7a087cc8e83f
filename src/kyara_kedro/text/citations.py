"""Citations of reference documents, 【id_1a2b3c4d】, and what may be wrong with them."""

import re
from collections.abc import Collection

CITATION = re.compile(r"【(id_[0-9a-f]{8,32})】")


def cited(text: str) -> list[str]:
    """The documents that a text cites, in order, each as often as it is cited."""
    return CITATION.findall(text)


def citation_fault(text: str, allowed: Collection[str]) -> tuple[str, str] | None:
    """Say what is wrong with an answer's citations.

    Args:
        text: The answer.
        allowed: Ids of the documents that were given.

    Returns:
        Reason and detail, or None when there is a citation and all of them name given documents.
    """
    names = cited(text)
    if not names:
        return "no_citation", "the answer cites no document"
    unknown = [name for name in names if name not in allowed]
    if unknown:
        return "unknown_citation", f"{unknown[0]} is not among the documents"
    return None
