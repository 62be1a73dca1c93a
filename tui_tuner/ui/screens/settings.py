"""Settings: a form made from `RunConfig`, checked as one types; start the run, or keep it as YAML.

What is typed is kept as a draft, so leaving loses nothing. "Ready" is said only once the check that a start
makes has passed for the values as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from tui_tuner.config.options import known_field
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.ui import form
from tui_tuner.ui.checking import Refusal, refusal_of
from tui_tuner.ui.screens.choosing import choosable, choose_for
from tui_tuner.ui.screens.editing.beginning import make_run
from tui_tuner.ui.screens.editing.sections import SectionsForm
from tui_tuner.ui.screens.offers import put_values
from tui_tuner.ui.widgets.form.about import About
from tui_tuner.ui.widgets.form.costs import MethodCosts
from tui_tuner.ui.widgets.form.field import FieldChanged
from tui_tuner.ui.widgets.form.pages import FormPages
from tui_tuner.ui.widgets.form.plan_line import Looked, PlanLine
from tui_tuner.ui.widgets.form.sections import Sections
from tui_tuner.ui.widgets.form.start_check import Checked, StartCheck
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import safe


class SettingsScreen(SectionsForm):
    """Sections on the left, their fields in the middle, help for the one in focus beside or below."""

    HELP_TEXT = _(
        "• marks a value that differs from its default, ✗ one that is wrong; the line below says why.\n"
        "Down at the end of a section goes to the next. Esc goes to the list of sections, then back.\n"
        "An empty field is `null`. Lists and mappings are written as in YAML: [a, b], {a: b}."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("ctrl+r", "start", _("Start"), key_display="^r"),
        Binding("ctrl+s", "save", _("Save"), key_display="^s"),
        Binding("ctrl+o", "begin_from", _("Open"), key_display="^o", show=False),
        Binding("ctrl+e", "edit_yaml", _("YAML"), key_display="^e", show=False, priority=True),
        Binding("ctrl+z", "undo", _("Undo"), key_display="^z", show=False),
        Binding("ctrl+y", "redo", _("Redo"), key_display="^y", show=False),
        Binding("f2", "advanced", _("Advanced")),
        Binding("f3", "plan", _("Plan")),
        Binding("f4", "mend", _("Mend")),
        Binding("f4", "columns", _("Columns"), show=False),
        Binding("f5", "other_task", _("Task")),
        Binding("f6", "choose", _("Choose")),
        Binding("down", "step(1)", _("Next field"), show=False),
        Binding("up", "step(-1)", _("Previous field"), show=False),
    ]
    DEFAULT_CSS = """
    SettingsScreen #area { height: 1fr; }
    SettingsScreen #help { dock: bottom; height: 7; }
    SettingsScreen.-wide #help { dock: right; width: 40; height: 1fr; }
    SettingsScreen.-wide #parts { display: block; }
    """

    def __init__(self, preset: str = "", told: Refusal | None = None, mend: bool = False) -> None:
        """Show the draft.

        Args:
            preset: What it began as.
            told: Why a run with these values has failed; it stands at its field until a value changes.
            mend: Offer at once what can be done about that.
        """
        super().__init__(told)
        self._preset = preset
        self._mend = mend
        self._started_at: Widget | None = None  # what had the focus as a start was asked for

    def crumb(self) -> Content:
        name = Content.assemble("  ", (safe(self._preset).plain, "$dim")) if self._preset else Content("")
        return Content.assemble(_("New run"), name)

    def body(self) -> ComposeResult:
        with Horizontal(id="area"):
            yield About(id="help", classes="panel", can_focus=False)
            yield Sections()
            yield FormPages()
        yield PlanLine()
        yield StartCheck()
        yield MethodCosts()

    async def on_mount(self) -> None:
        draft, sections = self.tuner.drafts.draft, self._sections
        self._standing.untyped = form.take_texts(draft.values, draft.texts)
        sections.current = draft.section if draft.section in form.SECTIONS else "model"
        await self._show_section(sections.current)
        self.set_focus(sections.list)
        self._check(changed=False)
        told = self._standing.told
        await self._go_to(told.field if told else draft.at)
        if draft.unread:
            self.tuner.say(_("A text that was edited as YAML waits: ^e opens it."), timeout=8)
        if self._mend:
            self.action_mend()

    def _renew(self) -> None:
        """Show the draft as it is now: another preset, or values that came from elsewhere."""
        draft = self.tuner.drafts.draft
        self._standing.untyped = form.take_texts(draft.values, draft.texts)
        self.tuner.drafts.touch()
        self._pages.take(draft)
        self._check()

    # Fields

    @on(FieldChanged)
    def _field_changed(self, message: FieldChanged) -> None:
        if self.changing:
            return
        path, texts = message.option.path, self.tuner.drafts.draft.texts
        self._standing.typed(path, message.sentence)
        texts.pop(path, None)
        if message.sentence:
            texts[path] = str(message.value)
        else:
            form.put(self.values, path, message.value)
        self.tuner.drafts.touch(typed=path if form.editor(message.option) == "input" else "")
        self._check()
        self._explain(path)

    def _check(self, changed: bool = True) -> None:
        """Ask the config about the draft, and mark what it finds; then, in a while, what it speaks of."""
        if changed:
            self._standing.told = None
        sound = self._standing.begin(self.values)
        check, line = self.query_one(StartCheck), self.query_one(PlanLine)
        if check.starting:
            self.tuner.say(_("The settings changed, so the run was not started."), "warning")
        if sound:
            check.ask(self.values, at_once=not changed)
            line.ask(self.values)
        else:
            check.clear()
            line.clear()
        self._draw_problems()

    def _draw_problems(self) -> None:
        """Mark what is wrong: at the field, in the list of sections, and in the title."""
        standing, sections = self._standing, self._sections
        self._pages.mark(self.tuner.drafts.draft, standing.problems)
        sections.mark(standing.problems)
        self.query_one(TopBar).say(standing.title(self.query_one(StartCheck).starting))
        self.refresh_bindings()
        if self.focused is sections.list:
            self._explain_section()

    @on(Checked)
    async def _checked(self, message: Checked) -> None:
        self._standing.answered(self.values, message)
        self._draw_problems()
        here = self._pages.here
        if here is not None:
            self._explain(here.option.path)
        if not message.start:
            return
        if message.refusal is not None:
            await self._lead_to(message.refusal)
        elif self.app.screen is self:
            self._begin(form.config_of(message.values))
        else:  # what one has opened meanwhile is not taken away
            self.tuner.say(_("It can be started: {key} once this is closed.", key="^r"), timeout=8)

    async def _lead_to(self, refusal: Refusal) -> None:
        """Why it was not started: at its field, or in words where there is none or one has moved on."""
        here = self.focused is self._started_at and self.app.screen is self
        if here and refusal.field in form.options():
            await self._go_to(refusal.field)
        else:
            self.tuner.say(_("It was not started: {why}", why=refusal.sentence), "error", 10)

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        self.query_one(About).show_memory(message.look.estimate if message.look else None)
        self._ask_costs()

    # Keys

    def action_plan(self) -> None:
        """The numbers before the run; what is changed there is changed here."""
        from tui_tuner.ui.screens.plan import PlanScreen

        if self._config() is not None:
            self.app.push_screen(PlanScreen(), self._planned)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """F4 mends what is wrong, where something is offered for it; else it says which column is what."""
        if action in ("mend", "columns"):
            offered = self.offered is not None and self.offered.mendable
            return offered == (action == "mend")
        if action == "other_task":
            return self.other_task is not None
        if action == "choose":
            return choosable(self._at)
        return True

    def action_choose(self) -> None:
        """A path or a model for the field in focus, from what there is."""
        choose_for(self, self._at, self.values, self.take)

    def action_mend(self) -> None:
        """What can be done about the problem, to choose from."""
        if self.offered is not None:
            self.offer(self.offered, self.values)

    def action_columns(self) -> None:
        """Say which column is what, from two lists."""
        self.ask_columns(self.values)

    async def take(self, values: Mapping[str, Any]) -> None:
        put_values(self.tuner, values)
        self._renew()

    async def show_draft(self, fields: Sequence[str]) -> None:
        self._preset = self.tuner.drafts.draft.name
        self.query_one(TopBar).lead(self.crumb())
        self._renew()
        await self._go_to(next((path for path in fields if form.applies(self.values, path)), ""))

    def _planned(self, _nothing: None) -> None:
        self._renew()

    def whole(self) -> bool:
        return self._config() is not None

    def _config(self) -> RunConfig | None:
        """The config if all values are right; else says what is wrong, and goes there."""
        found = form.problems(self.values, self._standing.untyped)
        if not found:
            return form.config_of(self.values)
        path, sentence = next(iter(found.items()))
        strange = [path for path in form.unknown(self.values) if path in found]
        if strange:
            self.ask_to_leave_out(strange, self._check)
            return None
        self.tuner.say(sentence, "error", 8)
        self.run_worker(self._go_to(known_field(path) or path), exclusive=True)
        return None

    def action_start(self) -> None:
        """Look whether it can be started, and start it."""
        if self._config() is None or self.query_one(StartCheck).starting:
            return
        self._started_at = self.focused
        self.query_one(StartCheck).ask(self.values, start=True)
        self.query_one(TopBar).say(self._standing.title(True))

    def _begin(self, config: RunConfig) -> None:
        """Make the run and show its live pane."""
        try:
            folder = make_run(self.tuner, self.values, config)
        except (TunerError, OSError) as error:
            refusal = refusal_of(error)
            self._standing.refuse(refusal)
            self._standing.look(self.values)
            self._draw_problems()
            self.run_worker(self._lead_to(refusal), exclusive=True)
            return
        from tui_tuner.ui.screens.run import RunScreen

        self.tuner.drafts.used()
        self.tuner.launch(folder)
        self.app.switch_screen(RunScreen(folder))
