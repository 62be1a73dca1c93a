"""The table of README.md: what each pair of a task and a method came to, the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.matrix.pairs import METHODS, WORK

BEGIN = "<!-- matrix: begin (written by make matrix) -->"
END = "<!-- matrix: end -->"


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A column for each task on a kind of model, a row for each method, and the reasons below."""
    works = [name for name in WORK if any(pair.startswith(f"{name}:") for pair in found)]
    reasons: dict[str, int] = {}
    lines = [["method", *(f"{WORK[name].task} ({WORK[name].model})" for name in works)]]
    for method in METHODS:
        pairs = [f"{name}:{method}" for name in works]
        cells = [_cell(found[pair], reasons) if pair in found else "" for pair in pairs]
        if any(cells):
            lines.append([method, *cells])
    header, *rest = (f"| {' | '.join(line)} |" for line in lines)
    rule = "|-|" + "-:|" * len(works)
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([header, rule, *rest, *(["", *notes] if notes else [])])


def _cell(result: Mapping[str, Any], reasons: dict[str, int]) -> str:
    if result.get("problems") or ("failed" in result and result.get("steps") != 0):
        return "fails"
    reason = result.get("refused") or result.get("failed")
    if reason:
        return f"refused ({reasons.setdefault(str(reason), len(reasons) + 1)})"
    return f"{result['trained'] / result['total']:.1%}"
