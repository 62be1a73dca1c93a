"""Searches a hub for models in threads, so that a hub that hangs delays nothing beyond a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from tui_tuner.config.kinds.tasks import TaskKind
from tui_tuner.errors import TunerError
from tui_tuner.guiding.models import candidates as sources
from tui_tuner.guiding.models.candidates import Candidate
from tui_tuner.guiding.models.explanations import rank_model_kind

HUB_SECONDS = 20.0  # for all requests together
MOST_DESCRIBED = 6  # models whose configs are requested


class HubSearch:
    """A search of a hub, started at once in the background."""

    def __init__(self, kind: TaskKind, stopped: Callable[[], bool]) -> None:
        self._kind, self._stopped = kind, stopped
        self._end = time.monotonic() + HUB_SECONDS
        self._answered = threading.Event()
        self._found: list[Candidate] | None = None
        # Daemon threads: a request that hangs must not keep the process from ending
        threading.Thread(target=self._search_hub, name="model-search", daemon=True).start()

    def _search_hub(self) -> None:
        from tui_tuner.models.hub.huggingface import is_hub_reachable

        try:
            if is_hub_reachable():
                self._found = sources.search_hub_models(self._kind, set())
        except TunerError:
            # Reachable, but the search failed: known models can be downloaded nonetheless
            self._found = []
        finally:
            self._answered.set()

    @property
    def is_silent(self) -> bool:
        """Return whether the search has ended without reaching the hub; does not wait."""
        return self._answered.is_set() and self._found is None

    def wait_until_reached(self) -> bool:
        """Wait for the search; return whether the hub was reached."""
        while not self._stopped() and time.monotonic() < self._end:
            if self._answered.wait(0.1):
                break
        return self._found is not None

    def fetch_models(self, known: set[str]) -> Iterator[Candidate]:
        """Yield models found that suit the task and are not known yet, with their configs, in order."""
        wanted = [one for one in self._found or () if one.candidate_key.lower() not in known]
        # Each description is a request of its own, so only the most used models are described
        wanted = [one for one in wanted if rank_model_kind(one.kind, self._kind) < 2][:MOST_DESCRIBED]
        told: list[Candidate | None] = [None] * len(wanted)
        done = [threading.Event() for _unused in wanted]

        def fetch_config(place: int) -> None:
            try:
                told[place] = sources.fetch_candidate_config(wanted[place])
            finally:
                done[place].set()

        # All requests are sent at once, and their answers are yielded in the hub's order
        for place in range(len(wanted)):
            threading.Thread(target=fetch_config, args=(place,), name="model-asked", daemon=True).start()
        for place, event in enumerate(done):
            while not event.wait(0.1) and not self._stopped() and time.monotonic() < self._end:
                pass
            found = told[place]
            if found is not None:
                yield found
