"""The fields of a `Setup` that follow from a config's method."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tui_tuner.config.schema import MethodSection
from tui_tuner.methods import find_method
from tui_tuner.methods.numbers.target_names import name_targets
from tui_tuner.methods.numbers.terms import MethodCase
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.stack import Stack, find_installed_stack


def make_method_case(method: MethodSection, facts: ModelFacts, stack: Stack | None = None) -> MethodCase:
    """Return what a method is asked about.

    Args:
        stack: Of the libraries, which decide where adapters sit; those installed by default.
    """
    targets, stack = name_targets(method, facts), stack or find_installed_stack()
    return MethodCase(method, facts, lambda linear: stack.adapts_linear(linear, targets))


def make_method_fields(method: MethodSection, facts: ModelFacts, stack: Stack) -> dict[str, Any]:
    """Return the fields of `Setup` that follow from the method."""
    terms = find_method(method.kind).memory_terms(make_method_case(method, facts, stack))
    return {"kind": method.kind} | {field.name: getattr(terms, field.name) for field in fields(terms)}
