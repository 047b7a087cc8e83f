"""A tiny chat model that knows some facts, and requests for it."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.content import Message
from kyara_kedro.teachers.base import ChatRequest

FACTS = {
    "玉山主峰的海拔是多少公尺？": "3,952公尺。",
    "濁水溪全長多少公里？": "186.6公里，是臺灣最長的河流。",
    "龍山寺建於哪一年？": "西元1738年。",
    "雪山位於哪一個縣市？": "臺中市與苗栗縣的交界。",
    "淡水河的出海口在哪裡？": "新北市淡水區。",
    "Which river is the longest?": "The Zhuoshui river.",
}
"""What the tiny chat model knows by heart."""


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a real, tiny Gemma 2 that answers the questions of FACTS."""
    return _trained(tmp_path_factory.getbasetemp())


@cache
def _trained(folder: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kyara_kedro.training.chat import encode
    from kyara_kedro.training.embedded import build_embedded_base
    from kyara_kedro.training.options import EmbeddedModelOptions

    torch.set_num_threads(1)
    path = folder / "tiny"
    shape = EmbeddedModelOptions(hidden=64, intermediate=128, window=16)
    build_embedded_base([*FACTS, *FACTS.values()] * 3, shape, path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    network = AutoModelForCausalLM.from_pretrained(path)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    rows = [
        encode(tokenizer, [Message(role="user", content=q), Message(role="assistant", content=a)])
        for q, a in FACTS.items()
    ]
    width = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([r.input_ids.tolist() + [0] * (width - len(r.input_ids)) for r in rows])
    labels = torch.tensor([r.labels.tolist() + [-100] * (width - len(r.labels)) for r in rows])
    for _ in range(80):
        loss = network(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert loss.item() < 0.05
    network.save_pretrained(path)
    return path


def plain(question: str, **more: Any) -> ChatRequest:
    """A request for free text."""
    return ChatRequest(
        **{
            "row_id": question,
            "task": "respond",
            "inputs": {"prompt": question, "documents": []},
            "messages": (Message(role="user", content=question),),
            "prompt_version": "test",
            "language": "zh-TW",
            "max_tokens": 48,
            **more,
        }
    )
