"""Keys of the screen of models that fetch a model, stop fetching, and handle failures."""

from __future__ import annotations

from dataclasses import replace

from textual.widgets import Input

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.base_models.fetches import FAILED
from tui_tuner.ui.base_models.model_rows import ModelRow
from tui_tuner.ui.screens.models.model_lookups import ModelLookups
from tui_tuner.ui.widgets.models.fetch_line import FetchLine


class FetchingScreen(ModelLookups):
    """A screen of models with keys that fetch the model under the cursor."""

    def take_model(self, row: ModelRow) -> None:
        """Put a model into the draft."""
        raise NotImplementedError

    def action_login(self) -> None:
        """Show who is logged in, and log in or out."""
        from tui_tuner.ui.screens.models.login import LoginDialog

        def refresh_if_changed(changed: bool | None) -> None:
            if changed:
                self.action_again()

        self.app.push_screen(LoginDialog(self.hunt.source), refresh_if_changed)

    def action_again(self) -> None:
        """Repeat the search, and forget earlier failures."""
        self.hunt.forget_failures()
        self.list_here()
        self.search_hub(again=True)
        self.draw_models()

    def action_fetch(self) -> None:
        """Fetch the model under the cursor, after a question with its size and terms."""
        row = self.model_list.chosen_row
        if row is None:
            return
        if not row.on_hub or (row.is_here and row.whole):
            self.tuner_app.show_notice(_("This model is already on this machine."))
            return
        job = self.tuner_app.fetches.find_job(row.name, row.source)
        if job is not None and job.is_active:
            self.tuner_app.show_notice(_("This model is already being fetched, or is in the queue."))
            return
        # A failed download is answered with its reason: fetching again at once would most likely fail again.
        if job is not None and job.state == FAILED and job.error is not None:
            self._ask_after_failure(row, job.error)
            return
        self._ask_fetch(row)

    def _ask_fetch(self, row: ModelRow) -> None:
        from tui_tuner.ui.screens.models.model_dialogs import FETCH, TAKE, FetchDialog

        def fetch_by_answer(answer: str | None) -> None:
            if answer not in (FETCH, TAKE):
                return
            self.queue_fetch(row)
            if answer == TAKE:
                self.take_model(row)

        self.app.push_screen(FetchDialog(row, self.hunt.told.get(row.key)), fetch_by_answer)

    def queue_fetch(self, row: ModelRow) -> None:
        """Add a model to the queue of downloads."""
        told = self.hunt.told.get(row.key)
        self.tuner_app.fetches.add_job(row.name, row.source, row.revision, told.total if told else None)
        self.query_one(FetchLine).show_progress()
        self.refresh_bindings()
        self.draw_models()

    def fetch_ended(self) -> None:
        """Update the list after the end of a download."""
        for row in self.model_list.rows.values():
            # What the hub told of a partial model includes how much of it is here, which is out of date.
            self.hunt.told.pop(row.key, None) if row.is_partial else None
        self.list_here()
        self.query_one(FetchLine).show_progress()
        self.refresh_bindings()
        self.draw_models()

    def _ask_after_failure(self, row: ModelRow, error: Exception) -> None:
        from tui_tuner.ui.screens.models import model_dialogs

        def retry_by_answer(answer: str | None) -> None:
            if answer == model_dialogs.FETCH:
                self.queue_fetch(row)
            elif answer == model_dialogs.LOGIN:
                self.action_login()
            elif answer == model_dialogs.DISK:
                self._show_largest()

        self.app.push_screen(model_dialogs.FailedDialog(row, error), retry_by_answer)

    def _show_largest(self) -> None:
        """List the models of this machine, largest first."""
        self._look_for("")
        self.hunt.view = replace(self.hunt.view, order="largest")
        self.draw_models()

    def _look_for(self, query: str) -> None:
        self.query_one("#query", Input).value = query
        self.hunt.query = query
        self.search_hub()
        self.draw_models(query)

    def action_leave_off(self) -> None:
        """Stop fetching the model under the cursor, or else the one that is being fetched."""
        fetches, row = self.tuner_app.fetches, self.model_list.chosen_row
        job = fetches.find_job(row.name, row.source) if row is not None else None
        job = job if job is not None and job.is_active else fetches.current
        if job is not None:
            fetches.cancel_job(job)
            words = _(
                "{name}: fetching stopped. What has arrived is kept; f resumes it.",
                name=one_line(job.name, 60),
            )
            self.tuner_app.show_notice(words)
            self.draw_models()
