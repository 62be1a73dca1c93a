"""A dialog to log in to a hub with a token, which is never shown, and to log out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui_tuner.config.advice import format_error_words
from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import MODELSCOPE, Account
from tui_tuner.text import one_line
from tui_tuner.ui.base_models.fetches import is_expected_error
from tui_tuner.ui.base_models.model_rows import format_hub_name
from tui_tuner.ui.hosting import get_tuner_app
from tui_tuner.ui.screen_words import make_safe_block

_PAGES = {MODELSCOPE: "/my/myaccesstoken"}
_LOGOUT, _CLOSE = "logout", "close"


class LoginChecked(Message):
    """The account that is logged in now, or the error."""

    def __init__(self, who: Account | None, error: str, page: str, changed: bool) -> None:
        super().__init__()
        self.who, self.error, self.page, self.changed = who, error, page, changed


class LoginDialog(ModalScreen[bool]):
    """Gives whether the account has changed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", _("Close"))]

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source
        self._changed = False
        self._turn = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(_("Log in to {hub}", hub=format_hub_name(self._source)))
            yield Static("", id="who")
            yield Input(password=True, id="token", placeholder=_("an access token; Enter logs in"))
            yield Static("", id="said")
            yield OptionList(Option(Content(_("Log out")), _LOGOUT), Option(Content(_("Close")), _CLOSE))

    def on_mount(self) -> None:
        self._show_login_status(_("Checking the login…"))
        self._ask_in_thread(self._find_account)

    def _show_login_status(self, words: str, style: str = "$dim") -> None:
        self.query_one("#said", Static).update(make_safe_block(words).stylize(style))

    def _ask_in_thread(self, work: Callable[[], tuple[Account | None, bool]]) -> None:
        """Ask the hub in a thread; the result of an earlier request is dropped."""
        self._turn += 1
        threading.Thread(target=self._ask_hub, args=(work, self._turn), name="login", daemon=True).start()

    def _ask_hub(self, work: Callable[[], tuple[Account | None, bool]], turn: int) -> None:
        from tui_tuner.ui.base_models import hubs

        who, changed, error, page = None, False, "", ""
        try:
            page = hubs.find_hub_endpoint(self._source) + _PAGES.get(self._source, "/settings/tokens")
            who, changed = work()
        except Exception as problem:
            error = format_error_words(problem)
            if not is_expected_error(problem):
                # The text of an unknown error may contain the token that was sent, so it is not shown
                error = _("The hub's client failed: {kind}.", kind=type(problem).__name__)
                get_tuner_app(self.app).fault_outside(RuntimeError(error))
        # A slow answer to an earlier request must not replace a newer one.
        if turn == self._turn:
            with suppress(RuntimeError):  # the screen is closing
                self.post_message(LoginChecked(who, error, page, changed))

    def _find_account(self) -> tuple[Account | None, bool]:
        from tui_tuner.ui.base_models import hubs

        return hubs.find_hub_login(self._source), False

    @on(Input.Submitted, "#token")
    def _log_in(self, event: Input.Submitted) -> None:
        """Log in with the typed token."""
        token = event.value.strip()
        # Before anything is done with it: the token must not stay on the screen if the hub is slow or fails.
        event.input.clear()
        if not token:
            return
        self._show_login_status(_("Checking the token with {hub}…", hub=format_hub_name(self._source)))

        def check_token() -> tuple[Account | None, bool]:
            from tui_tuner.ui.base_models import hubs

            return hubs.log_in_user(token, self._source), True

        self._ask_in_thread(check_token)

    @on(LoginChecked)
    def _show_account(self, message: LoginChecked) -> None:
        self._changed = self._changed or message.changed
        where = _("Create tokens at {page}.", page=one_line(message.page)) if message.page else ""
        if message.error:
            self._show_login_status(message.error, "$error")
            self.query_one("#who", Static).update(make_safe_block(where).stylize("$dim"))
            return
        self._show_login_status(_("The token is stored by the hub's own client; it is never shown."))
        lines = [make_safe_block(self._describe_account(message.who)), make_safe_block(where).stylize("$dim")]
        self.query_one("#who", Static).update(Content("\n").join(lines))

    def _describe_account(self, who: Account | None) -> str:
        if who is None:
            return _("Not logged in: gated and private models cannot be fetched.")
        origin = one_line(who.origin, 60)
        if not who.name:
            return _(
                "There is a token from {origin}; the hub could not be asked for its owner.", origin=origin
            )
        return _(
            "Logged in as {name}, with the token from {origin}.", name=one_line(who.name, 40), origin=origin
        )

    @on(OptionList.OptionSelected)
    def _close_or_log_out(self, event: OptionList.OptionSelected) -> None:
        if event.option.id == _CLOSE:
            self.action_close()
            return
        self._show_login_status(_("Logging out…"))

        def drop_token() -> tuple[Account | None, bool]:
            from tui_tuner.ui.base_models import hubs

            hubs.log_out_user(self._source)
            return hubs.find_hub_login(self._source), True

        self._ask_in_thread(drop_token)

    def action_close(self) -> None:
        self.dismiss(self._changed)
