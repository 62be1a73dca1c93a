"""Asks a hub for models, in threads that nobody waits for longer than a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from tui_tuner.config.kinds import TaskKind
from tui_tuner.errors import TunerError
from tui_tuner.guiding.models import candidates as sources
from tui_tuner.guiding.models.candidates import Candidate
from tui_tuner.guiding.models.worth import suits

HUB_SECONDS = 20.0  # for all that a hub is asked
MOST_DESCRIBED = 6  # models of a hub whose configs are asked for


class AskedHub:
    """What a hub answers; one that hangs keeps nothing."""

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

    @property
    def silent(self) -> bool:
        """Whether it is known by now that the hub does not answer."""
        return self._answered.is_set() and self._found is None

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
