"""Settings: a form made from `RunConfig`, checked as one types; start the run, or keep it as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.widgets import ContentSwitcher, OptionList, Static
from textual.widgets.option_list import Option

from tui_tuner.config.load import build_config, dump_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.runs.store import RunStore
from tui_tuner.text import one_line
from tui_tuner.ui import form
from tui_tuner.ui.presets import preset_rows, preset_values
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.field import Field, FieldChanged, explanation
from tui_tuner.ui.widgets.memory_bar import breakdown
from tui_tuner.ui.widgets.plan_line import Looked, PlanLine
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import column, mark, marked, safe


class Page(VerticalScroll, inherit_bindings=False):
    """The fields of a section; the arrow keys go from field to field instead of scrolling."""


class SettingsScreen(TunerScreen):
    """Sections on the left, their fields in the middle, help for the one in focus beside or below."""

    HELP_TEXT = _(
        "• marks a value that differs from its default, ✗ one that is wrong; the line below says why.\n"
        "Down at the end of a section goes to the next. Esc goes to the list of sections, then back.\n"
        "An empty field is `null`. Lists and mappings are written as in YAML: [a, b], {a: b}."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("ctrl+r", "start", _("Start"), key_display="^r"),
        Binding("ctrl+s", "save", _("Save YAML"), key_display="^s"),
        Binding("ctrl+o", "preset", _("Preset"), key_display="^o"),
        Binding("f2", "advanced", _("Advanced")),
        Binding("f3", "plan", _("Plan")),
        Binding("down", "step(1)", _("Next field"), show=False),
        Binding("up", "step(-1)", _("Field before"), show=False),
    ]
    DEFAULT_CSS = """
    SettingsScreen #area { height: 1fr; }
    SettingsScreen #nav-box { width: 17; border-top: solid $line; border-title-color: $dim; }
    SettingsScreen #nav { height: 1fr; padding: 0 1; }
    SettingsScreen #fields { width: 1fr; height: 1fr; border-top: solid $line; border-title-color: $dim; }
    SettingsScreen #fields > Page { height: 1fr; }
    SettingsScreen #help { dock: bottom; height: 7; }
    SettingsScreen.-wide #help { dock: right; width: 40; height: 1fr; }
    SettingsScreen #help Static { height: auto; }
    SettingsScreen #parts { display: none; border-top: solid $line; margin-top: 1; }
    SettingsScreen.-wide #parts { display: block; }
    """

    def __init__(self, preset: str = "") -> None:
        super().__init__()
        self._preset = preset
        self._advanced = False
        self._untyped: dict[str, str] = {}
        self._problems: dict[str, str] = {}

    @property
    def values(self) -> dict[str, Any]:
        """The draft that is edited; the app keeps it while screens come and go."""
        return self.tuner.draft

    def crumb(self) -> Content:
        name = Content.assemble("  ", (safe(self._preset).plain, "$dim")) if self._preset else Content("")
        return Content.assemble(_("New run"), name)

    def body(self) -> ComposeResult:
        with Horizontal(id="area"):
            with VerticalScroll(id="help", classes="panel", can_focus=False):
                yield Static(id="explanation")
                yield Static(id="parts")
            with VerticalScroll(id="nav-box", can_focus=False):
                yield OptionList(
                    *(Option(Content(label), key) for key, label in form.SECTIONS.items()), id="nav"
                )
            yield ContentSwitcher(id="fields")
        yield PlanLine()

    async def on_mount(self) -> None:
        self.query_one("#help").border_title = Content(_("About this setting"))
        nav = self.query_one("#nav", OptionList)
        nav.highlighted = 0
        await self._show_section("model")
        self.set_focus(nav)
        self._check()

    # Sections

    @on(OptionList.OptionHighlighted, "#nav")
    async def _section_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option.id:
            await self._show_section(event.option.id)

    @on(OptionList.OptionSelected, "#nav")
    def _section_chosen(self) -> None:
        fields = list(self._page().query(Field))
        if fields:
            self._focus_field(fields[0])

    async def _show_section(self, section: str) -> None:
        switcher = self.query_one("#fields", ContentSwitcher)
        page_id = f"page-{section.replace('.', '-')}"
        if not switcher.query(f"#{page_id}"):
            await self._mount_page(section, page_id)
        switcher.current = page_id
        switcher.border_title = Content(_(form.section_words(section)))
        hidden = sum(option.advanced for option in form.section_options(section))
        note = _("F2: {n} more", n=hidden) if hidden and not self._advanced else ""
        switcher.border_subtitle = Content(note)
        self._mark_fields()

    async def _mount_page(self, section: str, page_id: str) -> None:
        fields = [
            Field(option, form.value_of(self.values, option))
            for option in form.section_options(section)
            if self._advanced or not option.advanced or form.is_set(self.values, option)
        ]
        page = Page(*fields, id=page_id, can_focus=False)
        await self.query_one("#fields", ContentSwitcher).mount(page)

    async def _rebuild(self) -> None:
        """Begin again from the draft: another preset, or advanced fields shown or folded."""
        section = self._section()
        await self.query_one("#fields", ContentSwitcher).remove_children()
        await self._show_section(section)
        self._check()

    def _section(self) -> str:
        highlighted = self.query_one("#nav", OptionList).highlighted or 0
        return list(form.SECTIONS)[highlighted]

    def _page(self) -> Page:
        switcher = self.query_one("#fields", ContentSwitcher)
        return switcher.query_one(f"#{switcher.current}", Page)

    # Fields

    @on(FieldChanged)
    def _field_changed(self, message: FieldChanged) -> None:
        if message.sentence:
            self._untyped[message.option.path] = message.sentence
        else:
            self._untyped.pop(message.option.path, None)
            form.put(self.values, message.option.path, message.value)
        self._check()
        self._explain(message.option.path)

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        for node in event.widget.ancestors:
            if isinstance(node, Field):
                self._explain(node.option.path)
                return
        self.query_one("#explanation", Static).update(_sections_words())

    def _explain(self, path: str) -> None:
        option = form.options()[path]
        sentence = form.problem_of(path, self._problems)
        self.query_one("#explanation", Static).update(explanation(option, sentence))

    def _check(self) -> None:
        """Ask the config about the draft, and mark what it finds."""
        self._problems = form.problems(self.values, self._untyped)
        self._mark_fields()
        counts: dict[str, int] = {}
        for path in self._problems:
            counts[form.section_of(path)] = counts.get(form.section_of(path), 0) + 1
        nav = self.query_one("#nav", OptionList)
        for index, (key, label) in enumerate(form.SECTIONS.items()):
            mark = (f" ✗{counts[key]}", "$error") if key in counts else ""
            nav.replace_option_prompt_at_index(index, Content.assemble(label, mark))
        count = len(self._problems)
        words = _n("✗ {n} problem", "✗ {n} problems", count, n=count)
        ready = Content(_("✓ ready, ^r starts it")).stylize("$success")
        self.query_one(TopBar).say(Content(words).stylize("$error") if count else ready)
        line = self.query_one(PlanLine)
        if count:
            line.clear()
        else:
            line.ask(self.values)

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        parts = self.query_one("#parts", Static)
        parts.border_title = Content(_("Memory at its peak"))
        parts.update(breakdown(message.look.estimate, 36) if message.look else Content(""))

    def _mark_fields(self) -> None:
        for field in self.query(Field):
            sentence = form.problem_of(field.option.path, self._problems)
            field.mark(form.is_set(self.values, field.option), sentence)

    def action_step(self, by: int) -> None:
        """To the next field, or the one before; at the end of a section, to its neighbour."""
        fields = list(self._page().query(Field))
        here = next((index for index, field in enumerate(fields) if field.has_focus_within), None)
        if here is None:
            return
        if 0 <= here + by < len(fields):
            self._focus_field(fields[here + by])
        else:
            self.run_worker(self._neighbour(by), exclusive=True)

    async def _neighbour(self, by: int) -> None:
        sections = list(form.SECTIONS)
        index = sections.index(self._section()) + by
        if not 0 <= index < len(sections):
            return
        await self._show_section(sections[index])
        self.query_one("#nav", OptionList).highlighted = index
        fields = list(self._page().query(Field))
        self._focus_field(fields[0] if by > 0 else fields[-1])

    def _focus_field(self, field: Field) -> None:
        editors = [widget for widget in field.query("Input, FieldSelect, Switch") if widget.focusable]
        if editors:
            self.set_focus(editors[0])
            field.scroll_visible(animate=False)

    # Keys

    def action_back(self) -> None:
        nav = self.query_one("#nav", OptionList)
        if self.focused is nav or self.focused is None:
            super().action_back()
        else:
            self.set_focus(nav)

    async def action_advanced(self) -> None:
        """Show or fold the advanced fields."""
        self._advanced = not self._advanced
        await self._rebuild()
        self.set_focus(self.query_one("#nav"))

    def action_plan(self) -> None:
        """The numbers before the run; what is changed there is changed here."""
        from tui_tuner.ui.screens.plan import PlanScreen

        if self._config() is not None:
            self.app.push_screen(PlanScreen(), self._planned)

    async def _planned(self, _nothing: None) -> None:
        await self._rebuild()
        self.set_focus(self.query_one("#nav"))

    def action_preset(self) -> None:
        """Begin again from a preset."""
        from tui_tuner.ui.screens.dialogs import Choose

        answers = [(p.name, column(p.name, 20).rstrip(), one_line(p.description, 120)) for p in preset_rows()]
        answers.append(("", _("defaults"), _("every value at its default")))
        self.app.push_screen(
            Choose(_("Preset"), Content(_("Begin again from")), answers), self._preset_chosen
        )

    async def _preset_chosen(self, name: str | None) -> None:
        if name is None:
            return
        try:
            chosen = [preset for preset in preset_rows() if preset.name == name]
            self.tuner.draft = preset_values(chosen[0]) if chosen else {}
        except TunerError as error:
            self.tuner.say(str(error), "error")
            return
        self._untyped.clear()
        await self._rebuild()

    def _config(self) -> RunConfig | None:
        """The config if all is well; else says what is wrong, and goes there."""
        self._check()
        if self._problems:
            path, sentence = next(iter(self._problems.items()))
            self.tuner.say(sentence, "error", 8)
            self.query_one("#nav", OptionList).highlighted = list(form.SECTIONS).index(form.section_of(path))
            return None
        return build_config(self.values)

    def action_save(self) -> None:
        from tui_tuner.ui.screens.dialogs import AskPath

        if self._config() is not None:
            question = _("Keep these settings as YAML in")
            self.app.push_screen(AskPath(_("Save"), question, "my-run.yaml"), self._save_answered)

    def _save_answered(self, name: str | None) -> None:
        config = self._config() if name else None
        if not name or config is None:
            return
        path = Path(name).expanduser()
        if path.exists():
            from tui_tuner.ui.screens.dialogs import Confirm

            question = _("{path} exists. Write over it?", path=one_line(path))
            dialog = Confirm(_("Save"), question, _("Write over it"), _("Keep it"))
            self.app.push_screen(dialog, lambda yes: self._write(path, config) if yes else None)
        else:
            self._write(path, config)

    def _write(self, path: Path, config: RunConfig) -> None:
        text = f"# tui-tuner run {path.name}\n" + dump_config(config, changed_only=True)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            self.tuner.say(f"{one_line(path)}: {error.strerror}", "error")
            return
        self.tuner.say(_("Saved. Run it with: tui-tuner run {path}", path=one_line(path)), timeout=8)

    def action_start(self) -> None:
        """Make the run and show its live pane."""
        from tui_tuner.config.values import with_values
        from tui_tuner.launch.beforehand import check_beforehand

        config = self._config()
        if config is None:
            return
        own_folder = isinstance(self.values.get("output"), dict) and self.values["output"].get("folder")
        store = RunStore(config.output.folder) if own_folder else self.tuner.store
        try:
            config = with_values(config, {"output.folder": str(store.root)})
            check_beforehand(config)
            folder = store.create(config)
        except TunerError as error:
            self.tuner.say(str(error), "error", 10)
            return
        from tui_tuner.ui.screens.run import RunScreen

        self.tuner.launch(folder)
        self.app.switch_screen(RunScreen(folder))


def _sections_words() -> Content:
    start = _("Every value has a default, so a run can start at once: {key}.", key=mark("^r"))
    keys = _(
        "{enter} goes into a section, {escape} comes back. {advanced} shows the advanced settings too.",
        enter=mark("Enter"),
        escape=mark("Esc"),
        advanced=mark("F2"),
    )
    auto = Content(_("`auto` is worked out when the run starts; the run shows what it became and why."))
    return Content("\n").join((marked(start), marked(keys), auto.stylize("$dim")))
