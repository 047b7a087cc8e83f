"""MATH-L5, zero-shot: the 721 hardest problems of MATH whose answer is a number.

Problems: Hendrycks et al., arXiv:2103.03874, level 5 as selected by AI-MO; protocol and scorer:
ZeroEval's ``math-l5``, which compares answers as its ``gsm`` does.
"""

from __future__ import annotations

from kyara_kedro.evaluation.benchmarks.base import scorer_version
from kyara_kedro.evaluation.benchmarks.gsm import Gsm
from kyara_kedro.evaluation.benchmarks.zeroeval import OPEN_PROMPT


class MathL5(Gsm):
    """Competition problems with a number as answer."""

    kind = "math-l5"
    title = "MATH-L5"
    version = scorer_version("zeroeval-math-l5-1", OPEN_PROMPT)
    id_prefix = ""
