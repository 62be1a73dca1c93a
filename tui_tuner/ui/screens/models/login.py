"""Who is logged in to a hub; logging in with a token, which is never shown."""

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

from tui_tuner.config.advice import words_of
from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import MODELSCOPE, Who
from tui_tuner.text import one_line
from tui_tuner.ui.base_models.fetches import is_expected
from tui_tuner.ui.base_models.rows import hub_words
from tui_tuner.ui.hosting import tuner_of
from tui_tuner.ui.words import block

_PAGES = {MODELSCOPE: "/my/myaccesstoken"}
_LOGOUT, _CLOSE = "logout", "close"


class Answered(Message):
    """Who is logged in now, or why that is not known."""

    def __init__(self, who: Who | None, error: str, page: str, changed: bool) -> None:
        super().__init__()
        self.who, self.error, self.page, self.changed = who, error, page, changed


class LoginDialog(ModalScreen[bool]):
    """Gives whether who is logged in has changed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", _("Close"))]

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source
        self._changed = False
        self._turn = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(_("Log in to {hub}", hub=hub_words(self._source)))
            yield Static("", id="who")
            yield Input(password=True, id="token", placeholder=_("an access token; Enter logs in"))
            yield Static("", id="said")
            yield OptionList(Option(Content(_("Log out")), _LOGOUT), Option(Content(_("Close")), _CLOSE))

    def on_mount(self) -> None:
        self._say(_("Asking who is logged in…"))
        self._begin(self._who)

    def _say(self, words: str, style: str = "$dim") -> None:
        self.query_one("#said", Static).update(block(words).stylize(style))

    def _begin(self, work: Callable[[], tuple[Who | None, bool]]) -> None:
        """Ask the hub in a thread; what an earlier question brings is passed over."""
        self._turn += 1
        threading.Thread(target=self._ask, args=(work, self._turn), name="login", daemon=True).start()

    def _ask(self, work: Callable[[], tuple[Who | None, bool]], turn: int) -> None:
        from tui_tuner.ui.base_models import hubs

        who, changed, error, page = None, False, "", ""
        try:
            page = hubs.endpoint(self._source) + _PAGES.get(self._source, "/settings/tokens")
            who, changed = work()
        except Exception as problem:
            error = words_of(problem)
            if not is_expected(problem):  # its text is anybody's, and may hold what was sent
                error = _("The hub's client failed: {kind}.", kind=type(problem).__name__)
                tuner_of(self.app).fault_outside(RuntimeError(error))
        if turn == self._turn:
            with suppress(RuntimeError):  # the screen is closing
                self.post_message(Answered(who, error, page, changed))

    def _who(self) -> tuple[Who | None, bool]:
        from tui_tuner.ui.base_models import hubs

        return hubs.who(self._source), False

    @on(Input.Submitted, "#token")
    def _entered(self, event: Input.Submitted) -> None:
        """The token leaves the screen before anything is done with it."""
        token = event.value.strip()
        event.input.clear()
        if not token:
            return
        self._say(_("Asking {hub} whose token this is…", hub=hub_words(self._source)))

        def login() -> tuple[Who | None, bool]:
            from tui_tuner.ui.base_models import hubs

            return hubs.login(token, self._source), True

        self._begin(login)

    @on(Answered)
    def _answered(self, message: Answered) -> None:
        self._changed = self._changed or message.changed
        where = _("Tokens are made at {page}.", page=one_line(message.page)) if message.page else ""
        if message.error:
            self._say(message.error, "$error")
            self.query_one("#who", Static).update(block(where).stylize("$dim"))
            return
        self._say(_("The token is kept where the hub's own client keeps it; it is never shown."))
        lines = [block(self._who_words(message.who)), block(where).stylize("$dim")]
        self.query_one("#who", Static).update(Content("\n").join(lines))

    def _who_words(self, who: Who | None) -> str:
        if who is None:
            return _("Nobody is logged in: gated and private models cannot be fetched.")
        origin = one_line(who.origin, 60)
        if not who.name:
            return _("There is a token, from {origin}; the hub could not be asked whose.", origin=origin)
        return _(
            "Logged in as {name}, by the token from {origin}.", name=one_line(who.name, 40), origin=origin
        )

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option.id == _CLOSE:
            self.action_close()
            return
        self._say(_("Logging out…"))

        def logout() -> tuple[Who | None, bool]:
            from tui_tuner.ui.base_models import hubs

            hubs.logout(self._source)
            return hubs.who(self._source), True

        self._begin(logout)

    def action_close(self) -> None:
        self.dismiss(self._changed)
