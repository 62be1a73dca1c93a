"""What the screen of models waits for: models of this machine, answers of a hub, and whether models fit.

All of it is done in threads of its own (`base_models.lookers`), so keys never wait.
"""

from __future__ import annotations

import time
from pathlib import Path

from textual import on
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.models.hub.kinds import HUGGINGFACE, SOURCES
from tui_tuner.ui.base_models.fetches import is_expected
from tui_tuner.ui.base_models.fits import UNKNOWN, Fit, fit_of
from tui_tuner.ui.base_models.hunt import Hunt
from tui_tuner.ui.base_models.lookers import Lookers
from tui_tuner.ui.base_models.rows import Row, embedded, folders_near
from tui_tuner.ui.base_models.told import Told
from tui_tuner.ui.form import at, options
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.models.model_list import ModelList, Scrolled

_TYPED = 0.4  # seconds without a key before the hub is asked
_REST = 0.15  # seconds the cursor rests before a model is looked at
_LOOKING = 3  # threads that ask about models
_SEARCHING = 3  # searches under way: one that a slow hub has not answered must not hold up the next


class Listed(Message):
    """The models of this machine."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.rows = rows


class Searched(Message):
    """What a hub found, or why it did not."""

    def __init__(self, source: str, query: str, rows: list[Row], error: str) -> None:
        super().__init__()
        self.source, self.query, self.rows, self.error = source, query, rows, error


class Looked(Message):
    """What was told of a model, or why nothing was."""

    def __init__(self, key: str, told: Told | None, failed: str) -> None:
        super().__init__()
        self.key, self.told, self.failed = key, told, failed


class Planned(Message):
    """Whether a model fits."""

    def __init__(self, key: str, fit: Fit) -> None:
        super().__init__()
        self.key, self.fit = key, fit


class Reached(Message):
    """The address of the hub that is searched; `offline` where the environment forbids to ask it."""

    def __init__(self, source: str, endpoint: str, offline: bool) -> None:
        super().__init__()
        self.source, self.endpoint, self.offline = source, endpoint, offline


class LookingScreen(TunerScreen):
    """A search and a list of models, and all that is asked for them. Subclasses draw."""

    def __init__(self) -> None:
        super().__init__()
        self.hunt = Hunt()
        self.since = 0.0  # when the hub was asked
        self._timer: Timer | None = None
        self._resting: Timer | None = None
        self._searches: Lookers[tuple[str, str]] = Lookers(self._search, self._search_failed, _SEARCHING)
        self._looks: Lookers[str] = Lookers(self._look, self._look_failed, _LOOKING)
        self._plans: Lookers[str] = Lookers(self._plan, self._plan_failed, 1)
        self._lists: Lookers[str] = Lookers(self._list, self._list_failed, 1)

    def on_mount(self) -> None:
        source = at(self.tuner.draft, "model.hub") if "model.hub" in options() else HUGGINGFACE
        self.hunt.source = source if source in SOURCES else HUGGINGFACE
        self.name_hub()
        self._lists.want([self.hunt.source])

    def on_unmount(self) -> None:
        for lookers in (self._searches, self._looks, self._plans, self._lists):
            lookers.close()

    @property
    def models(self) -> ModelList:
        return self.query_one(ModelList)

    def draw(self, cursor: str = "") -> None:
        """Draw the list as it is known now."""
        raise NotImplementedError

    def say_search(self) -> None:
        """Say what the search is doing."""
        raise NotImplementedError

    def name_hub(self, endpoint: str = "", offline: bool = False) -> None:
        """Say which hub is searched, and where."""
        raise NotImplementedError

    # The models of this machine

    def list_here(self) -> None:
        """List the models of this machine anew."""
        self._lists.want([self.hunt.source])

    def _list(self, source: str) -> None:
        from tui_tuner.ui.base_models import hubs

        self.post_message(Reached(source, hubs.endpoint(source), hubs.is_offline()))
        here = hubs.here()
        names = {row.name for row in here}
        near = [row for row in folders_near(self._runs()) if row.name not in names]
        self.post_message(Listed([*here, *embedded(), *near]))

    @on(Reached)
    def _reached(self, message: Reached) -> None:
        if message.source == self.hunt.source:
            self.name_hub(message.endpoint, message.offline)

    def _runs(self) -> list[Path]:
        """Folders of runs: a model that one has made can be the next one's base."""
        return [folder.path for folder in self.tuner.store.runs()][:20]

    def _list_failed(self, _source: str, error: Exception) -> None:
        self._fault(error)
        self.post_message(Listed(embedded()))

    @on(Listed)
    def _listed(self, message: Listed) -> None:
        self.hunt.list_here(message.rows)
        self.draw()

    # Searching

    @on(Input.Changed, "#query")
    def _typed(self, event: Input.Changed) -> None:
        self.hunt.query = event.value.strip()
        self.models.held = False
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_TYPED, self.ask)
        self.draw()

    def ask(self, again: bool = False) -> None:
        """Ask the hub, unless it was asked that last."""
        if self._timer is not None:
            self._timer.stop()
        hunt = self.hunt
        if not hunt.query or (hunt.query == hunt.asked and not again and not hunt.error):
            return
        hunt.asked, hunt.error, self.since = hunt.query, "", time.monotonic()
        self._searches.want([(hunt.source, hunt.query)])
        self.say_search()

    def _search(self, wanted: tuple[str, str]) -> None:
        from tui_tuner.ui.base_models import hubs

        source, query = wanted
        self.post_message(Searched(source, query, hubs.search(query, source), ""))

    def _search_failed(self, wanted: tuple[str, str], error: Exception) -> None:
        if not is_expected(error):
            self._fault(error)
        why = error.what if isinstance(error, TunerError) else words_of(error)
        self.post_message(Searched(*wanted, [], why))

    @on(Searched)
    def _searched(self, message: Searched) -> None:
        hunt = self.hunt
        if (message.source, message.query) != (hunt.source, hunt.asked):
            return
        hunt.error = message.error
        if not message.error:
            hunt.found, hunt.answered = message.rows, message.query
            hunt.forget_failures()
        self.draw()

    # Looking at models

    @on(Scrolled)
    def look_on(self) -> None:
        """Look at what is in sight, once the cursor rests."""
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(_REST, self._want)

    def _want(self) -> None:
        if self.is_attached:
            in_sight = self.models.in_sight
            self._looks.want(self.hunt.to_ask(in_sight))
            self._plans.want(self.hunt.to_plan(in_sight))

    def _look(self, key: str) -> None:
        """In a thread: what a model is."""
        from tui_tuner.ui.base_models import hubs

        row = self.hunt.shown.get(key)
        if row is not None:
            try:
                self.post_message(Looked(key, hubs.describe(row), ""))
            except (TunerError, OSError) as error:
                self.post_message(Looked(key, None, words_of(error)))

    def _look_failed(self, key: str, error: Exception) -> None:
        self._fault(error)
        self.post_message(Looked(key, None, words_of(error)))

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        self.hunt.hear(message.key, message.told, message.failed)
        self.draw()

    def _plan(self, key: str) -> None:
        """In a thread: whether a model fits."""
        row, told, tuner = self.hunt.shown.get(key), self.hunt.told.get(key), self.tuner
        if row is not None:
            config = told.config if told is not None else None
            fit = fit_of(tuner.draft, row, tuner.card, tuner.store.root, config)
            self.post_message(Planned(key, fit))

    def _plan_failed(self, key: str, error: Exception) -> None:
        self._fault(error)
        self.post_message(Planned(key, Fit(UNKNOWN, why=words_of(error))))

    @on(Planned)
    def _planned(self, message: Planned) -> None:
        self.hunt.fits[message.key] = message.fit
        self.draw()

    def _fault(self, error: Exception) -> None:
        """In a thread: what nobody expects is told, and noted."""
        if not is_expected(error):
            self.tuner.fault_outside(error)
