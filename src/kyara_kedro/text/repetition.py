"""How much of a text says something new."""


def distinct_4(text: str) -> float | None:
    """Different runs of four characters over all of them; None below four characters.

    Blanks do not count. 1 minus it is the repetition ratio (distinct-n, Li et al., NAACL 2016),
    here over characters, since Chinese has no blanks between words.
    """
    plain = "".join(text.split())
    runs = [plain[i : i + 4] for i in range(len(plain) - 3)]
    return len(set(runs)) / len(runs) if runs else None
