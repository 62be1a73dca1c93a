"""What to do with a model that does not fit: a smaller one, fewer bits, a larger card, with their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.kinds import TASKS
from tui_tuner.guiding.machine import Machine, find_machine
from tui_tuner.guiding.models.candidates import PACKAGE
from tui_tuner.guiding.models.choice import Choice, facts_of
from tui_tuner.guiding.models.fitting import CHANGED, FITS, Fitted, fit_model
from tui_tuner.locales import _
from tui_tuner.planning.gpus import CARDS
from tui_tuner.text import human_count, one_line


@dataclass(frozen=True)
class WayOut:
    """One way, as words.

    Args:
        values: Fields of the config, by their dotted names.
        machine: The machine that it asks for; empty for the same.
    """

    words: str
    values: Mapping[str, Any] = field(default_factory=dict)
    machine: str = ""


def ways_out(
    choice: Choice,
    choices: Sequence[Choice],
    task: str,
    data: Any = None,
    values: Mapping[str, Any] | None = None,
) -> Iterator[WayOut]:
    """What makes a run possible that does not fit: settings, the largest model that does, the smallest card.

    Nothing for a model that fits as it is. The last takes a second of planning.
    """
    if choice.state == FITS or choice.candidate is None:
        return
    if choice.state == CHANGED:
        yield WayOut(choice.why, choice.values)
    else:
        smaller = smaller_that_fits(choices, choice)
        if smaller is not None:
            words = _(
                "{name}, with {parameters} parameters, fits: it needs {needs:.1f} of {there:.1f} GiB.",
                name=one_line(smaller.title, 60),
                parameters=human_count(smaller.parameters or 0),
                needs=smaller.needs,
                there=smaller.there,
            )
            yield WayOut(words, smaller.values)
    found = smallest_card(choice, task, data, values)
    if found is None:
        return
    machine, fitted = found
    told = {"card": machine.name, "needs": fitted.needs, "there": fitted.there}
    if fitted.state == CHANGED:
        words = _(
            "It fits {card} with {changes}: {needs:.1f} of {there:.1f} GiB.", changes=fitted.why, **told
        )
    else:
        words = _("It fits {card}: {needs:.1f} of {there:.1f} GiB.", **told)
    yield WayOut(words, {"model.name": choice.name, **fitted.values}, machine.asked)


def smaller_that_fits(choices: Sequence[Choice], than: Choice) -> Choice | None:
    """The largest that fits and is smaller than one that does not; None without one.

    One that knows the languages asked for comes before a larger one that does not.
    """
    fitting = [one for one in choices if one.fits and (one.parameters or 0) < (than.parameters or 0)]
    real = [one for one in fitting if one.origin != PACKAGE] or fitting
    return max(real, key=lambda one: (one.speaks is not False, one.parameters or 0), default=None)


def smallest_card(
    choice: Choice, task: str, data: Any = None, values: Mapping[str, Any] | None = None
) -> tuple[Machine, Fitted] | None:
    """The smallest GPU of the table that a model fits, be it with 4-bit weights; None where it fits none."""
    if choice.candidate is None:
        return None
    for card in sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops)):
        if choice.needs and card.usable < choice.needs / 8:
            continue
        machine = find_machine(card.name)
        found = fit_model(choice.candidate, TASKS[task], machine, facts_of(data), values or {})
        if found.state in (FITS, CHANGED):
            return machine, found
    return None
