import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.training.chat import END_OF_TURN, template
from kyara_kedro.training.export import export_model, exported_config, exported_template
from kyara_kedro.training.model_ref import ModelRef, ModelRefError, pretrained

OTHER_PYTHON = os.environ.get("KYARA_TRANSFORMERS_4_PYTHON")
CONVERSATIONS = [
    [Message(role="user", content="玉山主峰的海拔是多少公尺？")],
    [
        Message(role="system", content="用繁體中文回答。"),
        Message(role="user", content="濁水溪有多長？😀𠮷"),
        Message(role="assistant", content="186公里。"),
        Message(role="user", content="What about  the other one?\n"),
    ],
]
READ_AND_ANSWER = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, conversations = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype="auto")
answers = []
for messages in conversations:
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    answers.append(model.generate(**prompt, max_new_tokens=12, do_sample=False)[0].tolist())
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def exported(embedded: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("export") / "model"
    export_model(embedded, folder, {"README.md": "# card", "images/loss.svg": "<svg/>"})
    return folder


def read(folder: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / name).read_text("utf-8"))
    return values


def answer(folder: Path, python: str) -> list[list[int]]:
    done = subprocess.run(
        [python, "-c", READ_AND_ANSWER, str(folder), json.dumps(CONVERSATIONS)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    answers: list[list[int]] = json.loads(done.stdout)
    return answers


def altered(embedded: ModelRef, folder: Path, **tensors: torch.Tensor) -> ModelRef:
    """A copy of the model with more or other tensors."""
    folder.mkdir()
    for path in Path(embedded.path).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors") | tensors
    save_file(weights, folder / "model.safetensors")
    return pretrained(str(folder))


def test_weights_are_those_of_the_model_in_bfloat16(embedded: ModelRef, exported: Path) -> None:
    ours = load_file(exported / "model.safetensors")
    theirs = load_file(Path(embedded.path) / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name].to(torch.bfloat16)) for name in ours)


def test_an_exported_model_says_what_the_model_says(embedded: ModelRef, exported: Path) -> None:
    said = []
    for folder in (Path(embedded.path), exported):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16,
            attn_implementation="eager",
            output_loading_info=True,
        )
        assert not any(report.values())
        assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
        for messages in CONVERSATIONS:
            prompt = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
            said.append(model.generate(**prompt, max_new_tokens=12, do_sample=False)[0].tolist())
    assert said[: len(CONVERSATIONS)] == said[len(CONVERSATIONS) :]


def test_its_files_are_those_that_transformers_4_reads(exported: Path) -> None:
    tokenizer = read(exported, "tokenizer_config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["additional_special_tokens"] == ["<start_of_turn>", END_OF_TURN]
    assert tokenizer["padding_side"] == "left"
    assert "token_type_ids" not in tokenizer["model_input_names"]
    assert not {"extra_special_tokens", "is_local", "local_files_only", "backend"} & set(tokenizer)
    config = read(exported, "config.json")
    assert config["rope_theta"] == 10000.0
    assert (config["dtype"], config["use_cache"]) == ("bfloat16", True)
    ends = read(exported, "generation_config.json")["eos_token_id"]
    assert AutoTokenizer.from_pretrained(exported).convert_ids_to_tokens(ends) == [
        "<eos>",
        END_OF_TURN,
    ]
    assert config["eos_token_id"] == ends
    assert "generation -%}" not in (exported / "chat_template.jinja").read_text("utf-8")


def test_everybody_may_read_it_and_nothing_of_the_machine_is_in_it(
    embedded: ModelRef, exported: Path
) -> None:
    files = [path for path in exported.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in files)
    assert (exported / "images" / "loss.svg").read_text("utf-8") == "<svg/>"
    assert not any(str(Path(embedded.path).parent).encode() in path.read_bytes() for path in files)


def test_the_base_models_sentencepiece_goes_along(embedded: ModelRef, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tokenizer.model").write_bytes(b"pieces")
    export_model(replace(embedded, base=str(tmp_path / "base")), tmp_path / "export")
    assert (tmp_path / "export" / "tokenizer.model").read_bytes() == b"pieces"
    export_model(replace(embedded, base="nobody/nothing"), tmp_path / "export")
    assert not (tmp_path / "export" / "tokenizer.model").exists()


@pytest.mark.skipif(
    OTHER_PYTHON is None,
    reason="KYARA_TRANSFORMERS_4_PYTHON names no Python with transformers 4.57 and torch",
)
def test_transformers_4_reads_the_same_tokens_and_gives_the_same_answers(exported: Path) -> None:
    import sys

    assert answer(exported, str(OTHER_PYTHON)) == answer(exported, sys.executable)


def test_a_large_model_is_several_files_with_an_index(embedded: ModelRef, tmp_path: Path) -> None:
    export_model(embedded, tmp_path / "model", shard_bytes=30_000)
    index = read(tmp_path / "model", "model.safetensors.index.json")
    shards = sorted(path.name for path in (tmp_path / "model").glob("*.safetensors"))
    assert len(shards) > 2
    assert sorted(set(index["weight_map"].values())) == shards
    found = {}
    for shard in shards:
        found |= load_file(tmp_path / "model" / shard)
    whole = load_file(Path(embedded.path) / "model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        name: tuple(tensor.shape) for name, tensor in whole.items()
    }
    assert index["metadata"]["total_size"] == sum(2 * tensor.numel() for tensor in whole.values())


def test_a_tied_head_is_stored_once(embedded: ModelRef, tmp_path: Path) -> None:
    head = load_file(Path(embedded.path) / "model.safetensors")["model.embed_tokens.weight"]
    untidy = altered(embedded, tmp_path / "model", **{"lm_head.weight": head.clone()})
    export_model(untidy, tmp_path / "export")
    assert "lm_head.weight" not in load_file(tmp_path / "export" / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("model.norm.weight", torch.full((32,), torch.nan), "model.norm.weight is not finite"),
        ("model.q.lora_A.weight", torch.ones(2), "lora_A.weight is F32, not a weight of a whole"),
        ("model.norm.weight", torch.ones(32, dtype=torch.int8), "is I8, not a weight of a whole"),
    ],
)
def test_a_broken_weight_is_refused_and_the_old_export_stays(
    embedded: ModelRef, tmp_path: Path, name: str, tensor: torch.Tensor, message: str
) -> None:
    broken = altered(embedded, tmp_path / "model", **{name: tensor})
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "old").touch()
    with pytest.raises(UserError, match=message):
        export_model(broken, tmp_path / "export")
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "model"]


def test_what_is_no_model_is_refused(embedded: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        export_model(pretrained(str(tmp_path)), tmp_path / "export")
    with pytest.raises(ModelRefError, match="fingerprint"):
        export_model(replace(embedded, fingerprint="0" * 32), tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_a_scaled_rotation_is_told_in_both_versions_words() -> None:
    rope = {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}
    config = exported_config({"rope_parameters": rope, "quantization_config": {}})
    assert config["rope_theta"] == 5e5
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    assert config["rope_parameters"] == rope
    assert "quantization_config" not in config


TEXT = st.text(min_size=1).filter(lambda text: text.strip() != "")


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.none(), TEXT), st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
def test_the_exported_template_renders_what_training_reads(
    system: str | None, rounds: list[tuple[str, str]]
) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [] if system is None else [Message(role="system", content=system)]
    for question, reply in rounds:
        messages += [
            Message(role="user", content=question),
            Message(role="assistant", content=reply),
        ]
    for said, prompt in ((messages, False), (messages[:-1], True)):
        whole, stripped = (
            render_jinja_template(
                [said],
                chat_template=text,
                add_generation_prompt=prompt,
                bos_token="<bos>",  # noqa: S106 - no password
            )[0]
            for text in (template(), exported_template())
        )
        assert stripped == whole
