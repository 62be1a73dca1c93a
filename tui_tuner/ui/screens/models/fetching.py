"""Keys of the screen of models that fetch a model, stop fetching, and handle failures."""

from __future__ import annotations

from dataclasses import replace

from textual.widgets import Input

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.base_models.fetches import FAILED
from tui_tuner.ui.base_models.rows import Row
from tui_tuner.ui.screens.models.looking import LookingScreen
from tui_tuner.ui.widgets.models.fetch_line import FetchLine


class FetchingScreen(LookingScreen):
    """A screen of models with keys that fetch the model under the cursor."""

    def take(self, row: Row) -> None:
        """Put a model into the draft."""
        raise NotImplementedError

    def action_login(self) -> None:
        """Show who is logged in, and log in or out."""
        from tui_tuner.ui.screens.models.login import LoginDialog

        def answered(changed: bool | None) -> None:
            if changed:
                self.action_again()

        self.app.push_screen(LoginDialog(self.hunt.source), answered)

    def action_again(self) -> None:
        """Repeat the search, and forget earlier failures."""
        self.hunt.forget_failures()
        self.list_here()
        self.ask(again=True)
        self.draw()

    def action_fetch(self) -> None:
        """Fetch the model under the cursor, after a question with its size and terms."""
        row = self.models.chosen
        if row is None:
            return
        if not row.on_hub or (row.here and row.whole):
            self.tuner.say(_("This model is already on this machine."))
            return
        job = self.tuner.fetches.of(row.name, row.source)
        if job is not None and job.active:
            self.tuner.say(_("This model is already being fetched, or is in the queue."))
            return
        # A failed download is answered with its reason: fetching again at once would most likely fail again.
        if job is not None and job.state == FAILED and job.error is not None:
            self._say_failed(row, job.error)
            return
        self._ask_fetch(row)

    def _ask_fetch(self, row: Row) -> None:
        from tui_tuner.ui.screens.models.dialogs import FETCH, TAKE, FetchDialog

        def answered(answer: str | None) -> None:
            if answer not in (FETCH, TAKE):
                return
            self.fetch(row)
            if answer == TAKE:
                self.take(row)

        self.app.push_screen(FetchDialog(row, self.hunt.told.get(row.key)), answered)

    def fetch(self, row: Row) -> None:
        """Add a model to the queue of downloads."""
        told = self.hunt.told.get(row.key)
        self.tuner.fetches.add(row.name, row.source, row.revision, told.total if told else None)
        self.query_one(FetchLine).look()
        self.refresh_bindings()
        self.draw()

    def fetch_ended(self) -> None:
        """Update the list after the end of a download."""
        for row in self.models.rows.values():
            # What the hub told of a partial model includes how much of it is here, which is out of date.
            self.hunt.told.pop(row.key, None) if row.partial else None
        self.list_here()
        self.query_one(FetchLine).look()
        self.refresh_bindings()
        self.draw()

    def _say_failed(self, row: Row, error: Exception) -> None:
        from tui_tuner.ui.screens.models import dialogs

        def answered(answer: str | None) -> None:
            if answer == dialogs.FETCH:
                self.fetch(row)
            elif answer == dialogs.LOGIN:
                self.action_login()
            elif answer == dialogs.DISK:
                self._show_largest()

        self.app.push_screen(dialogs.FailedDialog(row, error), answered)

    def _show_largest(self) -> None:
        """List the models of this machine, largest first."""
        self._look_for("")
        self.hunt.view = replace(self.hunt.view, order="largest")
        self.draw()

    def _look_for(self, query: str) -> None:
        self.query_one("#query", Input).value = query
        self.hunt.query = query
        self.ask()
        self.draw(query)

    def action_leave_off(self) -> None:
        """Stop fetching the model under the cursor, or else the one that is being fetched."""
        fetches, row = self.tuner.fetches, self.models.chosen
        job = fetches.of(row.name, row.source) if row is not None else None
        job = job if job is not None and job.active else fetches.current
        if job is not None:
            fetches.leave(job)
            words = _(
                "{name}: fetching stopped. What has arrived is kept; f resumes it.",
                name=one_line(job.name, 60),
            )
            self.tuner.say(words)
            self.draw()
