"""The lookups of the screen of models: models of this machine, searches of a hub, memory estimates.

All of them run in threads (`base_models.newest_first`), so keys never wait for them.
"""

from __future__ import annotations

import time
from pathlib import Path

from textual import on
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.models.hub.kinds import HUGGINGFACE, SOURCES
from tui_tuner.ui.base_models.fetches import is_expected_error
from tui_tuner.ui.base_models.fits import UNKNOWN, Fit, find_row_fit
from tui_tuner.ui.base_models.model_description import ModelSummary
from tui_tuner.ui.base_models.model_rows import ModelRow, find_folders_near, list_embedded_models
from tui_tuner.ui.base_models.model_search import ModelSearch
from tui_tuner.ui.base_models.newest_first import NewestFirstThreads
from tui_tuner.ui.form_values import find_draft_value, list_options
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.models.model_list import ModelList, Scrolled

_TYPED = 0.4  # seconds without a key before the hub is searched
_REST = 0.15  # seconds that the cursor rests before the models in sight are looked up
_LOOKING = 3  # threads that look up models
_SEARCHING = 3  # searches at a time: one that a slow hub has not answered must not delay the next


class LocalListed(Message):
    """The models of this machine."""

    def __init__(self, rows: list[ModelRow]) -> None:
        super().__init__()
        self.rows = rows


class HubSearched(Message):
    """The results of a search, or its error."""

    def __init__(self, source: str, query: str, rows: list[ModelRow], error: str) -> None:
        super().__init__()
        self.source, self.query, self.rows, self.error = source, query, rows, error


class ModelLookedUp(Message):
    """The hub's description of a model, or the error."""

    def __init__(self, key: str, told: ModelSummary | None, failed: str) -> None:
        super().__init__()
        self.key, self.told, self.failed = key, told, failed


class FitEstimated(Message):
    """The memory estimate of a model."""

    def __init__(self, key: str, fit: Fit) -> None:
        super().__init__()
        self.key, self.fit = key, fit


class HubReached(Message):
    """The address of the hub that is searched; `offline` if the environment forbids network access."""

    def __init__(self, source: str, endpoint: str, offline: bool) -> None:
        super().__init__()
        self.source, self.endpoint, self.offline = source, endpoint, offline


class ModelLookups(TunerScreen):
    """A search and a list of models, with the lookups for them. Subclasses draw the results."""

    def __init__(self) -> None:
        super().__init__()
        self.hunt = ModelSearch()
        self.since = 0.0  # when the hub was asked
        self._timer: Timer | None = None
        self._resting: Timer | None = None
        self._searches: NewestFirstThreads[tuple[str, str]] = NewestFirstThreads(
            self._search_in_thread, self._search_failed, _SEARCHING
        )
        self._looks: NewestFirstThreads[str] = NewestFirstThreads(self._look_up, self._look_failed, _LOOKING)
        # One estimate at a time: it computes, and threads would only take turns.
        self._plans: NewestFirstThreads[str] = NewestFirstThreads(self._estimate_fit, self._plan_failed, 1)
        self._lists: NewestFirstThreads[str] = NewestFirstThreads(self._list_local, self._list_failed, 1)

    def on_mount(self) -> None:
        source = (
            find_draft_value(self.tuner_app.draft, "model.hub")
            if "model.hub" in list_options()
            else HUGGINGFACE
        )
        self.hunt.source = source if source in SOURCES else HUGGINGFACE
        self.name_hub()
        self._lists.request_only([self.hunt.source])

    def on_unmount(self) -> None:
        for lookers in (self._searches, self._looks, self._plans, self._lists):
            lookers.close()

    @property
    def model_list(self) -> ModelList:
        return self.query_one(ModelList)

    def draw_models(self, cursor: str = "") -> None:
        """Draw the list with what is known so far."""
        raise NotImplementedError

    def say_search(self) -> None:
        """Show the state of the search."""
        raise NotImplementedError

    def name_hub(self, endpoint: str = "", offline: bool = False) -> None:
        """Show the name and the address of the hub that is searched."""
        raise NotImplementedError

    # The models of this machine

    def list_here(self) -> None:
        """List the models of this machine again."""
        self._lists.request_only([self.hunt.source])

    def _list_local(self, source: str) -> None:
        from tui_tuner.ui.base_models import hubs

        self.post_message(HubReached(source, hubs.find_hub_endpoint(source), hubs.is_hub_offline()))
        here = hubs.list_local_hub_models()
        names = {row.name for row in here}
        near = [row for row in find_folders_near(self._find_run_folders()) if row.name not in names]
        self.post_message(LocalListed([*here, *list_embedded_models(), *near]))

    @on(HubReached)
    def _show_hub(self, message: HubReached) -> None:
        if message.source == self.hunt.source:
            self.name_hub(message.endpoint, message.offline)

    def _find_run_folders(self) -> list[Path]:
        """Return folders of runs: the final model of one can be the base of the next."""
        # The newest ones are enough: each is looked into for a model, and a long list would delay all the
        # others.
        return [folder.path for folder in self.tuner_app.store.list_runs()][:20]

    def _list_failed(self, _source: str, error: Exception) -> None:
        self._report_fault(error)
        self.post_message(LocalListed(list_embedded_models()))

    @on(LocalListed)
    def _take_local(self, message: LocalListed) -> None:
        self.hunt.list_here(message.rows)
        self.draw_models()

    # Searching

    @on(Input.Changed, "#query")
    def _search_later(self, event: Input.Changed) -> None:
        self.hunt.query = event.value.strip()
        self.model_list.held = False
        if self._timer is not None:
            self._timer.stop()
        # Every key starts the wait again, so that the hub is not asked for each letter.
        self._timer = self.set_timer(_TYPED, self.search_hub)
        self.draw_models()

    def search_hub(self, again: bool = False) -> None:
        """Search the hub, unless it was asked the same last."""
        if self._timer is not None:
            self._timer.stop()
        hunt = self.hunt
        if not hunt.query or (hunt.query == hunt.asked and not again and not hunt.error):
            return
        hunt.asked, hunt.error, self.since = hunt.query, "", time.monotonic()
        self._searches.request_only([(hunt.source, hunt.query)])
        self.say_search()

    def _search_in_thread(self, wanted: tuple[str, str]) -> None:
        from tui_tuner.ui.base_models import hubs

        source, query = wanted
        self.post_message(HubSearched(source, query, hubs.search_chosen_hub(query, source), ""))

    def _search_failed(self, wanted: tuple[str, str], error: Exception) -> None:
        if not is_expected_error(error):
            self._report_fault(error)
        why = error.what if isinstance(error, TunerError) else format_error_words(error)
        self.post_message(HubSearched(*wanted, [], why))

    @on(HubSearched)
    def _take_results(self, message: HubSearched) -> None:
        hunt = self.hunt
        # Several searches may be on their way, and a slow one may answer last.
        if (message.source, message.query) != (hunt.source, hunt.asked):
            return
        hunt.error = message.error
        if not message.error:
            hunt.found, hunt.answered = message.rows, message.query
            # The hub answers, so earlier failures of single models are worth another try.
            hunt.forget_failures()
        self.draw_models()

    # Looking at models

    @on(Scrolled)
    def look_up_later(self) -> None:
        """Look up the models in sight, once the cursor rests."""
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(_REST, self._want_in_sight)

    def _want_in_sight(self) -> None:
        # The timer may fire after the screen has closed.
        if self.is_attached:
            in_sight = self.model_list.in_sight
            self._looks.request_only(self.hunt.to_ask(in_sight))
            self._plans.request_only(self.hunt.to_plan(in_sight))

    def _look_up(self, key: str) -> None:
        """Look a model up on its hub; runs in a thread."""
        from tui_tuner.ui.base_models import hubs

        row = self.hunt.shown.get(key)
        if row is not None:
            try:
                self.post_message(ModelLookedUp(key, hubs.describe_listed_model(row), ""))
            # Expected failures (no network, no such model) are shown with the model, not as a fault.
            except (TunerError, OSError) as error:
                self.post_message(ModelLookedUp(key, None, format_error_words(error)))

    def _look_failed(self, key: str, error: Exception) -> None:
        self._report_fault(error)
        self.post_message(ModelLookedUp(key, None, format_error_words(error)))

    @on(ModelLookedUp)
    def _take_description(self, message: ModelLookedUp) -> None:
        self.hunt.take_answer(message.key, message.told, message.failed)
        self.draw_models()

    def _estimate_fit(self, key: str) -> None:
        """Estimate whether a model fits; runs in a thread."""
        row, told, tuner = self.hunt.shown.get(key), self.hunt.told.get(key), self.tuner_app
        if row is not None:
            config = told.config if told is not None else None
            fit = find_row_fit(tuner.draft, row, tuner.card, tuner.store.root, config)
            self.post_message(FitEstimated(key, fit))

    def _plan_failed(self, key: str, error: Exception) -> None:
        self._report_fault(error)
        self.post_message(FitEstimated(key, Fit(UNKNOWN, why=format_error_words(error))))

    @on(FitEstimated)
    def _take_fit(self, message: FitEstimated) -> None:
        self.hunt.fits[message.key] = message.fit
        self.draw_models()

    def _report_fault(self, error: Exception) -> None:
        """Report an unexpected error as a fault; runs in a thread."""
        if not is_expected_error(error):
            self.tuner_app.fault_outside(error)
