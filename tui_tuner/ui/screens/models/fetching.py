"""Fetching from the screen of models: asked about first, left off, and what can be done where it failed."""

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
    """Keys that fetch the model under the cursor."""

    def take(self, row: Row) -> None:
        """Take a model into the draft."""
        raise NotImplementedError

    def action_login(self) -> None:
        """Who is logged in; log in or out."""
        from tui_tuner.ui.screens.models.login import LoginDialog

        def answered(changed: bool | None) -> None:
            if changed:
                self.action_again()

        self.app.push_screen(LoginDialog(self.hunt.source), answered)

    def action_again(self) -> None:
        """Ask the hub once more."""
        self.hunt.forget_failures()
        self.list_here()
        self.ask(again=True)
        self.draw()

    def action_fetch(self) -> None:
        """Fetch the model under the cursor, once one has seen what that takes."""
        row = self.models.chosen
        if row is None:
            return
        if not row.on_hub or (row.here and row.whole):
            self.tuner.say(_("It is on this machine already."))
            return
        job = self.tuner.fetches.of(row.name, row.source)
        if job is not None and job.active:
            self.tuner.say(_("It is being fetched, or waits for its turn."))
            return
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
        """Fetch a model now, or when its turn comes."""
        told = self.hunt.told.get(row.key)
        self.tuner.fetches.add(row.name, row.source, row.revision, told.total if told else None)
        self.query_one(FetchLine).look()
        self.refresh_bindings()
        self.draw()

    def fetch_ended(self) -> None:
        """A model has come, or will not: what is on this machine has changed."""
        for row in self.models.rows.values():
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
        """The models of this machine, the largest first."""
        self._look_for("")
        self.hunt.view = replace(self.hunt.view, order="largest")
        self.draw()

    def _look_for(self, query: str) -> None:
        self.query_one("#query", Input).value = query
        self.hunt.query = query
        self.ask()
        self.draw(query)

    def action_leave_off(self) -> None:
        """Fetch no more of the model under the cursor, or else of the one that is fetched now."""
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
