"""Ranks the models that a run can start from, the most suitable first."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.guiding.machine import Budget, Machine, find_free_disk, find_machine, parse_budget
from tui_tuner.guiding.models import candidates as sources
from tui_tuner.guiding.models.candidates import CATALOG, FOLDER, HUB, PACKAGE, RUN, Candidate
from tui_tuner.guiding.models.choice import Choice, find_data_facts, knows_languages, rank_licence
from tui_tuner.guiding.models.explanations import explain_model_rank, rank_model_kind
from tui_tuner.guiding.models.fitting import (
    ASSUMED,
    MISFIT,
    STATES,
    UNSUITED,
    ModelFit,
    fit_model,
)
from tui_tuner.guiding.models.hub_search import HubSearch
from tui_tuner.locales import _
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.text import one_line

PATIENCE = 3600.0  # seconds that a run may take without a budget, as the user waits for it
SHOWN_EVERY = 0.4  # seconds between two lists while models are planned


@dataclass(frozen=True)
class _Question:
    """Everything that the ranking depends on."""

    kind: TaskKind
    data: DataFacts | None
    languages: tuple[str, ...]
    machine: Machine
    budget: Budget
    values: Mapping[str, Any]
    disk: int | None
    runs: Path
    reachable: bool | None = None  # whether a hub can be reached; None if it was not tried


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
    """Rank models for a task, the most suitable first.

    Models that fit come first; among them, those that suit the task, know the languages and have an open
    licence; then the largest that is trained in time. Models to download come after those on this machine
    if no hub was tried, and after the toys of this package if no hub can be reached.

    Args:
        task: A name of `config.kinds.tasks.TASKS`.
        data: `DataFacts`, or a look at data (`find_data_facts`).
        languages: ISO codes of languages that it should know.
        machine: `here`, `cpu`, or a GPU.
        budget, price: As `machine.parse_budget` takes them.
        root: The folder of runs. folder: The folder to search for models; by default the working folder.
        stop: Returns true to stop early; the models found by then are returned.
        network: Whether a hub may be searched.
        values: Fields that are decided already, by their dotted names.

    Raises:
        TunerError: unknown task or GPU, or the budget is not valid.
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
    """Yield growing lists of ranked models, the first with those of this machine and this package."""
    from tui_tuner.models.hub.net import is_network_offline

    stopped = stop or (lambda: False)
    asked = _Question(
        _find_task_kind(task),
        find_data_facts(data),
        tuple(code.strip().lower() for code in languages if code.strip()),
        find_machine(machine),
        parse_budget(budget, price),
        values or {},
        find_free_disk(),
        Path(root or RunConfig().output.folder),
        False if is_network_offline() else None,
    )
    # Local models need no network, so the first list appears at once
    near = [
        *sources.list_machine_models(folder or Path.cwd(), asked.runs),
        sources.find_package_model(asked.kind),
    ]
    pool = _Pool(asked, stopped)
    yield pool.add_candidates(near)
    # Started before the catalogue is planned, so that the search runs at the same time
    answers = HubSearch(asked.kind, stopped) if network else None
    known = [
        one
        for one in _select_suited(sources.list_catalog_models(), asked.kind)
        if one.candidate_key.lower() not in pool.known_keys
    ]
    for _shown in pool.plan_candidates(known, all_at_once):
        if (
            answers is not None and answers.is_silent
        ):  # local models move to the front as soon as the hub is known to be unreachable
            pool.asked = replace(asked, reachable=False)
        yield pool.rank_choices()
    if answers is not None:
        pool.asked = replace(asked, reachable=answers.wait_until_reached())
        if pool.asked.reachable:
            yield from pool.plan_candidates(answers.fetch_models(pool.known_keys), all_at_once)
        yield pool.rank_choices()


def _find_task_kind(task: str) -> TaskKind:
    if task in TASKS:
        return TASKS[task]
    raise ConfigError(
        _("unknown task {value!r}.", value=one_line(task, 60)),
        where="task",
        hint=_("Known are {names}.", names=", ".join(TASKS)),
        field="task",
    )


def _select_suited(found: Sequence[Candidate], kind: TaskKind) -> list[Candidate]:
    """Return the models made for a task, recommended ones first."""
    fitting = [one for one in found if rank_model_kind(one.kind, kind) == 0]
    return sorted(fitting, key=lambda one: (not one.first, one.parameters or 0))


class _Pool:
    """Collects models and plans each of them once."""

    def __init__(self, asked: _Question, stopped: Callable[[], bool]) -> None:
        self.asked, self._stopped = asked, stopped
        self._found: dict[str, tuple[Candidate, ModelFit]] = {}

    @property
    def known_keys(self) -> set[str]:
        return {key.lower() for key in self._found}

    def add_candidates(self, new: Iterable[Candidate]) -> list[Choice]:
        for _unused in self.plan_candidates(new, True):
            pass
        return self.rank_choices()

    def plan_candidates(self, new: Iterable[Candidate], all_at_once: bool) -> Iterator[list[Choice]]:
        """Plan new models; yield a ranked list now and then, and one at the end."""
        last = time.monotonic()
        for candidate in new:
            if self._stopped():
                break
            if candidate.candidate_key not in self._found:
                asked = self.asked
                fitted = fit_model(candidate, asked.kind, asked.machine, asked.data, asked.values, asked.runs)
                self._found[candidate.candidate_key] = candidate, fitted
            if not all_at_once and time.monotonic() - last > SHOWN_EVERY:
                last = time.monotonic()
                yield self.rank_choices()
        yield self.rank_choices()

    def rank_choices(self) -> list[Choice]:
        found = [_make_choice(candidate, fitted, self.asked) for candidate, fitted in self._found.values()]
        return [choice for _key, choice in sorted(found, key=lambda pair: pair[0])]


def _make_choice(candidate: Candidate, fitted: ModelFit, asked: _Question) -> tuple[tuple[Any, ...], Choice]:
    """Return (sort key, choice) of a model."""
    kind = "encoder" if fitted.encoder else "rewriter" if fitted.rewriter else candidate.kind
    parameters = fitted.parameters or candidate.parameters
    # Catalogue entries have no size of the download, only a number of parameters
    fetch = (
        candidate.fetch
        if candidate.is_here or candidate.fetch is not None
        else _estimate_download(parameters)
    )
    seconds = fitted.seconds
    cost = _compute_cost(seconds, asked.budget.price)
    # Without counted rows the time is that of assumed ones: good for the order, but not shown
    within = asked.budget.allows_seconds(seconds[1] if seconds else None)
    state = fitted.state
    made = Choice(
        candidate.name,
        candidate.origin,
        candidate.is_here,
        "",
        state,
        fetch=fetch,
        kind=kind,
        parameters=parameters,
        licence=candidate.licence,
        languages=candidate.languages,
        speaks=knows_languages(candidate.languages, asked.languages),
        gated=candidate.gated,
        source=candidate.source,
        needs=fitted.needs,
        there=fitted.there,
        seconds=seconds if asked.data is not None else None,
        cost=cost if asked.data is not None else None,
        within=within,
        values=_collect_values(candidate, fitted),
        basis=fitted.basis,
        candidate=candidate,
    )
    why = explain_model_rank(
        made, fitted, asked.kind, asked.data or ASSUMED, asked.languages, asked.machine.display_name
    )
    return _compute_sort_key(made, fitted, candidate, asked), replace(made, why=why)


def _compute_sort_key(
    choice: Choice, fitted: ModelFit, candidate: Candidate, asked: _Question
) -> tuple[Any, ...]:
    """Return the sort key of a model: smaller comes first, and earlier items decide before later ones."""
    likely = fitted.seconds[1] if fitted.seconds else None
    long = _count_halvings(likely, PATIENCE) if asked.budget.seconds is None else 0
    # A model that the user put into this folder is probably the one to use
    mine = choice.origin == FOLDER and choice.speaks is not False and not long
    return (
        # Models that cannot be trained come last, whatever else speaks for them
        STATES.index(choice.state) if choice.state in (MISFIT, UNSUITED) else 0,
        _rank_reach(choice, asked),
        choice.within is False,
        not mine,
        rank_model_kind(choice.kind, asked.kind),
        {True: 0, None: 1, False: 2}[choice.speaks] if asked.languages else 0,
        choice.origin == RUN,
        long,
        STATES.index(choice.state),
        choice.gated,
        rank_licence(choice.licence) if not choice.here else 0,
        not candidate.first and not choice.here,
        # Among models that fit, larger is better; among the others, the closest to fitting comes first
        -(choice.parameters or 0) if choice.fits_machine and choice.within is not False else choice.needs,
        choice.origin in (CATALOG, HUB),
        choice.name,
    )


def _rank_reach(choice: Choice, asked: _Question) -> int:
    """Return 0 for a usable model, 1 if a download may work, 2 for a toy, 3 if it cannot be downloaded."""
    if choice.origin == PACKAGE:
        return 2
    if choice.here or not asked.machine.is_here:
        return 0
    if asked.reachable is False or (asked.disk is not None and (choice.fetch or 0) > asked.disk):
        return 3
    return 0 if asked.reachable else 1


def _count_halvings(seconds: float | None, limit: float) -> int:
    """Return how often a time must be halved to be within a limit."""
    return 0 if seconds is None or seconds <= limit else math.ceil(math.log2(seconds / limit))


def _estimate_download(parameters: int | None) -> int | None:
    """Estimate the bytes of a download of unknown size: 16 bits per weight."""
    return 2 * parameters if parameters else None


def _compute_cost(
    seconds: tuple[float, float, float] | None, price: float | None
) -> tuple[float, float, float] | None:
    if seconds is None or price is None:
        return None
    low, likely, high = (one / 3600 * price for one in seconds)
    return low, likely, high


def _collect_values(candidate: Candidate, fitted: ModelFit) -> dict[str, Any]:
    found: dict[str, Any] = {"model.name": candidate.name}
    if candidate.source and candidate.source != RunConfig().model.hub:
        found["model.hub"] = candidate.source
    return found | dict(fitted.values)
