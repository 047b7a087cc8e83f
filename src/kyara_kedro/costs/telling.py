"""An estimate as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from kyara_kedro.costs.bill import Bill, Cap, Line, Range, total

_FORM = "{:<42}{:<28}{:<20}{:>10}{:>10}{:>24}{:>12}{:>8}{:>12}{:>30}  {}"
_VERDICTS = {
    "enough": "足夠 enough",
    "perhaps": "可能不夠 may not be enough",
    "not_enough": "不夠 not enough",
}
_RULES = (
    "規則教師不是語言模型，不花錢；換成語言模型後，呼叫次數與字數都會不同。 "
    "Rules are no language model and cost nothing."
)


def told(bill: Bill) -> Iterator[str]:
    """The estimate, line by line."""
    yield _FORM.format(
        *("node", "teacher", "task", "requests", "held", "calls: low..high"),
        *("prompt", "cached", "completion", "cost: low..high", "by"),
    )
    for line in bill.lines:
        yield _row(line)
    calls, cost = total(line.calls for line in bill.lines), bill.cost
    tokens = total(one for line in bill.lines for one in (line.prompt, line.completion))
    yield (
        f"in all: {_number(calls)} calls, {_number(tokens)} tokens, cost {_money(cost)} "
        "(費用的幣別同教師的價格 in the currency of the teachers' prices)"
    )
    if any(line.kind == "rules" for line in bill.lines):
        yield _RULES
    for cap in bill.caps:
        yield _cap(cap)
    for node, factor in bill.played_in_part.items():
        yield f"{node}: 預演了一部分 a part was played, the whole is {factor:.1f} times as large"
    for node, why in bill.missing:
        yield f"{node}: 未估計 not counted: {why}"


def _row(line: Line) -> str:
    by = "rules" if line.kind == "rules" else f"{line.replies:,} replies"
    return _FORM.format(
        *(line.node[:41], f"{line.entry}: {line.teacher}"[:27], line.task),
        *(f"{line.requests:,}", f"{line.held:,}", _number(line.calls)),
        *(f"{one.expected:,.0f}" for one in (line.prompt, line.cached, line.completion)),
        *(_money(line.cost), by if line.replies or line.kind == "rules" else "defaults"),
    )


def _number(value: Range) -> str:
    if value.low == value.high:
        return f"{value.expected:,.0f}"
    return f"{value.expected:,.0f} ({value.low:,.0f}..{value.high:,.0f})"


def _money(value: Range) -> str:
    if not value.high:
        return "0"
    return f"{value.expected:.4g} ({value.low:.4g}..{value.high:.4g})"


def _cap(cap: Cap) -> str:
    write = _money if cap.what == "cost" else _number
    used = f", {cap.used:,.4g} used before" if cap.used else ""
    return (
        f"budget of {cap.entry}: {cap.what} {cap.cap:,.4g}{used}, needed {write(cap.needed)}: "
        f"{_VERDICTS[cap.verdict]}"
    )
