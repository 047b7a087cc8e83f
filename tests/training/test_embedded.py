import subprocess
import sys
from pathlib import Path

import pytest

from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import EmbeddedModelOptions

SMALL = EmbeddedModelOptions(hidden=32, heads=2, kv_heads=1, intermediate=64)


def test_loads_from_its_path_alone(embedded: ModelRef) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded.path)
    model = AutoModelForCausalLM.from_pretrained(embedded.path)
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert model.config.model_type == "gemma2"
    assert model.config.layer_types == ["sliding_attention", "full_attention"]
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id, end]
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert tokenizer.convert_ids_to_tokens(range(6)) == [
        "<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>",
    ]  # fmt: skip
    assert tokenizer.padding_side == "left"
    assert "{%- generation -%}" in tokenizer.chat_template


@pytest.mark.parametrize("text", ["玉山 龘😀  \n\n x", "Ünï\tcode 1234", "<0x0A> 是字面"])
def test_any_text_survives_the_tokenizer(embedded: ModelRef, text: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded.path)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("longest", [2, 3, 4])
def test_no_token_is_longer_than_asked_for(tmp_path: Path, longest: int) -> None:
    from transformers import AutoTokenizer

    ref = build_embedded_base(
        ["玉山主峰的海拔是多少公尺"] * 9,
        SMALL.model_copy(update={"max_token_length": longest}),
        tmp_path / "model",
    )
    tokenizer = AutoTokenizer.from_pretrained(ref.path)
    tokens = [t for t in tokenizer.get_vocab() if not t.startswith("<")]
    assert max(map(len, tokens)) == longest


def test_a_question_has_the_same_tokens_wherever_it_is_quoted(embedded: ModelRef) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded.path)
    question = "玉山主峰的海拔是多少公尺"
    alone = tokenizer(question, add_special_tokens=False)["input_ids"]
    quoted = tokenizer(f"有人問：「{question}」", add_special_tokens=False)["input_ids"]
    assert quoted[-1 - len(alone) : -1] == alone


def test_same_input_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """More characters than the vocabulary holds, so that many tie for the last places."""
    script = (
        "import sys, pathlib\n"
        "from kyara_kedro.training.embedded import build_embedded_base\n"
        "from kyara_kedro.training.options import EmbeddedModelOptions\n"
        "options = EmbeddedModelOptions(hidden=32, heads=2, kv_heads=1, intermediate=64)\n"
        "texts = [chr(0x4E00 + i) + chr(0x4E01 + i % 7) for i in range(3000)]\n"
        "build_embedded_base(texts, options, pathlib.Path(sys.argv[1]))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "there")], check=True)
    texts = [chr(0x4E00 + i) + chr(0x4E01 + i % 7) for i in range(3000)]
    build_embedded_base(texts, SMALL, tmp_path / "here")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no text"):
        build_embedded_base([" "], SMALL, tmp_path / "model")
    assert not (tmp_path / "model").exists()
