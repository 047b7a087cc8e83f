import pytest

from kyara_kedro.text.prose import foreign_language


@pytest.mark.parametrize(
    "text",
    [
        "Massachusetts Institute of Technology",
        "International Organization for Standardization",
        "Saccharomyces cerevisiae（釀酒酵母）",
        "Universidad Nacional Autónoma de México",
        "1. $\\frac{3}{4} \\times 120 = 90$\n2. $90 - 25 = 65$\n\n**答案：13**",
        "\\begin{align*}\nP(A \\cup B) &= P(A) + P(B) \\\\\n&= 0.7\n\\end{align*}\n答案：0.7",
        "```python\ndef mean(values):\n    return sum(values) / len(values)\n```\n這就是平均。",
    ],
)
def test_names_formulas_and_code_are_not_foreign(text: str) -> None:
    assert foreign_language(text, "zh-Hant-TW") is None


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("The Yuan dynasty (元朝) ended in 1368, when the Ming took it.", "zh-Hant-TW", "en"),
        ("It ended in 1368 and the court fled to the north.", "zh-Hant-TW", "en"),
        ("明朝は1368年に建国された。首都は南京である。とても大きな国です。", "zh-Hant-TW", "ja"),
        ("La corte huyó al norte de la ciudad en el año 1368.", "zh-Hant-TW", "other"),
        ("Династия закончилась в 1368 году, когда войска заняли столицу.", "zh-Hant-TW", "other"),
        ("元朝結束於1368年，明軍攻陷元大都，元惠宗北逃，史書稱之。", "en", "zh-Hant-TW"),
    ],
)
def test_another_language_is_named(text: str, language: str, found: str) -> None:
    assert foreign_language(text, language) == found


def test_a_few_words_prove_nothing() -> None:
    assert foreign_language("The end of it", "zh-Hant-TW") is None
