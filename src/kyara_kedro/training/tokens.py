"""Tokens to learn from, on disk: what training reads instead of texts.

A store is a directory of three files. ``tokens.i32`` holds the token ids of all rows, each an int32
(the complement ``~id`` where a conversation's token is read but not learned). ``rows.parquet`` says
in the order of the rows what each is and where its tokens are. ``store.json`` says what the whole
is, and comes last.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from kyara_kedro.errors import UserError
from kyara_kedro.files import folder_written_whole
from kyara_kedro.training.chat import IGNORED, Encoded, EncodedPair, Ids, pair_length

_TOKENS = "tokens.i32"
_ROWS = "rows.parquet"
STORE_FILE = "store.json"
"""What a store says of itself."""
_AGAIN = "run the node again that selects the rows of this stage"

Kind = Literal["conversations", "pairs"]


class TokensError(UserError):
    """A store of tokens is not what its reference says, or cannot be written."""


@dataclass(frozen=True)
class TokensRef:
    """A store of tokens in a directory.

    Attributes:
        path: The directory.
        digest: Hash of the rows' ids, sources, tokens and labels, 32 hexadecimal digits.
        kind: What a row is.
        rows: Rows to learn from; held-out ones are not counted.
        held_out: Rows that are only validated on.
        tokens: Tokens of the rows to learn from.
    """

    path: str
    digest: str
    kind: Kind
    rows: int
    held_out: int
    tokens: int

    def to_dict(self) -> dict[str, str | int]:
        """The reference as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote.

        Raises:
            TokensError: a field is missing or unknown.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise TokensError(f"reference to tokens: {error}") from error


class PairTokens(NamedTuple):
    """A preference pair's token ids, and the answers' win probabilities where they are known."""

    prompt_ids: Ids
    chosen_ids: Ids
    rejected_ids: Ids
    p_chosen: float | None
    p_rejected: float | None


class _Store:
    """An open store, read-only; its tokens stay on the disk until they are asked for.

    Attributes:
        ref: What it is.
        ids: The rows' ids, in their order.
        sources: Where the rows come from.
        held_out: Whether a row is only validated on.
        lengths: Tokens that a row takes in a sequence: of a pair, its prompt and longer answer.
    """

    def __init__(self, ref: TokensRef) -> None:
        self.ref = ref
        self._rows = pl.read_parquet(Path(ref.path, _ROWS))
        self._starts = self._rows["start"].to_numpy()
        self._tokens = np.asarray(np.memmap(Path(ref.path, _TOKENS), np.int32, "r"))
        self.ids = self._rows["id"]
        self.sources = self._rows["source"]
        self.held_out = self._rows["held_out"].to_numpy()
        self.lengths = self._rows["length"].to_numpy()

    def __len__(self) -> int:
        return len(self._starts)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_tokens, (self.ref,)


class Conversations(_Store):
    """An open store of conversations.

    Attributes:
        learned: Tokens of a row that are learned.
    """

    def __init__(self, ref: TokensRef) -> None:
        super().__init__(ref)
        self.learned = self._rows["learned"].to_numpy()

    def row(self, number: int) -> Encoded:
        """Read a conversation."""
        start = self._starts[number]
        stored = self._tokens[start : start + self.lengths[number]]
        learned = stored >= 0
        return Encoded(
            np.where(learned, stored, ~stored), np.where(learned, stored, np.int32(IGNORED))
        )


class Pairs(_Store):
    """An open store of preference pairs.

    Attributes:
        p_chosen: Probability that the chosen answer wins, NaN where it is not known.
        p_rejected: Likewise of the rejected answer.
    """

    def __init__(self, ref: TokensRef) -> None:
        super().__init__(ref)
        parts = self._rows.select("prompt", "chosen", "rejected").to_numpy()
        self._ends = self._starts[:, None] + np.cumsum(parts, axis=1)
        self.p_chosen = self._rows["p_chosen"].to_numpy()
        self.p_rejected = self._rows["p_rejected"].to_numpy()

    def row(self, number: int) -> PairTokens:
        """Read a pair."""
        prompt, chosen, rejected = self._ends[number]
        return PairTokens(
            self._tokens[self._starts[number] : prompt],
            self._tokens[prompt:chosen],
            self._tokens[chosen:rejected],
            _known(self.p_chosen[number]),
            _known(self.p_rejected[number]),
        )


def _known(probability: float) -> float | None:
    return None if np.isnan(probability) else float(probability)


def open_tokens(ref: TokensRef) -> Conversations | Pairs:
    """Open a store.

    Raises:
        TokensError: it is gone, damaged, or holds other tokens than the reference says.
    """
    folder = Path(ref.path)
    try:
        written = json.loads((folder / STORE_FILE).read_text("utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in written["bytes"]}
    except (OSError, ValueError, LookupError) as error:
        raise TokensError(f"{folder}: no tokens here ({error}); {_AGAIN}") from error
    if sizes != written["bytes"]:
        raise TokensError(f"{folder}: files are {sizes} bytes, not {written['bytes']}; {_AGAIN}")
    found = TokensRef.from_dict(written["ref"])
    if replace(found, path=ref.path) != ref:
        raise TokensError(f"{folder}: tokens are {found}, but {ref} is asked for; {_AGAIN}")
    return Conversations(ref) if ref.kind == "conversations" else Pairs(ref)


class _Writer:
    """Takes rows as they come; at the end, those that are kept get their order."""

    kind: ClassVar[Kind]
    shape: ClassVar[tuple[str, ...]]
    """What is counted of a row; ``length`` is what it takes in a sequence."""

    def __init__(self, target: Path, folder: Path) -> None:
        self._target = target
        self._folder = folder
        self._file = (folder / _TOKENS).open("wb")
        self._starts = array("q", [0])
        self._shapes = array("q")
        self._digests = bytearray()

    def _add(self, tokens: Ids, shape: Sequence[int]) -> int:
        content = tokens.tobytes()
        self._file.write(content)
        self._starts.append(self._starts[-1] + len(tokens))
        self._shapes.extend(shape)
        self._digests += xxhash.xxh3_128_digest(content)
        return len(self._starts) - 2

    def finish(self, rows: pl.DataFrame) -> TokensRef:
        """Say which rows are kept, what they are and in which order.

        Args:
            rows: Columns number (as ``add`` gave it), id, source, held_out and, of pairs, p_chosen
                and p_rejected (null where they are not known).

        Returns:
            The reference to the store, which is in its place when the writer is closed.
        """
        self._file.close()
        numbers = rows["number"].to_numpy()
        shapes = np.frombuffer(self._shapes, np.int64).reshape(-1, len(self.shape))[numbers]
        rows = rows.drop("number").with_columns(
            pl.Series(name, shapes[:, column]) for column, name in enumerate(self.shape)
        )
        kept = rows.filter(~pl.col("held_out"))
        ref = TokensRef(
            path=str(self._target),
            digest=self._digest(numbers, rows),
            kind=self.kind,
            rows=kept.height,
            held_out=rows.height - kept.height,
            tokens=int(kept["length"].to_numpy().sum()),
        )
        starts = pl.Series("start", np.frombuffer(self._starts, np.int64)[numbers])
        rows.with_columns(starts).write_parquet(self._folder / _ROWS)
        sizes = {name: (self._folder / name).stat().st_size for name in (_TOKENS, _ROWS)}
        content = json.dumps({"ref": ref.to_dict(), "bytes": sizes}, indent=2, sort_keys=True)
        (self._folder / STORE_FILE).write_text(content + "\n", "utf-8")
        return ref

    def _digest(self, numbers: NDArray[np.int64], rows: pl.DataFrame) -> str:
        """Hash the rows in their order, wherever in the file their tokens are."""
        digests = np.frombuffer(self._digests, np.uint8).reshape(-1, 16)
        found = xxhash.xxh3_128(digests[numbers].tobytes())
        for name in sorted(rows.columns):
            column = rows[name]
            if column.dtype == pl.String:
                found.update("\0".join(column).encode())
            else:
                found.update(column.fill_null(-1).to_numpy().tobytes())
        return found.hexdigest()


class ConversationsWriter(_Writer):
    """Writes a store of conversations."""

    kind = "conversations"
    shape = ("length", "learned")

    def add(self, row: Encoded) -> int:
        """Write a conversation's tokens.

        Returns:
            The number of the row.
        """
        learned = row.labels != IGNORED
        tokens = np.where(learned, row.input_ids, ~row.input_ids)
        return self._add(tokens, (len(tokens), int(learned.sum())))


class PairsWriter(_Writer):
    """Writes a store of preference pairs."""

    kind = "pairs"
    shape = ("length", "prompt", "chosen", "rejected")

    def add(self, row: EncodedPair) -> int:
        """Write a pair's tokens.

        Returns:
            The number of the row.
        """
        parts = (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
        return self._add(np.concatenate(parts), (pair_length(row), *map(len, parts)))


Writer = TypeVar("Writer", bound=_Writer)


@contextmanager
def write_tokens(directory: Path, writer: type[Writer]) -> Iterator[Writer]:
    """Write a store completely or leave what was there.

    Args:
        directory: Where the store goes; replaced as a whole.
        writer: What writes its rows.

    Raises:
        TokensError: it cannot be written, as on a full disk.
    """
    try:
        with folder_written_whole(directory) as folder:
            yield writer(directory, folder)
    except OSError as error:
        raise TokensError(
            f"{directory} cannot be written, what was there stays: {error}"
        ) from error
