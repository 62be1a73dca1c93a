"""The home screen: runs, the guide, drafts, and presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.preset_rows import PresetRow, list_preset_rows, read_preset_comment, read_preset_values
from tui_tuner.ui.screen_words import (
    fit_screen_column,
    format_age,
    make_safe_block,
    make_safe_line,
    mark_placeholder_value,
    render_marked_sentence,
)
from tui_tuner.ui.screens.run_rows import RowsRead, RowsScreen, describe_run_count
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.run_list import RunHeads, RunList

if TYPE_CHECKING:
    from tui_tuner.ui.editing.draft_files import Draft

_GUIDE = 1  # lines above the drafts in the list: the guide's


class DraftsRead(Message):
    """The saved drafts, newest first."""

    def __init__(self, found: list[Draft]) -> None:
        super().__init__()
        self.found = found


class HomeScreen(RowsScreen):
    """Runs above, presets below; without runs, a welcome text says what to press."""

    HELP_TEXT = _(
        "The guide asks five questions and sets up a run from the answers: g, or Enter on its line.\n"
        "Enter on a preset opens its settings; on a run, its live pane.\n"
        "Settings that were never started are kept as a draft: c continues it, Del deletes it.\n"
        "A run is one folder: its config, its journal, its checkpoints and its final model.\n"
        "The demo needs no network and no GPU."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "guide", _("Guide")),
        Binding("c", "go_on", _("Continue")),
        Binding("n", "new", _("New run")),
        Binding("d", "data", _("Data")),
        Binding("m", "models", _("Models")),
        Binding("r", "runs", _("All runs")),
        Binding("tab", "app.focus_next", _("Runs/presets"), show=False),
        Binding("delete", "forget", _("Delete draft"), show=False),
        Binding("q", "app.quit", _("Quit")),
    ]
    DEFAULT_CSS = """
    HomeScreen #lead { height: auto; padding: 1 1 0 1; }
    HomeScreen #lists { height: 1fr; margin-top: 1; }
    HomeScreen #runs { height: auto; min-height: 5; max-height: 50%; }
    HomeScreen.-tall #runs { height: 1fr; max-height: 100%; }
    HomeScreen.-tall #start { height: auto; max-height: 75%; }
    HomeScreen.-empty #runs { height: auto; }
    HomeScreen.-empty #start { height: 1fr; max-height: 100%; }
    HomeScreen #start { height: 1fr; }
    HomeScreen #presets { height: auto; max-height: 100%; }
    HomeScreen #about { height: auto; max-height: 12; color: $dim; margin-top: 1; display: none; }
    HomeScreen.-wide.-tall #about { display: block; }
    HomeScreen #welcome { height: auto; display: none; }
    HomeScreen.-empty #welcome { display: block; }
    HomeScreen.-empty #run-list, HomeScreen.-empty RunHeads { display: none; }
    HomeScreen #run-list { height: auto; }
    HomeScreen #runs RunHeads { padding: 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._presets: list[PresetRow] = []
        self._drafts: list[Draft] = []
        self._first = True
        self._title = ""

    def compose_body(self) -> ComposeResult:
        yield Static(id="lead")
        with Vertical(id="lists"):
            with Vertical(classes="panel", id="runs") as runs:
                runs.border_title = Content(_("Runs"))
                yield Static(_build_welcome(), id="welcome")
                yield RunHeads()
                yield RunList(id="run-list")
            with Vertical(classes="panel", id="start") as start:
                start.border_title = Content(_("Follow the guide, or start from a preset"))
                yield OptionList(id="presets")
                yield Static(id="about")

    def on_mount(self) -> None:
        self.query_one("#lead", Static).update(_build_lead())
        # Lines are cut to the width of the screen, which is unknown before the first layout.
        self.call_after_refresh(self._fill_presets)

    def on_resize(self) -> None:
        self._draw_presets()

    def on_screen_resume(self) -> None:
        # Textual calls the handler of the base class as well, which reads the runs.
        self.call_after_refresh(self._read_drafts)

    # Drafts

    @work(thread=True, group="drafts", exclusive=True)
    def _read_drafts(self) -> None:
        from tui_tuner.ui.editing.draft_files import read_drafts

        # What was typed last may still wait to be written; the list must hold it.
        self.tuner_app.drafts.flush_draft()
        found = read_drafts()
        if not get_current_worker().is_cancelled:
            self.post_message(DraftsRead(found))

    @on(DraftsRead)
    def _show_drafts(self, message: DraftsRead) -> None:
        before, self._drafts = [draft.id for draft in self._drafts], message.found
        self.refresh_bindings()
        # Filling the list again would move its scroll position, so the same drafts are only drawn again.
        if before != [draft.id for draft in self._drafts]:
            self._fill_presets()
        else:
            self._draw_presets()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._drafts) if action in ("go_on", "forget") else True

    def action_go_on(self) -> None:
        """Continue the newest draft."""
        self._continue_draft(self._drafts[0])

    def _continue_draft(self, draft: Draft) -> None:
        self.tuner_app.drafts.resume_draft(draft)
        self._open_settings(draft.name)

    def action_forget(self) -> None:
        """Delete the draft under the cursor, after a question."""
        from tui_tuner.ui.screens.dialogs import ConfirmDialog

        # The list holds the guide, then the drafts, then the presets, then "new run".
        index = (self.query_one("#presets", OptionList).highlighted or 0) - _GUIDE
        if not 0 <= index < len(self._drafts):
            return
        draft = self._drafts[index]
        question = _("Delete the draft “{draft}”?", draft=_describe_draft(draft))

        def discard_draft(yes: bool | None) -> None:
            if yes:
                self.tuner_app.drafts.discard_draft(draft)
                self._read_drafts()

        self.app.push_screen(ConfirmDialog(_("Draft"), question, _("Delete it"), _("Keep it")), discard_draft)

    # Runs

    @on(RowsRead)
    def _show_runs(self, message: RowsRead) -> None:
        found = message.found
        self.set_class(not found, "-empty")
        runs = self.query_one(RunList)
        runs.show_rows(found)
        self.query_one(RunHeads).show_for(runs)
        count = describe_run_count(len(found), message.more)
        title = Content.assemble(
            _("Runs"), (f"  {count} · {make_safe_line(self.tuner_app.store.root, 40).plain}", "$dim")
        )
        # Setting a border title repaints the panel even if it is the same, and this comes every two seconds.
        if title.plain != self._title:
            self._title = title.plain
            self.query_one("#runs").border_title = title
        # Only with the first reading it is known whether there are runs to put the cursor on.
        if self._first:
            self._first = False
            self.set_focus(runs if found else self.query_one("#presets"))

    @on(LongList.Selected, "#run-list")
    def _open_run(self) -> None:
        chosen = self.query_one(RunList).chosen_row
        if chosen is not None:
            self.tuner_app.open_run(chosen.folder)

    # Presets

    def _fill_presets(self) -> None:
        self._presets = self._presets or list_preset_rows()
        presets = self.query_one("#presets", OptionList)
        under = presets.highlighted_option if presets.highlighted else None  # the first is where it began
        kept = under.id if under else None
        presets.clear_options()
        presets.add_option(Option(Content(""), "guide"))
        presets.add_options(Option(Content(""), f"draft {draft.id}") for draft in self._drafts)
        presets.add_options(Option(Content(p.name), str(index)) for index, p in enumerate(self._presets))
        presets.add_option(Option(Content(""), "new"))
        ids = [option.id for option in presets.options]
        presets.highlighted = ids.index(kept) if kept in ids else 0
        self.query_one("#start").border_title = Content(
            _("Follow the guide, continue your draft, or start from a preset")
            if self._drafts
            else _("Follow the guide, or start from a preset")
        )
        self._draw_presets()

    def _draw_presets(self) -> None:
        presets = self.query_one("#presets", OptionList)
        # Options are drawn with the columns of this width, so they are made again whenever the screen changes
        # its size.
        width = max(20, self.size.width - 5)
        names = max(14, min(28, max((len(p.name) for p in self._presets), default=8) + 3))
        if not presets.option_count:
            return
        words = _("five questions, then the training starts")
        line = Content.assemble(
            ("g ", "bold $accent"),
            (fit_screen_column(_("Guide me"), names - 2), "bold $primary"),
            fit_screen_column(words, width - names),
        )
        presets.replace_option_prompt_at_index(0, line)
        for index, draft in enumerate(self._drafts, _GUIDE):
            words = _("{draft}, {when}", draft=_describe_draft(draft), when=format_age(draft.saved))
            mark = ("✎ " + fit_screen_column(_("your draft"), names - 2), "bold $accent")
            presets.replace_option_prompt_at_index(
                index, Content.assemble(mark, fit_screen_column(words, width - names))
            )
        for index, preset in enumerate(self._presets, _GUIDE + len(self._drafts)):
            words = one_line(preset.description.splitlines()[0] if preset.description else "")
            line = Content.assemble(
                (fit_screen_column(preset.name, names), "bold"),
                (fit_screen_column(words, width - names), "$dim"),
            )
            presets.replace_option_prompt_at_index(index, line)
        words = _("Your own model, data and method, from the defaults")
        line = Content.assemble(
            (fit_screen_column(_("new run"), names), "bold"),
            (fit_screen_column(words, width - names), "$dim"),
        )
        if presets.option_count:
            presets.replace_option_prompt_at_index(presets.option_count - 1, line)

    @on(OptionList.OptionHighlighted, "#presets")
    def _show_about(self, event: OptionList.OptionHighlighted) -> None:
        index = event.option_index - _GUIDE - len(self._drafts)
        text = read_preset_comment(self._presets[index]) if 0 <= index < len(self._presets) else ""
        self.query_one("#about", Static).update(make_safe_block(text))

    @on(RunList.Divided)
    def _draw_heads(self) -> None:
        self.query_one(RunHeads).show_for(self.query_one(RunList))

    @on(OptionList.OptionSelected, "#presets")
    def _begin_chosen(self, event: OptionList.OptionSelected) -> None:
        if not event.option_index:
            self.action_guide()
            return
        index = event.option_index - _GUIDE - len(self._drafts)
        if index < 0:
            # A negative index counts from the end: -1 is the last draft, just above the first preset.
            self._continue_draft(self._drafts[index])
            return
        if index >= len(self._presets):
            self.action_new()
            return
        preset = self._presets[index]
        try:
            values = read_preset_values(preset)
        except TunerError as error:
            self.tuner_app.show_notice(format_error_words(error), "error")
            return
        self.tuner_app.drafts.begin_draft(values, preset.name)
        self._open_settings(preset.name)

    def action_guide(self) -> None:
        """Open the guide: five questions, each with the recommended answer selected."""
        from tui_tuner.ui.screens.guide.open_guide import open_guide

        open_guide(self.app)

    def action_new(self) -> None:
        """Start from the defaults; the settings typed before stay among the drafts."""
        self.tuner_app.drafts.begin_draft({})
        self._open_settings("")

    def _open_settings(self, name: str) -> None:
        self.tuner_app.open_settings(name)

    def action_data(self) -> None:
        self.tuner_app.open_data()

    def action_models(self) -> None:
        """Open the models of this machine and of a hub; choosing one starts a run with it."""
        from tui_tuner.ui.screens.models.open_models import open_models_screen

        open_models_screen(self.tuner_app)

    def action_runs(self) -> None:
        from tui_tuner.ui.screens.runs import RunsScreen

        self.app.push_screen(RunsScreen())


def _describe_draft(draft: Draft) -> str:
    """Return data, task and method of a draft on one line."""
    return one_line(" · ".join(part for part in (*draft.about, draft.name) if part), 200)


def _build_lead() -> Content:
    return Content.assemble(
        _("Fine-tune language models in the terminal."),
        " ",
        (_("Pick a run, the guide or a preset."), "$dim"),
    )


def _build_welcome() -> Content:
    guide = _(
        "Press {enter}: the guide asks five questions about what your model should learn, chooses all "
        "settings, explains them, and trains.",
        enter=mark_placeholder_value("Enter"),
    )
    demo = _(
        "{demo} below trains a small model without data, download or GPU.",
        demo=mark_placeholder_value("demo", "bold"),
    )
    own = _(
        "{d} looks at your data, {n} sets up a run of your own.",
        d=mark_placeholder_value("d"),
        n=mark_placeholder_value("n"),
    )
    lines = (
        Content.assemble((_("No runs yet."), "bold"), " ", render_marked_sentence(guide)),
        render_marked_sentence(demo),
        render_marked_sentence(own),
    )
    return Content("\n").join(lines)
