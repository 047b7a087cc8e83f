"""Judged answers in the shape of the records, and judges with a character."""

import itertools
from collections.abc import Callable, Iterable
from random import Random

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.records import CANDIDATE, VERDICT

ASK = [{"role": "user", "content": "臺灣最高的山是哪一座？"}]
Said = tuple[str, str, str | None]


def candidates(prompt: str, *responses: str) -> pl.DataFrame:
    return CANDIDATE.frame(
        {
            "id": f"{prompt}-{name}",
            "prompt_id": prompt,
            "messages": ASK,
            "response": response,
            "contestant": name,
            "teacher": name,
            "family": f"f{name}",
            "licence": f"L{name}",
        }
        for name, response in zip("abcdefgh", responses, strict=False)
    )


def verdicts(
    prompt: str, rows: Iterable[Said], judge: str = "評審", chars: dict[str, int] | None = None
) -> pl.DataFrame:
    return VERDICT.validate(
        VERDICT.frame(
            {
                "id": f"{judge}{prompt}{first}{second}",
                "prompt_id": prompt,
                "first_id": f"{prompt}-{first}",
                "second_id": f"{prompt}-{second}",
                "first_contestant": first,
                "second_contestant": second,
                "first_family": f"f{first}",
                "second_family": f"f{second}",
                "first_chars": (chars or {}).get(first, 1),
                "second_chars": (chars or {}).get(second, 1),
                "verdict": verdict,
                "problem": None if verdict else "form",
                "judge": judge,
                "judge_family": "fj",
                "reason": "",
            }
            for first, second, verdict in rows
        )
    )


def both_orders(order: str) -> list[Said]:
    """Verdicts of a judge that always agrees with the given order, best first."""
    return [
        row
        for better, worse in itertools.combinations(order, 2)
        for row in ((better, worse, "A"), (worse, better, "B"))
    ]


class Answer:
    """An answer with its qualities.

    Attributes:
        quality: What an honest judge goes by.
        chars: Its length.
    """

    def __init__(self, contestant: str, quality: float, chars: int) -> None:
        self.contestant, self.quality, self.chars = contestant, quality, chars


Taste = Callable[[Answer, Answer, Random], str | None]


def honest(noise: float) -> Taste:
    """Sees the quality through noise; too near is a tie."""

    def taste(first: Answer, second: Answer, draw: Random) -> str:
        seen = first.quality - second.quality + draw.gauss(0, noise)
        return "C" if abs(seen) < 0.1 else "A" if seen > 0 else "B"

    return taste


def always_first(first: Answer, second: Answer, draw: Random) -> str:
    return "A"


def length_lover(share: float) -> Taste:
    """Goes by length alone in a share of the duels, and is honest in the others."""

    def taste(first: Answer, second: Answer, draw: Random) -> str | None:
        if draw.random() < share:
            return "A" if first.chars > second.chars else "B"
        return honest(0.3)(first, second, draw)

    return taste


def tournament(
    taste: Taste,
    prompts: int = 120,
    seed: int = 0,
    judge: str = "評審",
    length: Callable[[Random, float], int] = lambda draw, quality: draw.randint(20, 400),
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Four contestants, the later the better, and all duels as a judge of some taste sees them."""
    draw = Random(seed)
    rows, said = [], []
    for number in range(prompts):
        prompt = content_id("prompt", number)
        field = []
        for rank, name in enumerate("abcd"):
            quality = 0.4 * rank + draw.gauss(0, 0.5)
            field.append(Answer(name, quality, length(draw, quality)))
        for one in field:
            rows.append(
                {
                    "id": f"{prompt}-{one.contestant}",
                    "prompt_id": prompt,
                    "messages": ASK,
                    "response": f"{one.contestant}{number:03d}".ljust(one.chars, "字"),
                    "contestant": one.contestant,
                    "teacher": one.contestant,
                    "family": f"f{one.contestant}",
                    "licence": "CC0-1.0",
                }
            )
        chars = {one.contestant: one.chars for one in field}
        said.append(
            verdicts(
                prompt,
                [
                    (first.contestant, second.contestant, taste(first, second, draw))
                    for first, second in itertools.permutations(field, 2)
                ],
                judge,
                chars,
            )
        )
    return CANDIDATE.validate(CANDIDATE.frame(rows)), VERDICT.validate(pl.concat(said))
