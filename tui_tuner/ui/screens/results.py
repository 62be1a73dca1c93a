"""The results screen: the verdict, metrics and answers before and after, the files, and next steps."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.runs.event_lines import format_gpu_use
from tui_tuner.runs.events import Verdict
from tui_tuner.runs.phases.time_by_phase import AWAY
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView
from tui_tuner.text import format_bytes, one_line
from tui_tuner.ui.bridge import RunSnapshot, RunUpdated
from tui_tuner.ui.screen_words import (
    PHASES,
    fit_screen_column,
    flow_screen_parts,
    format_screen_duration,
    make_safe_block,
    make_safe_line,
    render_run_state,
)
from tui_tuner.ui.screens.past.improvement import can_improve, open_improved_settings
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.judged.evaluation_tables import Tables, choose_shown_tables
from tui_tuner.ui.widgets.judged.fitted_text import Fitted
from tui_tuner.ui.widgets.judged.held_out_answers import Answers
from tui_tuner.ui.widgets.judged.measures import draw_metric_changes
from tui_tuner.ui.widgets.judged.next_steps import (
    NextStep,
    break_shell_command,
    lay_out_keys,
    list_next_keys,
    list_next_steps,
    shorten_lead_path,
)
from tui_tuner.ui.widgets.judged.verdict_pane import VerdictPane
from tui_tuner.ui.widgets.live.live_samples import AnswerKeys
from tui_tuner.ui.widgets.zoom import Zooms


class AnswerPane(AnswerKeys):
    """The answers in full height; zoomed, they scroll."""

    DEFAULT_CSS = "AnswerPane { height: auto; }"


class ResultsPage(AnswerKeys):
    """The scrollable screen below the header; showing another prompt keeps its scroll position."""

    def scroll_to_start(self) -> None:
        """Keep the scroll position; the other panes of answers scroll to their top here."""


class RunJudged(Message):
    """The verdict on a run whose journal has none; None if it could not be judged."""

    def __init__(self, verdict: Verdict | None) -> None:
        super().__init__()
        self.verdict = verdict


class ResultsScreen(Zooms, TunerScreen):
    """The outcome of a run, live or from its journal."""

    HELP_TEXT = _(
        "The verdict says what the curves show, how certain that is, and what to change. The brackets hold "
        "the 95 % interval of the difference on the same held-out rows.\n"
        "Both answers, before and after, are to the same held-out prompts, which were not trained on.\n"
        "last/ and best/ are standard folders: PEFT adapters, or safetensors models."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("c", "lead('c')", _("Chat")),
        Binding("a", "lead('a')", _("Ask")),
        Binding("b", "lead('b')", _("Compare"), show=False),
        Binding("u", "lead('u')", _("Use")),
        Binding("e", "lead('e')", _("Export")),
        Binding("f4", "improve", _("Fix")),
        Binding("s", "lead('s')", _("Run again")),
        Binding("r", "resume", _("Resume")),
        Binding("y", "copy", _("Copy"), show=False),
        Binding("l", "live", _("Curve")),
        *Zooms.ZOOM,
        Binding("q", "app.quit", _("Quit")),
    ]
    PANES = ("#answers", "#tables", "#metrics", "#verdict")
    DEFAULT_CSS = """
    ResultsScreen #head { height: auto; padding: 1 1 0 1; }
    ResultsScreen #path { padding: 0 1; color: $primary; }
    ResultsScreen #keys { padding: 0 1; }
    ResultsScreen #next Fitted { text-wrap: nowrap; text-overflow: ellipsis; }
    ResultsScreen #scroll { height: 1fr; margin-top: 1; }
    ResultsScreen .panel { height: auto; }
    ResultsScreen .panel > Static { height: auto; }
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self._drawn: tuple[object, ...] = ()
        self._snapshot: RunSnapshot | None = None
        self._steps: list[NextStep] = []
        self._own: Verdict | None = None  # where the journal has none
        self._judging = self._judged = False
        self._leads = {"s"}  # keys of next steps; this one needs no model

    def build_crumb(self) -> Content:
        return Content.assemble(make_safe_line(self.folder.name), ("  ›  ", "$dim"), _("Results"))

    def compose_body(self) -> ComposeResult:
        yield Fitted(_no_head, id="head")
        yield Static(id="path", classes="line")
        yield Fitted(_no_head, id="keys")
        with ResultsPage(id="scroll"):
            yield VerdictPane(id="verdict")
            with Vertical(classes="panel", id="metrics") as box:
                box.border_title = Content(_("Measured"))
                yield Static()
            yield Tables(classes="panel", id="tables")
            with AnswerPane(classes="panel", id="answers") as box:
                box.border_title = Content(_("Answers to held-out prompts"))
                yield Answers()
            with Vertical(classes="panel", id="files") as box:
                box.border_title = Content(_("Files"))
                yield Static()
            with Vertical(classes="panel", id="next") as box:
                box.border_title = Content.assemble(_("Next steps"), ("  y ", "$accent"), _("copies one"))
                yield Fitted(partial(render_next_steps, []))

    def on_mount(self) -> None:
        self.tuner_app.follow_run(self.folder).add_listener(self)
        self.set_focus(self.query_one("#scroll"))

    def on_unmount(self) -> None:
        # The follower outlives this screen: other screens may watch the same run.
        self.tuner_app.follow_run(self.folder).listeners.discard(self)

    async def on_run_updated(self, message: RunUpdated) -> None:
        self._snapshot = message.snapshot
        await self._draw_panes()

    async def on_run_judged(self, message: RunJudged) -> None:
        self._own, self._judging, self._judged = message.verdict, False, True
        # Without a verdict the key stays the same, but the pane must stop saying that it waits for one.
        self._drawn = ()
        await self._draw_panes()

    @property
    def _judged_view(self) -> RunView:
        """Return the view with its verdict: the journal's own, or the one that was made here."""
        assert self._snapshot is not None
        view = self._snapshot.view
        # A run that continues may still write its own final verdict; that one wins over ours.
        last_word = view.verdict is not None and view.verdict.final
        return replace(view, verdict=self._own) if self._own is not None and not last_word else view

    def _judge_old(self, view: RunView, live: bool) -> None:
        """Judge a run that ended without a final verdict; at most once per screen."""
        state = self._snapshot.state if self._snapshot is not None else ""
        # Journals of older versions have no verdict, and a killed run had no time to write its last one.
        known = self._judging or self._judged or (view.verdict is not None and view.verdict.final)
        if live or known or not view.steps or state == "reading":
            return
        self._judging = True
        self.query_one(VerdictPane).show_waiting()
        self._judge_journal()

    @work(thread=True, group="judging")
    def _judge_journal(self) -> None:
        # Imported here because it brings numpy along, which only this screen needs.
        from tui_tuner.verdicts.judge import judge_run, make_verdict_event  # and with it numpy

        try:
            found: Verdict | None = make_verdict_event(judge_run(self.folder), True)
        except TunerError:  # the journal cannot be read again; the rest of the screen stays useful
            found = None
        if not get_current_worker().is_cancelled:
            self.post_message(RunJudged(found))

    def work_failed(self, group: str, words: str) -> None:
        if group == "judging":
            self.post_message(RunJudged(None))

    async def _draw_panes(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            return
        view = self._judged_view
        counts = len(view.samples), len(view.evaluations), len(view.tables), len(view.checkpoints)
        # A live run updates with every step, but its panes change only with evaluations, answers,
        # checkpoints, state.
        key = (*counts, len(view.held_out), snapshot.state, view.verdict)
        if key == self._drawn:
            return
        self._drawn = key
        keys = list_next_keys(self.folder, view)
        self._leads = {name for name, _words in keys}
        self.refresh_bindings()
        self.query_one("#head", Fitted).show_drawn(partial(_head_content, view, snapshot.state))
        self.query_one("#path", Static).update(make_safe_line(shorten_lead_path(self.folder.path)))
        self.query_one("#keys", Fitted).show_drawn(partial(lay_out_keys, keys))
        self.query_one(VerdictPane).show_verdict(view)
        self._judge_old(view, snapshot.is_live)
        self.query_one("#metrics > Static", Static).update(draw_metric_changes(view))
        self.query_one("#files > Static", Static).update(_files_content(self.folder))
        self._steps = list_next_steps(self.folder, view, snapshot.state, snapshot.is_live)
        self.query_one("#next > Fitted", Fitted).show_drawn(partial(render_next_steps, self._steps))
        await self.query_one(Tables).show_tables(choose_shown_tables(view))
        self._show_answers(view)

    def _show_answers(self, view: RunView) -> None:
        self.query_one(Answers).show_answers(view.samples, view.has_ended)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "improve":
            return (
                self._snapshot is not None
                and not self._snapshot.is_live
                and can_improve(self._judged_view.verdict)
            )
        if action == "resume":
            return bool(self._snapshot) and self._snapshot.state in ("stopped", "failed", "lost")  # type: ignore[union-attr]
        return action != "lead" or parameters[0] in self._leads

    def action_lead(self, key: str) -> None:
        """Open the next step of a key: chat, ask, compare, use on a file, export, or run again."""
        from tui_tuner.ui.screens.using.next_screens import open_next_step

        open_next_step(self, self.folder, key)

    def action_improve(self) -> None:
        """Open the run's settings with the changes that its verdict advises."""
        if self._snapshot is not None and self._judged_view.verdict is not None:
            open_improved_settings(self, self.folder, self._judged_view.verdict)

    def action_live(self) -> None:
        from tui_tuner.ui.screens.run import RunScreen

        # Without this, going back and forth between curve and results would stack one screen per key press.
        below = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else None
        if isinstance(below, RunScreen) and below.folder.path == self.folder.path:
            self.app.pop_screen()
        else:
            self.app.switch_screen(RunScreen(self.folder))

    def action_copy(self) -> None:
        """Choose a path or a command and send it to the terminal's clipboard."""
        from tui_tuner.ui.screens.dialogs import ChoiceDialog

        paths = [(_("the run's folder"), self.folder.path)]
        paths += (
            [(_("the best checkpoint's model"), self.folder.best_path)]
            if self.folder.best_path.is_dir()
            else []
        )
        paths += (
            [(_("the model at the end"), self.folder.last_path)] if self.folder.last_path.is_dir() else []
        )
        # Copied texts are pasted into other terminals, with other working folders: hence absolute paths.
        texts = [(words, os.path.abspath(path)) for words, path in paths]
        texts += [(step.words, step.text) for step in self._steps]
        shown = [
            (str(place), one_line(words), make_safe_block(text).plain)
            for place, (words, text) in enumerate(texts)
        ]

        def copy_choice(answer: str | None) -> None:
            if answer is not None:
                self.app.copy_to_clipboard(texts[int(answer)][1])
                self.tuner_app.show_notice(
                    _("Sent to the terminal's clipboard, if the terminal supports it.")
                )

        self.app.push_screen(
            ChoiceDialog(_("Copy"), Content(_("What do you want to copy?")), shown), copy_choice
        )

    def action_resume(self) -> None:
        self.tuner_app.launch_run(self.folder, resume=True)
        self.action_live()


def _head_content(view: RunView, state: str, width: int) -> Content:
    """Return the header: state, steps, trained tokens, GPU use, sources, and how the time was spent."""
    parts = [render_run_state(state, verdict=view.verdict_name)]
    if view.total_steps:
        total = view.total_steps
        steps = _n(
            "{step:,} of {total:,} step", "{step:,} of {total:,} steps", total, step=view.step, total=total
        )
        parts.append(Content(steps))
    tokens = sum(point.supervised_tokens for point in view.steps)
    if tokens:
        parts.append(Content(_n("{n:,} trained token", "{n:,} trained tokens", tokens, n=tokens)))
    parts += [
        Content(words)
        for words in format_gpu_use(view.mean_mfu(len(view.steps)), view.mean_gpu_busy(len(view.steps)))
    ]
    parts += [Content(f"{_(source.what)}: {one_line(source.source_text)}") for source in view.sources]
    if view.message and state != "completed":
        parts.append(make_safe_block(view.message))
    return Content("\n").join([*flow_screen_parts(parts, "   ", width), *_time_lines(view, width)])


def _no_head(_width: int) -> Content:
    return Content("")


def _time_lines(view: RunView, width: int) -> list[Content]:
    """Return the duration of a run and of its phases, longest first."""
    spent = view.spent
    if not spent.total_seconds:
        return []
    phases = sorted(spent.seconds.items(), key=lambda item: -item[1])
    told = [
        f"{PHASES.get(phase) or one_line(phase, 30)} {format_screen_duration(seconds)}"
        for phase, seconds in phases
        # Time between a stop and a resume is part of the dates, not of the run's duration.
        if phase != AWAY and seconds >= 0.5
    ]
    whole = _("took {time}:", time=format_screen_duration(spent.total_seconds)) if len(told) > 1 else ""
    told = told if len(told) > 1 else [_("took {time}", time=format_screen_duration(spent.total_seconds))]
    away = spent.seconds.get(AWAY, 0.0)
    if away >= 1:
        told.append(_("not running for {time}", time=format_screen_duration(away)))
    told[0] = f"{whole} {told[0]}".strip()
    return [
        line.stylize("$dim") for line in flow_screen_parts([Content(part) for part in told], " · ", width)
    ]


def _files_content(folder: RunFolder) -> Content:
    """Return the files of a run's folder with their sizes and meanings."""
    named = (
        (folder.best_path, _("the best checkpoint's model")),
        (folder.last_path, _("the model at the end")),
        (folder.checkpoints_path, _("resumable checkpoints")),
        (folder.path / "config.resolved.yaml", _("what every auto became")),
        (folder.events_path, _("the journal")),
        (folder.log_path, _("output of the libraries")),
    )
    there = [(path, words) for path, words in named if path.exists()]
    lines = [
        Content.assemble(fit_screen_column(path.name, 22), (f"{_format_size(path):>10}  {words}", "$dim"))
        for path, words in there
    ]
    return Content("\n").join(lines) if lines else Content(_("Nothing was saved yet.")).stylize("$dim")


def _format_size(path: Path) -> str:
    try:
        files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        return format_bytes(sum(item.stat().st_size for item in files))
    # A checkpoint may be pruned while its folder is being listed.
    except OSError:
        return ""


def render_next_steps(steps: list[NextStep], width: int) -> Content:
    """Return the next steps with their commands.

    A command is broken with backslashes, so that a shell reads its lines as one; a path is never broken.
    """
    lines: list[Content] = []
    for step in steps:
        typed = step.text.splitlines() if step.code else break_shell_command(step.text, width - 2, cell_len)
        lines.append(Content(step.words).stylize("$dim"))
        lines += [Content(f"  {one_line(line)}").stylize("$accent") for line in typed]
    return Content("\n").join(lines) if lines else Content("–")
