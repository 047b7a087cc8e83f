"""A chat model that lies in a directory, as a teacher in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from pydantic import PositiveInt

from kyara_kedro.checkpoints import (
    Device,
    choose_device,
    fingerprint,
    load_network,
    load_tokenizer,
)
from kyara_kedro.content import Message
from kyara_kedro.decoding import Decoder, HaltedError, Prompt, Sampling, Written
from kyara_kedro.options import Options
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.teachers.base import TeacherError
from kyara_kedro.teachers.calls import Call, ModelOptions
from kyara_kedro.teachers.feed import CalledOff
from kyara_kedro.teachers.ledger import Ledger, StoredReply, now
from kyara_kedro.teachers.replies import Failure, Got
from kyara_kedro.teachers.waves import WaveTeacher

_USUAL = 1024
"""Longest reply in tokens when nobody says."""


class LocalOptions(Options):
    """A model directory, and how it is asked.

    Attributes:
        path: The directory; weights as safetensors, and a tokenizer with its chat template.
        name: Name on the records; the directory's when None.
        role: What it does in this project, for reports: writer, judge, contestant, ...
        licence_note: What may be done with the output.
        device: ``cpu`` (float32), ``cuda`` or ``cuda:N`` (bfloat16); ``auto`` takes an accelerator
            when there is one.
        batch_size: Requests answered at once; halved by itself when the accelerator's memory is
            not enough.
    """

    path: Path
    name: str | None = None
    role: str = "teacher"
    licence_note: str = "see the licence of the model"
    device: Device = "auto"
    batch_size: PositiveInt = 16

    @property
    def model(self) -> ModelOptions:
        """The same as all language models have it; no address is ever contacted."""
        return ModelOptions(
            model=self.name or self.path.resolve().name,
            role=self.role,
            licence_note=self.licence_note,
            dialect="transformers",
        )


class RefusedError(ValueError):
    """The model cannot be given a prompt.

    Attributes:
        code: ``context_length_exceeded`` or ``chat_template``.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(eq=False)
class ChatModel:
    """A chat model in memory.

    Attributes:
        fingerprint: Of the directory that it was loaded from.
        network: The causal language model.
        tokenizer: With the chat template that was saved with it.
        ends: Token ids that end a turn.
        begin: Token id that the chat template begins with, if it is the one that begins sequences.
        context: Longest prompt and reply together in tokens; None when its configuration does not
            say.
    """

    fingerprint: str
    network: Any
    tokenizer: Any
    ends: frozenset[int]
    begin: int | None
    context: int | None

    def prompt(
        self,
        messages: Sequence[Message],
        seed: int,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> Prompt:
        """Render and encode a conversation.

        Args:
            messages: Roles and order as the model's template allows them.
            seed: Of this reply's samples.
            max_tokens: Longest reply; when None 1,024, or what the context leaves.
            temperature: None is 0: the most probable tokens.
            top_p: None is 1: all of them.

        Raises:
            RefusedError: the template does not take the messages, or the reply may not fit into
                the context.
        """
        from jinja2 import TemplateError

        try:
            tokens = _encode(self.tokenizer, messages)
        except TemplateError as error:
            raise RefusedError("chat_template", f"the model's chat template: {error}") from None
        return self._fitting(tokens, seed, max_tokens, temperature, top_p)

    def continuation(
        self,
        raw: str,
        seed: int,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> Prompt:
        """Encode a text that is continued as it is, special tokens written out among it.

        The token that begins a sequence is put in front where the model's chat template begins
        with it and the text does not.

        Args:
            raw: The text.
            seed: Of this reply's samples.
            max_tokens: As for :meth:`prompt`, like the others.
            temperature: None is 0.
            top_p: None is 1.

        Raises:
            RefusedError: the text is empty, or the reply may not fit into the context.
        """
        tokens: list[int] = self.tokenizer(raw, add_special_tokens=False)["input_ids"]
        if self.begin is not None and tokens[:1] != [self.begin]:
            tokens = [self.begin, *tokens]
        if not tokens:
            raise RefusedError("empty_prompt", "there is no text to continue")
        return self._fitting(tokens, seed, max_tokens, temperature, top_p)

    def _fitting(
        self,
        tokens: list[int],
        seed: int,
        max_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
    ) -> Prompt:
        if self.context is not None:
            room = self.context - len(tokens)
            max_tokens = min(_USUAL, max(room, 1)) if max_tokens is None else max_tokens
            if max_tokens > room:
                raise RefusedError(
                    "context_length_exceeded",
                    f"the model's context has {self.context} tokens, but the prompt has "
                    f"{len(tokens)} and the reply may have {max_tokens}",
                )
        return Prompt(tokens, seed, Sampling(max_tokens or _USUAL, temperature or 0.0, top_p or 1))

    def decoder(self, batch_size: int, stop: Sequence[str] = ()) -> Decoder:
        """What writes with this model.

        Args:
            batch_size: Rows written at once.
            stop: Texts that end a reply; those that are special tokens end it at once, and the
                others are for :func:`cut`.
        """
        special = set(self.tokenizer.all_special_ids)
        found = (self.tokenizer(one, add_special_tokens=False)["input_ids"] for one in stop)
        ends = {tokens[0] for tokens in found if len(tokens) == 1 and tokens[0] in special}
        return Decoder(self.network, self.tokenizer, self.ends | ends, batch_size)

    def tokens_of(self, written: Written) -> int:
        """Tokens that were generated: those of the text and, as vLLM counts, its end."""
        return written.tokens + written.stopped


def cut(written: Written, stop: Sequence[str]) -> Written:
    """End a text in front of the first of some texts, if one is in it; its tokens stay counted."""
    places = [place for one in stop if one and (place := written.text.find(one)) >= 0]
    if not places:
        return written
    return written._replace(text=written.text[: min(places)].rstrip(), stopped=True)


class LocalTeacher(WaveTeacher):
    """A model directory as a teacher: its replies go through the ledger like all others.

    Requests are answered in left-padded batches, the longest first. Keys hold a fingerprint of
    the directory's content instead of its path: replies are found again wherever the model is
    moved, and never for other weights. A request's key is also the seed of its samples.
    Log-probabilities are not told.

    The model is loaded when the first reply is missing from the ledger, and shared by all teachers
    with the same content and device.

    Args:
        options: The directory and how it is asked.
        ledger: Where replies are kept and looked up.
        library: Templates; only the one that asks again is used here.

    Raises:
        TeacherError: no model that can be loaded safely lies in the directory.
    """

    def __init__(
        self, options: LocalOptions, ledger: Ledger, library: PromptLibrary | None = None
    ) -> None:
        self._fingerprint = fingerprint(options.path)
        super().__init__(options.model, ledger, library, self._fingerprint)
        self._options = options
        self._decoders: dict[tuple[str, ...], Decoder] = {}
        self._loaded: ChatModel | None = None

    def _fetch(
        self, calls: Sequence[Call], off: threading.Event
    ) -> Iterator[tuple[str, Got | Failure]]:
        model = self._load()
        asked: dict[tuple[str, ...], list[tuple[Call, Prompt]]] = {}
        for call in calls:
            request, seed = call.request, int(call.key[:16], 16) >> 1
            sampling = seed, request.max_tokens, request.temperature, request.top_p
            try:
                prompt = (
                    model.continuation(request.raw, *sampling)
                    if request.raw
                    else model.prompt(call.messages, *sampling)
                )
            except RefusedError as error:
                yield call.key, Failure("rejected", error.code, str(error))
            else:
                asked.setdefault(request.stop, []).append((call, prompt))
        for stop, some in asked.items():
            begun = time.perf_counter()
            decoder = self._decoder(model, stop)
            try:
                for batch in decoder.write([prompt for _, prompt in some], off.is_set):
                    latency = time.perf_counter() - begun
                    replies = self.ledger.put(
                        [
                            self._reply(model, *some[number], cut(text, stop), latency)
                            for number, text in batch
                        ]
                    )
                    for reply in replies:
                        yield reply.request_id, Got(reply)
                    begun = time.perf_counter()
            except HaltedError:
                raise CalledOff from None

    def _decoder(self, model: ChatModel, stop: tuple[str, ...]) -> Decoder:
        """What writes until one of these texts; one for each, since it learns what fits."""
        if stop not in self._decoders:
            self._decoders[stop] = model.decoder(self._options.batch_size, stop)
        return self._decoders[stop]

    def _reply(
        self, model: ChatModel, call: Call, prompt: Prompt, written: Written, latency: float
    ) -> StoredReply:
        return StoredReply(
            request_id=call.key,
            teacher=self.name,
            task=call.request.task,
            prompt_version=call.request.prompt_version,
            text=written.text,
            finish_reason="stop" if written.stopped else "length",
            served_by=model.fingerprint,
            prompt_tokens=len(prompt.tokens),
            cached_tokens=0,
            completion_tokens=model.tokens_of(written),
            cost=0.0,
            latency=latency,
            received_at=now(),
        )

    def _load(self) -> ChatModel:
        if self._loaded is None:
            model = load(self._options.path, self._options.device)
            if model.fingerprint != self._fingerprint:
                raise TeacherError(
                    f"{self._options.path}: the model has changed since this teacher was made; "
                    "run again"
                )
            self._loaded = model
        return self._loaded


_LOADED: WeakValueDictionary[tuple[str, str], ChatModel] = WeakValueDictionary()
_LOADING = threading.Lock()


def load(directory: Path, device: str = "auto") -> ChatModel:
    """Load a model, or give the one in memory with the same content on the same device.

    It stays in memory as long as somebody holds it.

    Raises:
        TeacherError: the directory holds no chat model that can be loaded without running code
            from it.
    """
    device = choose_device(device)
    with _LOADING:
        content = fingerprint(directory)
        model = _LOADED.get((content, device))
        if model is None:
            model = _read(directory, device, content)
            _LOADED[content, device] = model
    return model


def _read(directory: Path, device: str, content: str) -> ChatModel:
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(directory)
    network = load_network(AutoModelForCausalLM, directory, device, "causal language model")
    ends = _ends(directory, network, tokenizer)
    return ChatModel(
        fingerprint=content,
        network=network,
        tokenizer=tokenizer,
        ends=ends,
        begin=_begin(tokenizer),
        context=getattr(network.config.get_text_config(), "max_position_embeddings", None),
    )


def _encode(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def _begin(tokenizer: Any) -> int | None:
    """The token that begins a sequence, where the chat template puts it in front."""
    first = _encode(tokenizer, [Message(role="user", content="?")])[:1]
    return first[0] if first and first[0] == tokenizer.bos_token_id else None


def _ends(directory: Path, network: Any, tokenizer: Any) -> frozenset[int]:
    """What the model's settings name as ends, and what the template puts behind an answer."""
    from jinja2 import TemplateError

    question, answer = Message(role="user", content="?"), Message(role="assistant", content="!")
    try:
        prompt, whole = (
            tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=not answered)
            for said, answered in (([question], False), ([question, answer], True))
        )
    except TemplateError as error:
        raise TeacherError(f"{directory}: broken chat template: {error}") from error
    named = network.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, Collection) else [named])}
    behind = whole.removeprefix(prompt + answer["content"])
    if behind != whole:
        tokens = tokenizer(behind, add_special_tokens=False)["input_ids"]
        ends.update(set(tokens[:1]).intersection(tokenizer.all_special_ids))
    if not ends - {None}:
        raise TeacherError(f"{directory}: neither settings nor template name an end of turn")
    return frozenset(ends - {None})
