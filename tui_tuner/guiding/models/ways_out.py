"""Ways out for a model that does not fit: a smaller model, fewer bits, or a larger GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.guiding.machine import Machine, find_machine
from tui_tuner.guiding.models.candidates import PACKAGE
from tui_tuner.guiding.models.choice import Choice, find_data_facts
from tui_tuner.guiding.models.fitting import CHANGED, FITS, ModelFit, fit_model
from tui_tuner.locales import _
from tui_tuner.planning.gpus import CARDS
from tui_tuner.text import format_count, one_line


@dataclass(frozen=True)
class WayOut:
    """One way out, in words and values.

    Args:
        values: Fields of the config, by their dotted names.
        machine: The machine it needs; empty for the same machine.
    """

    words: str
    values: Mapping[str, Any] = field(default_factory=dict)
    machine: str = ""


def list_ways_out(
    choice: Choice,
    choices: Sequence[Choice],
    task: str,
    data: Any = None,
    values: Mapping[str, Any] | None = None,
) -> Iterator[WayOut]:
    """Yield ways to make a run possible: settings, the largest model that fits, the smallest sufficient GPU.

    Yields nothing for a model that fits as it is. Finding the GPU takes about a second of planning.
    """
    if choice.state == FITS or choice.candidate is None:
        return
    if choice.state == CHANGED:
        yield WayOut(choice.why, choice.values)
    else:
        smaller = find_smaller_model(choices, choice)
        if smaller is not None:
            words = _(
                "{name}, with {parameters} parameters, fits: it needs {needs:.1f} of {there:.1f} GiB.",
                name=one_line(smaller.short_name, 60),
                parameters=format_count(smaller.parameters or 0),
                needs=smaller.needs,
                there=smaller.there,
            )
            yield WayOut(words, smaller.values)
    found = find_smallest_card(choice, task, data, values)
    if found is None:
        return
    machine, fitted = found
    told = {"card": machine.display_name, "needs": fitted.needs, "there": fitted.there}
    if fitted.state == CHANGED:
        words = _(
            "It fits {card} with {changes}: {needs:.1f} of {there:.1f} GiB.", changes=fitted.why, **told
        )
    else:
        words = _("It fits {card}: {needs:.1f} of {there:.1f} GiB.", **told)
    yield WayOut(words, {"model.name": choice.name, **fitted.values}, machine.asked)


def find_smaller_model(choices: Sequence[Choice], than: Choice) -> Choice | None:
    """Return the largest model that fits and is smaller than one that does not; None if there is none.

    A model that knows the languages asked for takes precedence over a larger one that does not.
    """
    fitting = [one for one in choices if one.fits_machine and (one.parameters or 0) < (than.parameters or 0)]
    # The toy models always fit, but are no substitute for a real one
    real = [one for one in fitting if one.origin != PACKAGE] or fitting
    return max(real, key=lambda one: (one.speaks is not False, one.parameters or 0), default=None)


def find_smallest_card(
    choice: Choice, task: str, data: Any = None, values: Mapping[str, Any] | None = None
) -> tuple[Machine, ModelFit] | None:
    """Return the smallest known GPU that a model fits, possibly with 4-bit weights; None if it fits none."""
    if choice.candidate is None:
        return None
    for card in sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops)):
        # No setting saves more than seven eighths of the memory, so such cards need no plan
        if choice.needs and card.usable < choice.needs / 8:
            continue
        machine = find_machine(card.name)
        found = fit_model(choice.candidate, TASKS[task], machine, find_data_facts(data), values or {})
        if found.state in (FITS, CHANGED):
            return machine, found
    return None
