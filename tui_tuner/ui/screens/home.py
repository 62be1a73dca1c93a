"""Home: the runs there are, and what one can begin."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui.presets import PresetRow, about, preset_rows, preset_values
from tui_tuner.ui.screens.rows import RowsRead, RowsScreen
from tui_tuner.ui.widgets.run_list import RunList
from tui_tuner.ui.words import block, column, mark, marked, safe


class HomeScreen(RowsScreen):
    """Runs above, presets below; a beginner is told what to press."""

    HELP_TEXT = _(
        "Enter on a preset opens its settings; on a run, its live pane.\n"
        "A run is one folder: its config, its journal, its checkpoints and the model it made.\n"
        "The demo needs no network and no GPU."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", _("New run")),
        Binding("d", "data", _("Data")),
        Binding("r", "runs", _("All runs")),
        Binding("tab", "app.focus_next", _("Runs/presets")),
        Binding("ctrl+p", "app.command_palette", _("Commands"), key_display="^p"),
        Binding("q", "app.quit", _("Quit")),
    ]
    DEFAULT_CSS = """
    HomeScreen #lead { height: auto; padding: 1 1 0 1; }
    HomeScreen #lists { height: 1fr; margin-top: 1; }
    HomeScreen #runs { height: auto; min-height: 5; max-height: 50%; }
    HomeScreen #start { height: 1fr; }
    HomeScreen #presets { height: auto; max-height: 100%; }
    HomeScreen #about { height: auto; max-height: 12; color: $dim; margin-top: 1; display: none; }
    HomeScreen.-wide.-tall #about { display: block; }
    HomeScreen #welcome { height: auto; display: none; }
    HomeScreen.-empty #welcome { display: block; }
    HomeScreen.-empty #run-list { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._presets: list[PresetRow] = []
        self._first = True
        self._title = ""

    def body(self) -> ComposeResult:
        yield Static(id="lead")
        with Vertical(id="lists"):
            with Vertical(classes="panel", id="runs") as runs:
                runs.border_title = Content(_("Runs"))
                yield Static(_welcome(), id="welcome")
                yield RunList(id="run-list")
            with Vertical(classes="panel", id="start") as start:
                start.border_title = Content(_("Begin with a preset"))
                yield OptionList(id="presets")
                yield Static(id="about")

    def on_mount(self) -> None:
        self.query_one("#lead", Static).update(_lead())
        self.call_after_refresh(self._fill_presets)

    def on_resize(self) -> None:
        self._draw_presets()

    # Runs

    @on(RowsRead)
    def _rows_read(self, message: RowsRead) -> None:
        found = message.found
        self.set_class(not found, "-empty")
        runs = self.query_one(RunList)
        runs.show(found)
        count = _n("{n} run", "{n} runs", len(found), n=len(found))
        title = Content.assemble(_("Runs"), (f"  {count} · {safe(self.tuner.store.root, 40).plain}", "$dim"))
        if title.plain != self._title:
            self._title = title.plain
            self.query_one("#runs").border_title = title
        if self._first:
            self._first = False
            self.set_focus(runs if found else self.query_one("#presets"))

    @on(OptionList.OptionSelected, "#run-list")
    def _open(self) -> None:
        chosen = self.query_one(RunList).chosen
        if chosen is not None:
            self.tuner.open_run(chosen.folder)

    # Presets

    def _fill_presets(self) -> None:
        self._presets = preset_rows()
        presets = self.query_one("#presets", OptionList)
        presets.add_options(Option(Content(p.name), str(index)) for index, p in enumerate(self._presets))
        presets.add_option(Option(Content(""), "new"))
        presets.highlighted = 0
        self._draw_presets()

    def _draw_presets(self) -> None:
        presets = self.query_one("#presets", OptionList)
        width = max(20, self.size.width - 5)
        names = min(28, max((len(p.name) for p in self._presets), default=8) + 3)
        for index, preset in enumerate(self._presets):
            words = one_line(preset.description.splitlines()[0] if preset.description else "")
            line = Content.assemble(
                (column(preset.name, names), "bold"), (column(words, width - names), "$dim")
            )
            presets.replace_option_prompt_at_index(index, line)
        words = _("Model, data and method of your own, starting from the defaults")
        line = Content.assemble((column(_("new run"), names), "bold"), (column(words, width - names), "$dim"))
        if presets.option_count:
            presets.replace_option_prompt_at_index(presets.option_count - 1, line)

    @on(OptionList.OptionHighlighted, "#presets")
    def _about(self, event: OptionList.OptionHighlighted) -> None:
        index = event.option_index
        text = about(self._presets[index]) if index < len(self._presets) else ""
        self.query_one("#about", Static).update(block(text))

    @on(OptionList.OptionSelected, "#presets")
    def _begin(self, event: OptionList.OptionSelected) -> None:
        if event.option_index >= len(self._presets):
            self.action_new()
            return
        try:
            self.tuner.draft = preset_values(self._presets[event.option_index])
        except TunerError as error:
            self.tuner.say(str(error), "error")
            return
        self._settings(self._presets[event.option_index].name)

    def action_new(self) -> None:
        self.tuner.draft = {}
        self._settings("")

    def _settings(self, name: str) -> None:
        from tui_tuner.ui.screens.settings import SettingsScreen

        self.app.push_screen(SettingsScreen(name))

    def action_data(self) -> None:
        from tui_tuner.ui.screens.data import DataScreen

        self.app.push_screen(DataScreen())

    def action_runs(self) -> None:
        from tui_tuner.ui.screens.runs import RunsScreen

        self.app.push_screen(RunsScreen())


def _lead() -> Content:
    return Content.assemble(
        _("Fine-tune language models in the terminal."), " ", (_("Pick a run or a preset."), "$dim")
    )


def _welcome() -> Content:
    demo = _(
        "Press {enter} on {demo} below: a small model inside this package learns to turn a list of "
        "attributes into an advertising sentence, and shows its answers before and after. No download, "
        "no GPU.",
        enter=mark("Enter"),
        demo=mark("demo", "bold"),
    )
    data = _(
        "{key} looks at your own data: how it is read, what becomes of each row, which tokens are trained.",
        key=mark("d"),
    )
    own = _("{key} sets up a run of your own. Every setting explains itself.", key=mark("n"))
    lines = (Content.assemble((_("No runs yet."), "bold"), " ", marked(demo)), marked(data), marked(own))
    return Content("\n").join(lines)
