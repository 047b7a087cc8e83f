"""The value of an arithmetic expression in what models write; nothing of it is executed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 1_000
"""Characters of the longest expression that is evaluated."""
_BITS = 10_000
_ARITHMETIC = re.compile(r"(?:[\d.eE_+\-*/%() \t]|\b(?:or|and)\b)+", re.ASCII)


def arithmetic_value(expression: str) -> float | None:
    """Evaluate numbers, parentheses, signs, ``+ - * / // % **``, ``or``, ``and`` as Python does.

    Returns:
        The value, or None for anything else, for errors such as a division by zero, and for powers
        of more than 10,000 bits.
    """
    text = expression.strip(" \t")
    if len(text) > LONGEST or not _ARITHMETIC.fullmatch(text):
        return None
    try:
        return float(_value(ast.parse(text, mode="eval").body))
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.BoolOp):
        for operand in node.values:
            value = _value(operand)
            if bool(value) == isinstance(node.op, ast.Or):
                break
        return value
    raise ValueError(f"{type(node).__name__} is no arithmetic")


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and base.bit_length() * abs(exponent) > _BITS:
        raise OverflowError("too large a power")
    return base**exponent


_SIGNS: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
