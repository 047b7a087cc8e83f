"""The base model of the embedded default: a tiny Gemma 2 made from the corpus itself."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kyara_kedro.training.chat import CONTROL_TOKENS, END_OF_TURN, START_OF_TURN, template
from kyara_kedro.training.loading import ATTENTION, quiet
from kyara_kedro.training.model_ref import ModelRef, fingerprint, written_whole
from kyara_kedro.training.options import EmbeddedModelOptions

_UNKNOWN = "<unk>"
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_ALPHABET = frozenset("\n▁，。、：；？！「」『』（）《》…" + "".join(map(chr, range(0x21, 0x7F))))
_POSITIONS = 8192


def build_embedded_base(
    texts: Iterable[str], settings: EmbeddedModelOptions, directory: Path
) -> ModelRef:
    """Train a tokenizer on the corpus and write a randomly initialised Gemma 2 beside it.

    Args:
        texts: What the tokenizer learns from; any other text is still written, byte by byte.
        settings: Shape of the model.
        directory: Where weights and tokenizer go; replaced as a whole.

    Returns:
        A reference whose path ``AutoModelForCausalLM`` and ``AutoTokenizer`` load.

    Raises:
        ValueError: when there is no text.
    """
    corpus = list(texts)
    if not any(text.strip() for text in corpus):
        raise ValueError(
            "embedded model: no text to learn a tokenizer from; give documents or conversations"
        )
    ref = ModelRef(
        path=str(directory),
        fingerprint=fingerprint(corpus, settings.model_dump(), "embedded", template()),
        stage="embedded",
        base="embedded",
    )
    with quiet(threads=1), written_whole(ref) as target:
        tokenizer = _tokenizer(corpus, settings)
        tokenizer.save_pretrained(target)
        _model(tokenizer, settings).save_pretrained(target)
    return ref


def _tokenizer(corpus: Sequence[str], settings: EmbeddedModelOptions) -> Any:
    """Byte-fallback BPE with Gemma's control tokens and its way with spaces.

    Line breaks and punctuation never join a token, so a question has the same tokens wherever it
    is quoted, and a prompt is a token prefix of the prompt with its answer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    def bpe(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
        model = models.BPE(
            vocab=vocabulary, merges=merges, unk_token=_UNKNOWN, fuse_unk=True, byte_fallback=True
        )
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\n"), "isolated"),
                pre_tokenizers.Punctuation("isolated"),
            ]
        )
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        return tokenizer

    fixed = [*CONTROL_TOKENS, *_BYTES]
    learned, merges = _learn(bpe({}, []), corpus, settings, room=settings.vocabulary - len(fixed))
    tokenizer = bpe({token: i for i, token in enumerate([*fixed, *learned])}, merges)
    tokenizer.add_special_tokens(list(CONTROL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")},
        additional_special_tokens=[START_OF_TURN, END_OF_TURN],
        chat_template=template(),
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _learn(
    tokenizer: Any, corpus: Sequence[str], settings: EmbeddedModelOptions, room: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """Learn up to ``room`` tokens and the merges between them."""
    from tokenizers import trainers

    counts = Counter(character for text in corpus for character in text.replace(" ", "▁"))
    common = sorted(counts.keys() - _ALPHABET, key=lambda letter: (-counts[letter], letter))
    alphabet = [*sorted(_ALPHABET), *common][:room]
    trainer = trainers.BpeTrainer(
        vocab_size=room,
        min_frequency=2,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        max_token_length=settings.max_token_length + 1,  # the trainer's bound is exclusive
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return learned, [tuple(merge) for merge in model["merges"]]


def _model(tokenizer: Any, settings: EmbeddedModelOptions) -> Any:
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM, GenerationConfig

    head_dim = settings.hidden // settings.heads
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        head_dim=head_dim,
        query_pre_attn_scalar=head_dim,
        sliding_window=settings.window,
        max_position_embeddings=_POSITIONS,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        initializer_range=settings.hidden**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        attn_implementation=ATTENTION,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = Gemma2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TURN)],
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model
