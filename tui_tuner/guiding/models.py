"""The question of the model: those one can begin with, the most fitting first, each with its figures."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds import TASKS, TaskKind
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, TunerError
from tui_tuner.guiding import candidates as sources
from tui_tuner.guiding.candidates import CATALOG, FOLDER, HUB, PACKAGE, RUN, Candidate
from tui_tuner.guiding.fitting import ASSUMED, CHANGED, FITS, MISFIT, STATES, UNSUITED, Fitted, fit_model
from tui_tuner.guiding.machine import Budget, Machine, find_machine, free_disk, read_budget
from tui_tuner.guiding.worth import suits, why_of
from tui_tuner.locales import _
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.text import one_line

PATIENCE = 3600.0  # seconds that a run may take where nobody has said: one waits for it
SHOWN_EVERY = 0.4  # seconds between two lists while models are planned
HUB_SECONDS = 20.0  # for all that a hub is asked
MOST_DESCRIBED = 6  # models of a hub whose configs are asked for
# Terms that allow nearly every use, by the names of the hub; others ask for a look, some forbid trade
OPEN = (
    "apache-2.0",
    "mit",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "unlicense",
    "openrail",
)


@dataclass(frozen=True)
class Choice:
    """A model with what there is to know of it before a run.

    Args:
        name: What `model.name` takes.
        origin: Where it is from: `folder`, `cache`, `run`, `package`, `catalog` or `hub`.
        here: Whether nothing has to be fetched.
        fetch: Bytes to be fetched; None where nobody knows.
        kind: `chat`, `base` or `encoder`; empty where nobody knows.
        licence, languages: As its card says; empty where it does not.
        speaks: Whether it knows the languages asked for; None where its card does not say, or none were.
        gated: Its owner wants one to log in and accept terms first.
        state: `fits`, `changed` (fits with `values` nobody asked for), `unknown`, `misfit` or `unsuited`.
        needs, there: GiB.
        seconds, cost: Least, likely and most for these rows; None where nobody can tell, or there are none.
        within: Whether that is within the budget; None where nobody can tell.
        values: Fields of the config that go with it, `model.name` among them.
        why: Why it stands where it stands, with figures.
        basis: What the time rests on.
    """

    name: str
    origin: str
    here: bool
    why: str
    state: str
    fetch: int | None = 0
    kind: str = ""
    parameters: int | None = None
    licence: str = ""
    languages: tuple[str, ...] = ()
    speaks: bool | None = None
    gated: bool = False
    source: str = ""
    needs: float = 0.0
    there: float = 0.0
    seconds: tuple[float, float, float] | None = None
    cost: tuple[float, float, float] | None = None
    within: bool | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    basis: str = ""

    @property
    def fits(self) -> bool:
        """Whether it can be trained there."""
        return self.state in (FITS, CHANGED)

    @property
    def usable(self) -> bool:
        """Whether a run with it can begin at once."""
        return self.fits and self.here

    @property
    def title(self) -> str:
        """What to call it: a folder by its last part."""
        return Path(self.name).name if self.origin in (FOLDER, RUN) else self.name


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
    reachable: bool = False


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
    then the largest that is done in time. What has to be fetched comes after what is here where no network
    may be asked.

    Args:
        task: A name of `config.kinds.TASKS`.
        data: `DataFacts`, or what has them as `facts`.
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
    stopped = stop or (lambda: False)
    asked = _Question(
        _kind_of(task),
        facts_of(data),
        tuple(code.strip().lower() for code in languages if code.strip()),
        find_machine(machine),
        read_budget(budget, price),
        values or {},
        free_disk(),
    )
    runs = root or Path(RunConfig().output.folder)
    near = [*sources.of_machine(folder or Path.cwd(), runs), sources.of_package(asked.kind)]
    pool = _Pool(asked, stopped)
    yield pool.add(near)
    answers = _Hub(asked.kind, stopped) if network else None
    known = [one for one in _suited(sources.of_catalog(), asked.kind) if one.key.lower() not in pool.keys]
    yield from pool.grow(known, all_at_once)
    if answers is not None:
        pool.asked = replace(asked, reachable=answers.reached())
        if pool.asked.reachable:
            yield from pool.grow(answers.models(pool.keys), all_at_once)
        yield pool.ranked()


def facts_of(data: Any) -> DataFacts | None:
    """Counts of the rows, of whatever has them; None where no rows were counted."""
    facts = data if isinstance(data, DataFacts) or data is None else getattr(data, "facts", None)
    return facts if isinstance(facts, DataFacts) and facts.rows else None


def find_choice(choices: Iterable[Choice], name: str) -> Choice | None:
    """The choice that a name means, however its folder is written."""
    listed = list(choices)
    path = Path(name).expanduser().absolute()
    by_name = next((one for one in listed if one.name.lower() == name.lower()), None)
    return by_name or next(
        (one for one in listed if one.origin in (FOLDER, RUN) and Path(one.name) == path), None
    )


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
                fitted = fit_model(
                    candidate, self.asked.kind, self.asked.machine, self.asked.data, self.asked.values
                )
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
    )
    why = why_of(made, fitted, asked.kind, asked.data or ASSUMED, asked.languages, asked.machine.name)
    return _place(made, fitted, candidate, asked), replace(made, why=why)


def _place(choice: Choice, fitted: Fitted, candidate: Candidate, asked: _Question) -> tuple[Any, ...]:
    """What models are ordered by: the smallest first."""
    away = not (choice.here or asked.reachable or not asked.machine.here)
    no_room = not choice.here and asked.disk is not None and (choice.fetch or 0) > asked.disk
    likely = fitted.seconds[1] if fitted.seconds else None
    long = _halvings(likely, PATIENCE) if asked.budget.seconds is None else 0
    return (
        STATES.index(choice.state) if choice.state in (MISFIT, UNSUITED) else 0,
        away or (no_room and asked.machine.here),
        choice.origin == PACKAGE,
        choice.within is False,
        suits(choice.kind, asked.kind),
        {True: 0, None: 1, False: 2}[choice.speaks] if asked.languages else 0,
        choice.origin == RUN,
        choice.origin != FOLDER,
        long,
        STATES.index(choice.state),
        choice.gated,
        licence_rank(choice.licence) if not choice.here else 0,
        not candidate.first and not choice.here,
        -(choice.parameters or 0) if choice.fits and choice.within is not False else choice.needs,
        choice.origin in (CATALOG, HUB),
        choice.name,
    )


def _halvings(seconds: float | None, limit: float) -> int:
    """How often a time has to be halved to be within a limit."""
    return 0 if seconds is None or seconds <= limit else math.ceil(math.log2(seconds / limit))


def speaks(known: Sequence[str], asked: Sequence[str]) -> bool | None:
    """Whether languages are among those a card names; None where it names none, or none are asked for."""
    if not known or not asked:
        return None
    return all(code.partition("-")[0] in known for code in asked)


def licence_rank(licence: str) -> int:
    """0 for terms that allow nearly every use, 1 for terms to read, 2 for none told, 3 without trade."""
    plain = licence.lower()
    if plain in OPEN:
        return 0
    if not plain:
        return 2
    return 3 if "-nc" in plain or "research" in plain or "non-commercial" in plain else 1


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


class _Hub:
    """Asks a hub in threads that nobody waits for longer than a while: one that hangs keeps nothing."""

    def __init__(self, kind: TaskKind, stopped: Callable[[], bool]) -> None:
        self._kind, self._stopped = kind, stopped
        self._end = time.monotonic() + HUB_SECONDS
        self._answered = threading.Event()
        self._found: list[Candidate] | None = None
        threading.Thread(target=self._search, name="model-search", daemon=True).start()

    def _search(self) -> None:
        from tui_tuner.models.hub.huggingface import reachable

        try:
            if reachable():
                self._found = sources.of_hub(self._kind, set())
        except TunerError:
            self._found = []  # it answers, and refuses to search: what is known can be fetched nonetheless
        finally:
            self._answered.set()

    def reached(self) -> bool:
        """Whether the hub answers; waits for it."""
        while not self._stopped() and time.monotonic() < self._end:
            if self._answered.wait(0.1):
                break
        return self._found is not None

    def models(self, known: set[str]) -> Iterator[Candidate]:
        """Those it named that are of use and not known yet, with their configs, as they come."""
        wanted = [one for one in self._found or () if one.key.lower() not in known]
        wanted = [one for one in wanted if suits(one.kind, self._kind) < 2][:MOST_DESCRIBED]
        told: list[Candidate | None] = [None] * len(wanted)
        done = [threading.Event() for _unused in wanted]

        def ask(place: int) -> None:
            try:
                told[place] = sources.described(wanted[place])
            finally:
                done[place].set()

        for place in range(len(wanted)):
            threading.Thread(target=ask, args=(place,), name="model-asked", daemon=True).start()
        for place, event in enumerate(done):
            while not event.wait(0.1) and not self._stopped() and time.monotonic() < self._end:
                pass
            found = told[place]
            if found is not None:
                yield found


def smaller_that_fits(choices: Sequence[Choice], than: Choice) -> Choice | None:
    """The largest that fits and is smaller than one that does not; None without one."""
    fitting = [one for one in choices if one.fits and (one.parameters or 0) < (than.parameters or 0)]
    real = [one for one in fitting if one.origin != PACKAGE] or fitting
    return max(real, key=lambda one: (one.speaks is not False, one.parameters or 0), default=None)
