"""The command palette: actions that are available everywhere, and runs, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.fuzzy import Matcher

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.hosting import Tuner, get_tuner_app
from tui_tuner.ui.screen_words import make_safe_line

_MOST_RUNS = 20


class TunerCommands(Provider):
    """Actions of the app and of the screen, and the newest runs."""

    @property
    def tuner(self) -> Tuner:
        return get_tuner_app(self.app)

    def _list_actions(self) -> list[tuple[str, str, Callable[[], object]]]:
        # Bindings that a screen inherits from Textual's Screen, such as those for focus, are no commands.
        own = {item.action for item in type(self.screen).BINDINGS if isinstance(item, Binding)}
        found: list[tuple[str, str, Callable[[], object]]] = [
            (
                binding.binding.description,
                _("On this screen"),
                partial(self._run_action, binding.binding.action),
            )
            for binding in self.screen.active_bindings.values()
            if binding.binding.action in own
            and not binding.binding.action.startswith("app.")
            and binding.enabled
            and binding.binding.description
        ]
        app = self.tuner
        found += [
            (_("Home"), _("Runs and presets"), self._go_home),
            (_("Models"), _("Search, download and choose a base model"), self._open_models),
            (_("Chat"), _("Talk to a run or another model"), self._open_chat),
            (_("Light or dark"), _("Change the theme; the choice is remembered"), app.action_toggle_theme),
            (_("Help"), _("Explain this screen and its keys"), app.action_help),
            (_("Quit"), _("Leave; asks first while a run is active"), partial(self._run_action, "app.quit")),
        ]
        # A binding of the screen wins over a general action of the same name.
        seen: set[str] = set()
        return [item for item in found if not (item[0] in seen or seen.add(item[0]))]  # type: ignore[func-returns-value]

    async def _run_action(self, action: str) -> None:
        await self.app.run_action(action, self.screen)

    def _go_home(self) -> None:
        while len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def _open_models(self) -> None:
        from tui_tuner.ui.screens.models.open_models import open_models_screen

        open_models_screen(self.tuner)

    def _open_chat(self) -> None:
        from tui_tuner.ui.screens.chat.open_chat import open_chat_from

        open_chat_from(self.app)

    async def discover(self) -> Hits:
        for name, help_text, command in self._list_actions():
            yield DiscoveryHit(Content(name), command, text=name, help=_make_plain(help_text))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for name, help_text, command in self._list_actions():
            if (score := matcher.match(name)) > 0:
                yield Hit(
                    score, _highlight_match(matcher, name), command, text=name, help=_make_plain(help_text)
                )
        for index, folder in enumerate(self.tuner.store.list_runs()):
            if index >= _MOST_RUNS:
                break
            name = one_line(folder.name)
            if (score := matcher.match(name)) > 0:
                title = Content.assemble((_("Run"), "$dim"), " ", make_safe_line(name))
                yield Hit(score, title, partial(self.tuner.open_run, folder), text=name)


def _make_plain(text: str) -> str:
    """Return text that is not read as markup; the palette accepts `Content` too, despite its type hint."""
    return cast(str, Content(text))


def _highlight_match(matcher: Matcher, name: str) -> Content:
    """Highlight a name like `matcher.highlight`, which would read it as markup."""
    content = Content(name)
    for offset in matcher.fuzzy_search.match(matcher.query, name)[1]:
        content = content.stylize(matcher.match_style, offset, offset + 1)
    return content
