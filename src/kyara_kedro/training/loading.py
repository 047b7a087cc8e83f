"""How models and tokenizers are loaded, and the libraries kept quiet while they work."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from kyara_kedro.training.chat import template
from kyara_kedro.training.model_ref import ModelRef

ATTENTION = "eager"  # Gemma 2 caps its attention logits, which "sdpa" cannot do.


def load_tokenizer(ref: ModelRef) -> Any:
    """Load a model's tokenizer, padding on the left and speaking our chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ref.path, padding_side="left")
    tokenizer.chat_template = template()
    return tokenizer


@contextmanager
def quiet(threads: int) -> Iterator[None]:
    """Silence progress bars, warnings and logs below errors, and set torch's CPU threads.

    Everything is put back afterwards.
    """
    import datasets
    import torch
    import transformers

    with ExitStack() as undo:
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")

        undo.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)

        for name in ("trl", "accelerate", "datasets"):
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        reports = transformers.utils.logging
        undo.callback(reports.set_verbosity, reports.get_verbosity())
        reports.set_verbosity_error()

        if reports.is_progress_bar_enabled():
            undo.callback(reports.enable_progress_bar)
            reports.disable_progress_bar()
        if not datasets.are_progress_bars_disabled():
            undo.callback(datasets.enable_progress_bars)
            datasets.disable_progress_bars()
        if "TQDM_DISABLE" not in os.environ:  # TRL's bar over the reference's probabilities
            undo.callback(os.environ.pop, "TQDM_DISABLE", None)
            os.environ["TQDM_DISABLE"] = "1"
        yield
