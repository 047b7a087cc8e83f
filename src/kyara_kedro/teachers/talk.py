"""A conversation with a chat model: in a terminal, or line by line through a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated

from pydantic import Field, PositiveInt

from kyara_kedro.content import Message, content_id
from kyara_kedro.options import Options
from kyara_kedro.teachers.local import ChatModel, RefusedError

HELP = """\
/reset         重新開始，忘掉先前的對話     start over and forget what was said
/system 文字   換一個系統提示並重新開始     start over with another system prompt
/system        不用系統提示                 start over without one
/help          這份說明                     this help
/quit          離開（或 Ctrl-D）            leave (or Ctrl-D)
Ctrl-C         停止回答                     stop an answer"""

_STOPPED = " …（停止 stopped）"
_FORGOTTEN = "（太長，忘掉最早的 {0} 輪 too long: the first {0} rounds are forgotten）"


class TalkOptions(Options):
    """How a model answers.

    Attributes:
        system: The system prompt, if there is one.
        temperature: 0 takes the most probable token, 1 samples from the model's distribution.
        top_p: Samples only from the most probable tokens that together have this probability.
        max_tokens: Longest answer in tokens.
    """

    system: str | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = 512


class Talk:
    """What was said between a user and a model, as far as the model's context reaches.

    Args:
        model: The model.
        options: How it answers.

    Attributes:
        turns: What was said, without the system prompt.

    Raises:
        RefusedError: the system prompt holds a control token.
    """

    def __init__(self, model: ChatModel, options: TalkOptions) -> None:
        self._model = model
        self._options = options
        self._decoder = model.decoder(batch_size=1)
        self._answers = 0
        self.restart(options.system)

    def restart(self, system: str | None) -> None:
        """Forget what was said, and begin with a system prompt or without one.

        Raises:
            RefusedError: it holds a control token; all stays as it was.
        """
        self._refuse_control_tokens(system or "")
        self._system = [Message(role="system", content=system)] if system else []
        self.turns: list[Message] = []

    def reset(self) -> None:
        """Forget what was said; the system prompt stays."""
        self.turns = []

    def answer(self, question: str, say: Callable[[str], None]) -> int:
        """Answer in pieces; an answer that is interrupted stands as far as it was said.

        Args:
            question: What the user says.
            say: Given each piece of the answer.

        Returns:
            How many of the earliest rounds were forgotten, for the context to be long enough.

        Raises:
            RefusedError: the question holds a control token or is too long; it was not said then.
        """
        self._refuse_control_tokens(question)
        asked = Message(role="user", content=question)
        kept = list(self.turns)
        while True:
            try:
                prompt = self._model.prompt(
                    [*self._system, *kept, asked],
                    int(content_id(kept, asked, self._answers)[:16], 16) >> 1,
                    self._options.max_tokens,
                    self._options.temperature,
                    self._options.top_p,
                )
                break
            except RefusedError as error:
                if error.code != "context_length_exceeded" or not kept:
                    raise
                del kept[:2]
        forgotten = (len(self.turns) - len(kept)) // 2
        said: list[str] = []

        def spoken(piece: str) -> None:
            said.append(piece)
            say(piece)

        try:
            self._decoder.tell(prompt, spoken)
        finally:
            self._answers += 1
            if said:
                kept += [asked, Message(role="assistant", content="".join(said))]
            self.turns = kept
        return forgotten

    def obey(self, command: str) -> str | None:
        """Do what a line that begins with a slash says.

        Returns:
            What to tell the user; None when they want to leave.

        Raises:
            RefusedError: the new system prompt holds a control token.
        """
        name, _, rest = command.partition(" ")
        if name == "/quit":
            return None
        if name == "/reset":
            self.reset()
        elif name == "/system":
            self.restart(rest.strip() or None)
        else:
            return HELP
        return "（重新開始 started over）"

    def _refuse_control_tokens(self, text: str) -> None:
        for token in self._model.tokenizer.all_special_tokens:
            if token in text:
                raise RefusedError(
                    "control_token",
                    f"文字含有控制符號 the text holds the control token {token}; "
                    "請改寫 write it otherwise",
                )


def talk_in_terminal(talk: Talk, write: Callable[[str], None]) -> None:
    """Talk until the user leaves; Ctrl-C stops an answer.

    Args:
        talk: The conversation.
        write: Puts a text on the terminal at once.
    """
    with suppress(ImportError):
        import readline  # noqa: F401 - lines can be edited then

    write(f"{HELP}\n")
    while True:
        try:
            line = input("\n你 you > ").strip()
        except EOFError:
            write("\n")
            return
        except KeyboardInterrupt:
            write("\n（離開請按 Ctrl-D  to leave, press Ctrl-D）\n")
            continue
        if not line:
            continue
        try:
            if line.startswith("/"):
                told = talk.obey(line)
                if told is None:
                    return
                write(f"{told}\n")
            elif forgotten := talk.answer(line, write):
                write("\n" + _FORGOTTEN.format(forgotten))
        except KeyboardInterrupt:
            write(_STOPPED)
        except RefusedError as error:
            write(f"{error}\n")
        else:
            write("\n")


def talk_by_lines(
    talk: Talk, lines: Iterable[str], write: Callable[[str], None], warn: Callable[[str], None]
) -> None:
    """Answer each line with one line; an answer's own line breaks become spaces.

    Args:
        talk: The conversation.
        lines: What the user says; commands work, and blank lines are passed over.
        write: Takes the answers; an empty line for what cannot be answered.
        warn: Takes the reason for that.
    """
    for line in filter(None, map(str.strip, lines)):
        pieces: list[str] = []
        try:
            if not line.startswith("/"):
                talk.answer(line, pieces.append)
            elif talk.obey(line) is None:
                return
            else:
                continue
        except RefusedError as error:
            warn(f"{error}\n")
        write(" ".join("".join(pieces).split("\n")) + "\n")
