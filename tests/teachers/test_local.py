import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.checkpoints import fingerprint
from kyara_kedro.content import Message
from kyara_kedro.decoding import Prompt, Written
from kyara_kedro.errors import UserError
from kyara_kedro.options import Options
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, TeacherError
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.local import ChatModel, LocalOptions, LocalTeacher, load

from .conftest import requests_for_queries
from .tiny import FACTS, chat_model, plain

__all__ = ["chat_model"]

SAMPLED = {"temperature": 1.3, "top_p": 0.95}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def model(chat_model: Path) -> ChatModel:
    return load(chat_model, "cpu")


def local(path: Path, ledger: Ledger, **options: Any) -> LocalTeacher:
    return LocalTeacher(LocalOptions(path=path, device="cpu", **options), ledger)


def by_row(done: Iterable[Completion]) -> dict[str, Completion]:
    return {completion.row_id: completion for completion in done}


def written(model: ChatModel, prompts: list[Prompt], batch_size: int) -> list[Written]:
    done = dict(one for some in model.decoder(batch_size).write(prompts) for one in some)
    return [done[number] for number in range(len(prompts))]


def test_it_knows_its_facts_and_counts_exactly(
    chat_model: Path, model: ChatModel, ledger: Ledger
) -> None:
    teacher: Teacher = local(chat_model, ledger)
    done = by_row(teacher.map(map(plain, FACTS)))
    assert {row: one.text for row, one in done.items()} == FACTS
    for question, one in done.items():
        message = {"role": "user", "content": question}
        prompt = model.tokenizer.apply_chat_template([message], add_generation_prompt=True)
        answer = model.tokenizer(FACTS[question], add_special_tokens=False)["input_ids"]
        assert (one.status, one.fault, one.cached, one.cost) == ("ok", "", False, 0)
        assert one.prompt_tokens == len(prompt["input_ids"])
        assert one.completion_tokens == len(answer) + 1
    assert (teacher.name, teacher.kind) == ("tiny", "llm")
    stored = ledger.get_many(one.key for one in done.values())
    assert {one.served_by for one in stored.values()} == {fingerprint(chat_model)}
    assert {one.teacher for one in stored.values()} == {"tiny"}
    assert {one.finish_reason for one in stored.values()} == {"stop"}


@pytest.mark.parametrize("sampling", [{}, SAMPLED])
def test_neighbours_and_order_change_nothing(model: ChatModel, sampling: dict[str, float]) -> None:
    questions = [*FACTS, *(f"{question[:4]}呢？" for question in FACTS)] * 2
    prompts = [
        model.prompt([Message(role="user", content=question)], seed, 24, **sampling)
        for seed, question in enumerate(questions)
    ]
    alone = written(model, prompts, 1)
    assert alone == written(model, prompts, 5) == written(model, prompts[::-1], 7)[::-1]
    assert len({one.text for one in alone}) >= len(FACTS)


def test_padding_on_the_left_leaves_the_logits_alone(model: ChatModel) -> None:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    rows = [
        torch.tensor(model.prompt([Message(role="user", content=question)], 0).tokens)
        for question in ("茶", *FACTS, "玉山" * 20)
    ]
    masks = [torch.ones_like(row) for row in rows]
    with torch.inference_mode():
        alone = torch.stack([model.network(row[None]).logits[0, -1] for row in rows])
        ids, mask = (
            pad_sequence(some, batch_first=True, padding_side="left") for some in (rows, masks)
        )
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        together = model.network(ids, attention_mask=mask, position_ids=positions).logits[:, -1]
    assert torch.allclose(alone, together, atol=1e-4)


def test_mixed_sampling_and_lengths_are_answered_as_asked(chat_model: Path, ledger: Ledger) -> None:
    question = next(iter(FACTS))
    requests = [
        plain(question, row_id="greedy"),
        plain(question, row_id="zero", temperature=0.0),
        plain(question, row_id="cut", max_tokens=2),
        plain("茶？", row_id="a", temperature=50.0),
        plain("茶？", row_id="b", sample=1, temperature=50.0),
    ]
    done = by_row(local(chat_model, ledger).map(requests))
    assert done["greedy"].text == done["zero"].text == FACTS[question]
    assert (done["cut"].status, done["cut"].completion_tokens) == ("truncated", 2)
    assert done["a"].text != done["b"].text


def test_the_same_request_gives_the_same_sample(chat_model: Path, tmp_path: Path) -> None:
    texts = []
    for name, count in (("one", 1), ("two", 6)):
        with Ledger(tmp_path / name) as ledger:
            requests = [
                plain("茶？", row_id=str(n), sample=n, temperature=50.0) for n in range(count)
            ]
            texts.append(by_row(local(chat_model, ledger).map(requests))["0"].text)
    assert texts[0] == texts[1] != ""


def test_replies_are_found_where_the_model_is_moved_but_not_for_other_weights(
    chat_model: Path, ledger: Ledger, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    moved, changed = tmp_path / "moved", tmp_path / "changed"
    list(local(chat_model, ledger).map(map(plain, FACTS)))
    shutil.copytree(chat_model, moved)
    (moved / "README.md").write_text("other")
    teacher = local(moved, ledger, name="tiny")
    assert all(one.cached for one in teacher.map(map(plain, FACTS)))
    assert teacher._loaded is None

    shutil.copytree(chat_model, changed)
    weights = load_file(changed / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    assert not any(one.cached for one in local(changed, ledger).map(map(plain, FACTS)))


def test_a_model_that_changes_under_a_teacher_stops_it(
    chat_model: Path, ledger: Ledger, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(chat_model, copy)
    teacher = local(copy, ledger)
    (copy / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(TeacherError, match="has changed since"):
        list(teacher.map([plain("茶")]))


def test_what_the_model_cannot_be_given_is_rejected_and_the_rest_answered(
    chat_model: Path, ledger: Ledger
) -> None:
    question = next(iter(FACTS))
    twice = (Message(role="user", content="一"), Message(role="user", content="二"))
    requests = [
        plain(question),
        plain("玉" * 9000, row_id="long"),
        plain("茶", row_id="greedy", max_tokens=9000),
        plain("二", row_id="roles", messages=twice),
    ]
    done = by_row(local(chat_model, ledger).map(requests))
    assert done[question].text == FACTS[question]
    assert done["long"].status == done["greedy"].status == done["roles"].status == "rejected"
    assert done["long"].fault == done["greedy"].fault == "context_length_exceeded"
    assert "context has 8192 tokens" in done["long"].error
    assert done["roles"].fault == "chat_template"
    assert "alternate" in done["roles"].error


def test_a_reply_out_of_form_is_asked_for_once_more(chat_model: Path, ledger: Ledger) -> None:
    (one,) = local(chat_model, ledger).map(requests_for_queries(1))
    assert (one.status, one.attempts) == ("invalid", 2)
    (again,) = local(chat_model, ledger).map(requests_for_queries(1))
    assert (again.status, again.attempts, again.cached) == ("invalid", 0, True)


def test_a_batch_that_does_not_fit_is_halved(
    model: ChatModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    sizes: list[int] = []
    generate = model.network.generate

    def small(input_ids: Any, **more: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > room:
            raise torch.OutOfMemoryError
        return generate(input_ids=input_ids, **more)

    monkeypatch.setattr(model.network, "generate", small)
    prompts = [model.prompt([Message(role="user", content=q)], 0, 48) for q in FACTS]
    room = 2
    assert [one.text for one in written(model, prompts, 8)] == list(FACTS.values())
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]
    assert "going on with 1" in caplog.text
    room = 0
    with pytest.raises(UserError, match=r"out of memory: one prompt of \d+ tokens"):
        written(model, prompts, 2)


def test_the_end_of_turn_is_known_from_the_template_alone(
    chat_model: Path, model: ChatModel, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(chat_model, copy)
    (copy / "generation_config.json").unlink()
    assert load(copy, "cpu").ends == model.ends
    assert sorted(model.tokenizer.convert_ids_to_tokens(list(model.ends))) == [
        "<end_of_turn>",
        "<eos>",
    ]


def test_a_model_is_in_memory_once_and_no_longer_than_needed(
    chat_model: Path, ledger: Ledger, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(chat_model, copy)
    (copy / "generation_config.json").write_text("{}")
    first, second = local(copy, ledger), local(copy, ledger, name="other")
    shared = first._load()
    assert second._load() is shared
    gone = weakref.ref(shared)
    del first, second, shared
    assert gone() is None


def without(name: str) -> Any:
    return lambda path: (path / name).unlink()


def pickled(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def truncated(path: Path) -> None:
    os.truncate(path / "model.safetensors", 1000)


def incomplete(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, path / "model.safetensors", {"format": "pt"})


def with_code(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "own.py").write_text("raise SystemExit('code was run')")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (shutil.rmtree, "no such model directory"),
        (without("config.json"), "no config.json"),
        (pickled, "no weights as safetensors"),
        (truncated, "cannot be loaded"),
        (incomplete, r"1 weights are missing and would be random, the first model.norm.weight"),
        (with_code, "cannot be loaded"),
        (without("tokenizer.json"), "cannot be loaded"),
        (without("chat_template.jinja"), "no chat template"),
        (lambda path: (path / "chat_template.jinja").write_text("{% if"), "broken chat template"),
    ],
)
def test_what_is_no_safe_chat_model_is_refused_in_one_line(
    chat_model: Path, ledger: Ledger, tmp_path: Path, spoil: Any, why: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(chat_model, copy)
    spoil(copy)
    with pytest.raises(UserError, match=why) as caught:
        list(local(copy, ledger).map([plain("茶")]))
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings() -> None:
    import torch

    with pytest.raises(UserError, match="'device'"):
        LocalOptions.read({"path": "m", "device": "tpu"}, "teacher judge")
    with pytest.raises(UserError, match="'base_url'"):
        LocalOptions.read({"path": "m", "base_url": "http://x"}, "teacher judge")
    assert isinstance(LocalOptions(path=Path("m/n")), Options)
    assert LocalOptions(path=Path("m/n")).model.model == "n"
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no accelerator"):
            load(Path("m"), "cuda:0")


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from teachers.test_local import local, numbered
from kyara_kedro.teachers.ledger import Ledger
torch.set_num_threads(1)
done = local(Path(sys.argv[1]), Ledger(Path(sys.argv[2])), batch_size=4).map(numbered())
for number, _ in enumerate(done):
    if number == 9:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def numbered() -> list[ChatRequest]:
    return [plain(f"第{number}座山？", max_tokens=12, **SAMPLED) for number in range(24)]


@pytest.mark.faults
def test_a_killed_run_goes_on_where_it_was(chat_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(chat_model), str(path)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with Ledger(path) as ledger, Ledger(tmp_path / "whole.db") as other:
        again = by_row(local(chat_model, ledger).map(numbered()))
        whole = by_row(local(chat_model, other).map(numbered()))
    assert sum(one.cached for one in again.values()) == 12
    assert {row: one.text for row, one in again.items()} == {
        row: one.text for row, one in whole.items()
    }
