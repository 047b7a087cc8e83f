import pytest

from kyara_kedro.records import CONVERSATION


@pytest.fixture
def corpus():
    """Builds a table of conversations from lists of turns, user first."""

    def build(*conversations, sources=(), languages=()):
        rows = []
        for number, turns in enumerate(conversations):
            roles = ["user", "assistant"] * (len(turns) // 2)
            rows.append(
                {
                    "id": f"{number:04}",
                    "messages": [
                        {"role": role, "content": content}
                        for role, content in zip(roles, turns, strict=True)
                    ],
                    "source": sources[number] if sources else "s",
                    "language": languages[number] if languages else "zh-Hant-TW",
                    "rounds": len(turns) // 2,
                    "tokens": 10,
                    "teacher": None,
                    "prompt_version": None,
                    "passage_ids": [],
                    "calls": [],
                    "parents": ["d"],
                    "licence": "CC0",
                }
            )
        return CONVERSATION.frame(rows)

    return build
