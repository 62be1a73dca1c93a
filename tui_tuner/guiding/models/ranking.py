"""The question of the model: those one can begin with, the most fitting first, each with its figures."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds import TASKS, TaskKind
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.guiding.machine import Budget, Machine, find_machine, free_disk, read_budget
from tui_tuner.guiding.models import candidates as sources
from tui_tuner.guiding.models.asking import AskedHub
from tui_tuner.guiding.models.candidates import CATALOG, FOLDER, HUB, PACKAGE, RUN, Candidate
from tui_tuner.guiding.models.choice import Choice, facts_of, licence_rank, speaks
from tui_tuner.guiding.models.fitting import (
    ASSUMED,
    MISFIT,
    STATES,
    UNSUITED,
    Fitted,
    fit_model,
)
from tui_tuner.guiding.models.worth import suits, why_of
from tui_tuner.locales import _
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.text import one_line

PATIENCE = 3600.0  # seconds that a run may take where nobody has said: one waits for it
SHOWN_EVERY = 0.4  # seconds between two lists while models are planned


@dataclass(frozen=True)
class _Question:
    """What was asked."""

    kind: TaskKind
    data: DataFacts | None
    languages: tuple[str, ...]
    machine: Machine
    budget: Budget
    values: Mapping[str, Any]
    disk: int | None
    runs: Path
    reachable: bool | None = None  # whether a hub answers; None where it was not asked


def rank_models(
    task: str,
    *,
    data: Any = None,
    languages: Iterable[str] = (),
    machine: str | None = "here",
    budget: str | float | None = None,
    price: float | None = None,
    root: Path | None = None,
    stop: Callable[[], bool] | None = None,
    network: bool = False,
    folder: Path | None = None,
    values: Mapping[str, Any] | None = None,
) -> list[Choice]:
    """Models for a task, the most fitting first.

    First those that fit, and within that what suits the task, knows the languages, and may be used freely;
    then the largest that is done in time. What has to be fetched comes after what is here where no hub was
    asked, and after the toys of this package where none can be.

    Args:
        task: A name of `config.kinds.TASKS`.
        data: `DataFacts`, or a look at data (`facts_of`).
        languages: ISO codes that it has to know.
        machine: `here`, `cpu`, or a GPU.
        budget, price: As `machine.read_budget` takes them.
        root: The folder of runs. folder: The one that models are looked for in; the working one otherwise.
        stop: Whether to give up; what was found by then is returned.
        network: Whether a hub may be asked.
        values: Fields that are decided already, by their dotted names.

    Raises:
        TunerError: no such task or card, or the budget is none.
    """
    lists = watch_models(
        task,
        data=data,
        languages=languages,
        machine=machine,
        budget=budget,
        price=price,
        root=root,
        stop=stop,
        network=network,
        folder=folder,
        values=values,
        all_at_once=True,
    )
    return deque(lists, maxlen=1).pop()


def watch_models(
    task: str,
    *,
    data: Any = None,
    languages: Iterable[str] = (),
    machine: str | None = "here",
    budget: str | float | None = None,
    price: float | None = None,
    root: Path | None = None,
    stop: Callable[[], bool] | None = None,
    network: bool = False,
    folder: Path | None = None,
    values: Mapping[str, Any] | None = None,
    all_at_once: bool = False,
) -> Iterator[list[Choice]]:
    """The same as it is found: lists that grow, models of this machine and of this package in the first."""
    from tui_tuner.models.hub.net import is_offline

    stopped = stop or (lambda: False)
    asked = _Question(
        _kind_of(task),
        facts_of(data),
        tuple(code.strip().lower() for code in languages if code.strip()),
        find_machine(machine),
        read_budget(budget, price),
        values or {},
        free_disk(),
        Path(root or RunConfig().output.folder),
        False if is_offline() else None,
    )
    near = [*sources.of_machine(folder or Path.cwd(), asked.runs), sources.of_package(asked.kind)]
    pool = _Pool(asked, stopped)
    yield pool.add(near)
    answers = AskedHub(asked.kind, stopped) if network else None
    known = [one for one in _suited(sources.of_catalog(), asked.kind) if one.key.lower() not in pool.keys]
    for _shown in pool.grow(known, all_at_once):
        if answers is not None and answers.silent:  # what is here goes first as soon as that is known
            pool.asked = replace(asked, reachable=False)
        yield pool.ranked()
    if answers is not None:
        pool.asked = replace(asked, reachable=answers.reached())
        if pool.asked.reachable:
            yield from pool.grow(answers.models(pool.keys), all_at_once)
        yield pool.ranked()


def _kind_of(task: str) -> TaskKind:
    if task in TASKS:
        return TASKS[task]
    raise ConfigError(
        _("unknown task {value!r}.", value=one_line(task, 60)),
        where="task",
        hint=_("Known are {names}.", names=", ".join(TASKS)),
        field="task",
    )


def _suited(found: Sequence[Candidate], kind: TaskKind) -> list[Candidate]:
    """What is known beforehand and made for a task, good first choices first."""
    fitting = [one for one in found if suits(one.kind, kind) == 0]
    return sorted(fitting, key=lambda one: (not one.first, one.parameters or 0))


class _Pool:
    """The models so far, each planned once."""

    def __init__(self, asked: _Question, stopped: Callable[[], bool]) -> None:
        self.asked, self._stopped = asked, stopped
        self._found: dict[str, tuple[Candidate, Fitted]] = {}

    @property
    def keys(self) -> set[str]:
        return {key.lower() for key in self._found}

    def add(self, new: Iterable[Candidate]) -> list[Choice]:
        for _unused in self.grow(new, True):
            pass
        return self.ranked()

    def grow(self, new: Iterable[Candidate], all_at_once: bool) -> Iterator[list[Choice]]:
        """Plan these; a list now and then, and one at the end."""
        last = time.monotonic()
        for candidate in new:
            if self._stopped():
                break
            if candidate.key not in self._found:
                asked = self.asked
                fitted = fit_model(candidate, asked.kind, asked.machine, asked.data, asked.values, asked.runs)
                self._found[candidate.key] = candidate, fitted
            if not all_at_once and time.monotonic() - last > SHOWN_EVERY:
                last = time.monotonic()
                yield self.ranked()
        yield self.ranked()

    def ranked(self) -> list[Choice]:
        found = [_choice(candidate, fitted, self.asked) for candidate, fitted in self._found.values()]
        return [choice for _key, choice in sorted(found, key=lambda pair: pair[0])]


def _choice(candidate: Candidate, fitted: Fitted, asked: _Question) -> tuple[tuple[Any, ...], Choice]:
    """A model's place in the ranking, and the model."""
    kind = "encoder" if fitted.encoder else candidate.kind
    parameters = fitted.parameters or candidate.parameters
    fetch = candidate.fetch if candidate.here or candidate.fetch is not None else _weights(parameters)
    seconds = fitted.seconds
    cost = _cost(seconds, asked.budget.price)
    within = asked.budget.allows(seconds[1] if seconds else None)
    state = fitted.state
    made = Choice(
        candidate.name,
        candidate.origin,
        candidate.here,
        "",
        state,
        fetch=fetch,
        kind=kind,
        parameters=parameters,
        licence=candidate.licence,
        languages=candidate.languages,
        speaks=speaks(candidate.languages, asked.languages),
        gated=candidate.gated,
        source=candidate.source,
        needs=fitted.needs,
        there=fitted.there,
        seconds=seconds if asked.data is not None else None,
        cost=cost if asked.data is not None else None,
        within=within,
        values=_values(candidate, fitted),
        basis=fitted.basis,
        candidate=candidate,
    )
    why = why_of(made, fitted, asked.kind, asked.data or ASSUMED, asked.languages, asked.machine.name)
    return _place(made, fitted, candidate, asked), replace(made, why=why)


def _place(choice: Choice, fitted: Fitted, candidate: Candidate, asked: _Question) -> tuple[Any, ...]:
    """What models are ordered by: the smallest first."""
    likely = fitted.seconds[1] if fitted.seconds else None
    long = _halvings(likely, PATIENCE) if asked.budget.seconds is None else 0
    # whoever has put a model beside the data has said enough, if it is of use
    mine = choice.origin == FOLDER and choice.speaks is not False and not long
    return (
        STATES.index(choice.state) if choice.state in (MISFIT, UNSUITED) else 0,
        _reach(choice, asked),
        choice.within is False,
        not mine,
        suits(choice.kind, asked.kind),
        {True: 0, None: 1, False: 2}[choice.speaks] if asked.languages else 0,
        choice.origin == RUN,
        long,
        STATES.index(choice.state),
        choice.gated,
        licence_rank(choice.licence) if not choice.here else 0,
        not candidate.first and not choice.here,
        -(choice.parameters or 0) if choice.fits and choice.within is not False else choice.needs,
        choice.origin in (CATALOG, HUB),
        choice.name,
    )


def _reach(choice: Choice, asked: _Question) -> int:
    """0 for what can be used, 1 for what may be fetched, 2 for a toy, 3 for what cannot be fetched."""
    if choice.origin == PACKAGE:
        return 2
    if choice.here or not asked.machine.here:
        return 0
    if asked.reachable is False or (asked.disk is not None and (choice.fetch or 0) > asked.disk):
        return 3
    return 0 if asked.reachable else 1


def _halvings(seconds: float | None, limit: float) -> int:
    """How often a time has to be halved to be within a limit."""
    return 0 if seconds is None or seconds <= limit else math.ceil(math.log2(seconds / limit))


def _weights(parameters: int | None) -> int | None:
    """Bytes of a download whose size nobody told: 16 bits a weight."""
    return 2 * parameters if parameters else None


def _cost(
    seconds: tuple[float, float, float] | None, price: float | None
) -> tuple[float, float, float] | None:
    if seconds is None or price is None:
        return None
    low, likely, high = (one / 3600 * price for one in seconds)
    return low, likely, high


def _values(candidate: Candidate, fitted: Fitted) -> dict[str, Any]:
    found: dict[str, Any] = {"model.name": candidate.name}
    if candidate.source and candidate.source != RunConfig().model.hub:
        found["model.hub"] = candidate.source
    return found | dict(fitted.values)
