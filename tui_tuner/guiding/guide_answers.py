"""Answers to the guide's questions, each of which is optional."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answers:
    """The answers, in the order of the questions; None for an open one.

    Args:
        task: A goal of `goals.GOALS`, or the name of a task.
        data: Path of a file or folder, a data set of a hub, or `demo`.
        model: A model's name or folder.
        machine: A GPU's name or size, `cpu`, or `here`.
        budget: The most money or time: a number in the currency of the price, or `2 h`, `30 min`.
        judge: How to judge the result: a metric's name, `held-out`, or a list of prompts.
        more: Config fields that were set directly, by their dotted names.
    """

    task: str | None = None
    data: str | None = None
    model: str | None = None
    machine: str | None = None
    budget: str | float | None = None
    judge: Any = None
    more: Mapping[str, Any] = field(default_factory=dict)
