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
from textual.events import DescendantFocus
from textual.widgets import OptionList

from tui_tuner.config.options import known_field
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.ui import form
from tui_tuner.ui.checking import Refusal, refusal_of
from tui_tuner.ui.screens.choosing import choosable, choose_for
from tui_tuner.ui.screens.editing.beginning import make_run
from tui_tuner.ui.screens.editing.form import EditingForm
from tui_tuner.ui.screens.offers import put_values
from tui_tuner.ui.widgets.form.about import About
from tui_tuner.ui.widgets.form.costs import Costed, MethodCosts
from tui_tuner.ui.widgets.form.field import Field, FieldChanged
from tui_tuner.ui.widgets.form.pages import FormPages
from tui_tuner.ui.widgets.form.plan_line import Looked, PlanLine
from tui_tuner.ui.widgets.form.sections import Sections
from tui_tuner.ui.widgets.form.standing import Standing
from tui_tuner.ui.widgets.form.start_check import Checked, StartCheck
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import safe


class SettingsScreen(EditingForm):
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
        Binding("up", "step(-1)", _("Field before"), show=False),
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
        super().__init__()
        self._preset = preset
        self._standing = Standing(told)
        self._mend = mend
        self._costs: dict[str, str] = {}  # of each method, with the draft as it is

    @property
    def values(self) -> dict[str, Any]:
        """The draft that is edited; it outlives the screen and the program."""
        return self.tuner.draft

    @property
    def _pages(self) -> FormPages:
        return self.query_one(FormPages)

    @property
    def _sections(self) -> Sections:
        return self.query_one(Sections)

    @property
    def said(self) -> Refusal | None:
        return self._standing.said

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
        if self._mend:
            self.action_mend()

    # Sections

    @on(OptionList.OptionHighlighted, "#nav")
    async def _section_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option.id:
            self.tuner.drafts.draft.section = event.option.id
            await self._show_section(event.option.id)
            if event.option_list.has_focus:
                self._explain_section()

    @on(OptionList.OptionSelected, "#nav")
    def _section_chosen(self) -> None:
        if self._pages.fields:
            self._focus_field(self._pages.fields[0])

    async def _show_section(self, section: str) -> None:
        draft = self.tuner.drafts.draft
        await self._pages.show(section, draft)
        self._pages.mark(draft, self._standing.problems)
        self._ask_costs()

    async def _go_to(self, path: str) -> None:
        """Put the focus into a field; nothing where there is none of that name."""
        if path not in form.options():
            return
        draft = self.tuner.drafts.draft
        self._sections.current = form.section_of(path)
        field = await self._pages.show_field(path, draft)
        self._pages.mark(draft, self._standing.problems)
        if field is not None:
            self._focus_field(field)
        self._explain(path)

    def _renew(self, changed: bool = True) -> None:
        """Show the draft as it is now: another preset, or values that came from elsewhere."""
        draft = self.tuner.drafts.draft
        self._standing.untyped = form.take_texts(draft.values, draft.texts)
        self._pages.take(draft)
        self._check(changed)

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

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        for node in event.widget.ancestors:
            if isinstance(node, Field):
                draft = self.tuner.drafts.draft
                draft.section, draft.at = self._sections.current, node.option.path
                self.tuner.drafts.history.enter(node.option.path)
                if draft.id:
                    self.tuner.drafts.touch()
                self._explain(node.option.path)
                self.refresh_bindings()
                return
        self._explain_section()

    def _explain_section(self) -> None:
        """What is wrong in the section under the cursor, or how the form is used."""
        wrong = self._standing.of_section(self._sections.current)
        self.query_one(About).show_section(wrong, self.said if self.other_task else None)

    def _explain(self, path: str) -> None:
        option, refusal = form.options()[path], self._standing.why
        told = path in ("task", "data.path") and bool(self.other_task)
        self.query_one(About).show_field(
            option,
            form.problem_of(path, self._standing.problems),
            form.value_of(self.values, option),
            refusal if refusal is not None and refusal.field == path else None,
            self.said if told else None,
            self._costs.get(str(form.at(self.values, path)), "") if path == "method.kind" else "",
        )

    def _check(self, changed: bool = True) -> None:
        """Ask the config about the draft, and mark what it finds; then, in a while, what it speaks of."""
        if changed:
            self._standing.told = None
            self.tuner.drafts.touch()
        sound = self._standing.begin(self.values)
        check, line = self.query_one(StartCheck), self.query_one(PlanLine)
        if check.starting:
            self.tuner.say(_("The settings have changed: it was not started."), "warning")
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
        self._standing.answered(self.values, message.refusal, message.better, message.start)
        self._draw_problems()
        here = self._pages.here
        if here is not None:
            self._explain(here.option.path)
        if not message.start:
            return
        if message.refusal is None:
            self._begin(form.config_of(message.values))
        elif message.refusal.field:
            await self._go_to(message.refusal.field)
        else:
            self.tuner.say(message.refusal.sentence, "error", 10)

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        self.query_one(About).show_memory(message.look.estimate if message.look else None)
        self._ask_costs()

    def _ask_costs(self) -> None:
        """Where methods are to be chosen from: what each would cost."""
        if self._sections.current == "method" and not self._standing.problems:
            self.query_one(MethodCosts).ask(form.applied(self.values))

    @on(Costed)
    def _costed(self, message: Costed) -> None:
        self._costs = message.costs
        for field in self._pages.fields:
            if field.option.path == "method.kind":
                field.tell(message.costs)
        here = self._pages.here
        if here is not None and here.option.path == "method.kind":
            self._explain("method.kind")

    async def action_step(self, by: int) -> None:
        """To the next field, or the one before; at the end of a section, to its neighbour."""
        fields, here = self._pages.fields, self._pages.here
        if here is None:
            return
        index = fields.index(here) + by
        if 0 <= index < len(fields):
            self._focus_field(fields[index])
            return
        section = self._sections.neighbour(by)
        if section:
            await self._show_section(section)
            self._sections.current = section
            fields = self._pages.fields
            self._focus_field(fields[0] if by > 0 else fields[-1])

    def _focus_field(self, field: Field) -> None:
        editors = [widget for widget in field.query("Input, FieldSelect, Switch") if widget.focusable]
        if editors:
            self.set_focus(editors[0])
            field.scroll_visible(animate=False)

    # Keys

    def action_back(self) -> None:
        sections = self._sections.list
        if self.focused is sections or self.focused is None:
            super().action_back()
        else:
            self.tuner.drafts.draft.at = ""
            self.set_focus(sections)

    def action_advanced(self) -> None:
        """Show or fold the advanced fields."""
        self._pages.fold(self.tuner.drafts.draft)
        self._pages.mark(self.tuner.drafts.draft, self._standing.problems)

    def action_plan(self) -> None:
        """The numbers before the run; what is changed there is changed here."""
        from tui_tuner.ui.screens.plan import PlanScreen

        if self._config() is not None:
            self.app.push_screen(PlanScreen(), self._planned)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """F4 mends what is wrong, where something is offered for it; else it says which column is what."""
        if action in ("mend", "columns"):
            refusal = self._standing.why
            offered = refusal is not None and refusal.mendable
            return offered == (action == "mend")
        if action == "other_task":
            return self.other_task is not None
        if action == "choose":
            return choosable(self._at)
        return True

    @property
    def _at(self) -> str:
        """The name of the field in focus; empty where none is."""
        here = self._pages.here
        return here.option.path if here is not None else ""

    def action_choose(self) -> None:
        """A path or a model for the field in focus, from what there is."""
        choose_for(self, self._at, self.values, self.take)

    def action_mend(self) -> None:
        """What can be done about the problem, to choose from."""
        if self._standing.why is not None:
            self.offer(self._standing.why, self.values)

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
            self.run_worker(self._go_to(refusal.field), exclusive=True)
            return
        from tui_tuner.ui.screens.run import RunScreen

        self.tuner.drafts.used()
        self.tuner.launch(folder)
        self.app.switch_screen(RunScreen(folder))
