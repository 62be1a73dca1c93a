"""Results: answers before and after, metrics before and after, where the files are, what to do next."""

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
from tui_tuner.runs.events import Verdict
from tui_tuner.runs.phases.spent import AWAY
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.told import use_words
from tui_tuner.runs.view import RunView
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.bridge import RunUpdated, Snapshot
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.past.improving import can_improve, improve
from tui_tuner.ui.widgets.judged.answers import Answers
from tui_tuner.ui.widgets.judged.fitted import Fitted
from tui_tuner.ui.widgets.judged.measures import metrics_content
from tui_tuner.ui.widgets.judged.next_steps import (
    NextStep,
    broken,
    here,
    keys_content,
    next_keys,
    next_steps,
)
from tui_tuner.ui.widgets.judged.tables import Tables, chosen_tables
from tui_tuner.ui.widgets.judged.verdict_pane import VerdictPane
from tui_tuner.ui.widgets.live.samples import AnswerKeys
from tui_tuner.ui.widgets.zoom import Zooms
from tui_tuner.ui.words import PHASES, block, column, duration, flowed, safe, state_content


class AnswerPane(AnswerKeys):
    """The answers, as high as they are; zoomed, they scroll."""

    DEFAULT_CSS = "AnswerPane { height: auto; }"


class Page(AnswerKeys):
    """All of the screen; another prompt leaves it where it was scrolled to."""

    def stay(self) -> None:
        """What was read stays in view."""


class Judged(Message):
    """A journal without a verdict was judged."""

    def __init__(self, verdict: Verdict | None) -> None:
        super().__init__()
        self.verdict = verdict


class ResultsScreen(Zooms, TunerScreen):
    """What a run has brought."""

    HELP_TEXT = _(
        "The verdict says what the curves show, how sure that is, and what to change. In brackets stands the "
        "95 % interval of the difference on the same held-out rows.\n"
        "Before and after answer the same held-out prompts, which were never trained.\n"
        "last/ and best/ are standard folders: PEFT adapters, or safetensors models."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("c", "lead('c')", _("Chat")),
        Binding("a", "lead('a')", _("Ask")),
        Binding("b", "lead('b')", _("Compare"), show=False),
        Binding("u", "lead('u')", _("Use")),
        Binding("f4", "improve", _("Mend")),
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
        self._snapshot: Snapshot | None = None
        self._steps: list[NextStep] = []
        self._own: Verdict | None = None  # where the journal has none
        self._judging = self._judged = False
        self._leads = {"s"}  # keys that lead on; this one needs no model

    def crumb(self) -> Content:
        return Content.assemble(safe(self.folder.name), ("  ›  ", "$dim"), _("Results"))

    def body(self) -> ComposeResult:
        yield Fitted(_no_head, id="head")
        yield Static(id="path", classes="line")
        yield Fitted(_no_head, id="keys")
        with Page(id="scroll"):
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
                box.border_title = Content.assemble(_("What to do next"), ("  y ", "$accent"), _("copies it"))
                yield Fitted(partial(steps_content, []))

    def on_mount(self) -> None:
        self.tuner.follow(self.folder).listen(self)
        self.set_focus(self.query_one("#scroll"))

    def on_unmount(self) -> None:
        self.tuner.follow(self.folder).listeners.discard(self)

    async def on_run_updated(self, message: RunUpdated) -> None:
        self._snapshot = message.snapshot
        await self._draw()

    async def on_judged(self, message: Judged) -> None:
        self._own, self._judging, self._judged = message.verdict, False, True
        self._drawn = ()
        await self._draw()

    @property
    def _view(self) -> RunView:
        """What the journal tells, with the verdict on it, whoever gave that."""
        assert self._snapshot is not None
        view = self._snapshot.view
        last_word = view.verdict is not None and view.verdict.final
        return replace(view, verdict=self._own) if self._own is not None and not last_word else view

    def _judge_old(self, view: RunView, live: bool) -> None:
        """A run that has ended without a last verdict was made by an older version, or was killed."""
        state = self._snapshot.state if self._snapshot is not None else ""
        known = self._judging or self._judged or (view.verdict is not None and view.verdict.final)
        if live or known or not view.steps or state == "reading":
            return
        self._judging = True
        self.query_one(VerdictPane).wait()
        self._judge()

    @work(thread=True, group="judging")
    def _judge(self) -> None:
        from tui_tuner.verdicts.judge import event_of, judge_run  # and with it numpy

        try:
            found: Verdict | None = event_of(judge_run(self.folder), True)
        except TunerError:  # the journal cannot be read again: the rest of the screen tells what it knows
            found = None
        if not get_current_worker().is_cancelled:
            self.post_message(Judged(found))

    def work_failed(self, group: str, words: str) -> None:
        if group == "judging":
            self.post_message(Judged(None))

    async def _draw(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            return
        view = self._view
        counts = len(view.samples), len(view.evaluations), len(view.tables), len(view.checkpoints)
        key = (*counts, len(view.held_out), snapshot.state, view.verdict)
        if key == self._drawn:
            return
        self._drawn = key
        keys = next_keys(self.folder, view)
        self._leads = {name for name, _words in keys}
        self.refresh_bindings()
        self.query_one("#head", Fitted).show(partial(_head, view, snapshot.state))
        self.query_one("#path", Static).update(safe(here(self.folder.path)))
        self.query_one("#keys", Fitted).show(partial(keys_content, keys))
        self.query_one(VerdictPane).show(view)
        self._judge_old(view, snapshot.live)
        self.query_one("#metrics > Static", Static).update(metrics_content(view))
        self.query_one("#files > Static", Static).update(_files(self.folder))
        self._steps = next_steps(self.folder, view, snapshot.state, snapshot.live)
        self.query_one("#next > Fitted", Fitted).show(partial(steps_content, self._steps))
        await self.query_one(Tables).show(chosen_tables(view))
        self._show_answers(view)

    def _show_answers(self, view: RunView) -> None:
        self.query_one(Answers).show(view.samples, view.ended)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "improve":
            return self._snapshot is not None and not self._snapshot.live and can_improve(self._view.verdict)
        if action == "resume":
            return bool(self._snapshot) and self._snapshot.state in ("stopped", "failed", "lost")  # type: ignore[union-attr]
        return action != "lead" or parameters[0] in self._leads

    def action_lead(self, key: str) -> None:
        """Talk to the model, ask it, use it on a file, or run again with a change."""
        from tui_tuner.ui.screens.using.leading import lead_on

        lead_on(self, self.folder, key)

    def action_improve(self) -> None:
        """A new config of this run's own and what its verdict advises."""
        if self._snapshot is not None and self._view.verdict is not None:
            improve(self, self.folder, self._view.verdict)

    def action_live(self) -> None:
        from tui_tuner.ui.screens.run import RunScreen

        below = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else None
        if isinstance(below, RunScreen) and below.folder.path == self.folder.path:
            self.app.pop_screen()
        else:
            self.app.switch_screen(RunScreen(self.folder))

    def action_copy(self) -> None:
        """Choose a path or a command, and send it to the terminal's clipboard."""
        from tui_tuner.ui.screens.dialogs import Choose

        paths = [(_("the run's folder"), self.folder.path)]
        paths += [(_("the best checkpoint's model"), self.folder.best)] if self.folder.best.is_dir() else []
        paths += [(_("the model at the end"), self.folder.last)] if self.folder.last.is_dir() else []
        texts = [(words, os.path.abspath(path)) for words, path in paths]
        texts += [(step.words, step.text) for step in self._steps]
        shown = [
            (str(place), one_line(words), block(text).plain) for place, (words, text) in enumerate(texts)
        ]

        def chosen(answer: str | None) -> None:
            if answer is not None:
                self.app.copy_to_clipboard(texts[int(answer)][1])
                self.tuner.say(_("Sent to the terminal, which keeps it for pasting if it can."))

        self.app.push_screen(Choose(_("Copy"), Content(_("What is to be copied?")), shown), chosen)

    def action_resume(self) -> None:
        self.tuner.launch(self.folder, resume=True)
        self.action_live()


def _head(view: RunView, state: str, width: int) -> Content:
    """State and size of a run, where its time went, and its folder alone on a line, to be copied."""
    parts = [state_content(state, verdict=view.verdict_name)]
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
        Content(words) for words in use_words(view.mfu(len(view.steps)), view.gpu_busy(len(view.steps)))
    ]
    parts += [Content(f"{_(source.what)}: {one_line(source.text)}") for source in view.sources]
    if view.message and state != "completed":
        parts.append(block(view.message))
    return Content("\n").join([*flowed(parts, "   ", width), *_time(view, width)])


def _no_head(_width: int) -> Content:
    return Content("")


def _time(view: RunView, width: int) -> list[Content]:
    """How long a run took, and what of that each phase."""
    spent = view.spent
    if not spent.whole:
        return []
    phases = sorted(spent.seconds.items(), key=lambda item: -item[1])
    told = [
        f"{PHASES.get(phase) or one_line(phase, 30)} {duration(seconds)}"
        for phase, seconds in phases
        if phase != AWAY and seconds >= 0.5
    ]
    whole = _("took {time}:", time=duration(spent.whole)) if len(told) > 1 else ""
    told = told if len(told) > 1 else [_("took {time}", time=duration(spent.whole))]
    away = spent.seconds.get(AWAY, 0.0)
    if away >= 1:
        told.append(_("not running in between {time}", time=duration(away)))
    told[0] = f"{whole} {told[0]}".strip()
    return [line.stylize("$dim") for line in flowed([Content(part) for part in told], " · ", width)]


def _files(folder: RunFolder) -> Content:
    """What lies in the folder of a run, by its names there."""
    named = (
        (folder.best, _("the best checkpoint's model")),
        (folder.last, _("the model at the end")),
        (folder.checkpoints, _("resumable checkpoints")),
        (folder.path / "config.resolved.yaml", _("what every auto became")),
        (folder.events, _("the journal")),
        (folder.log, _("output of the libraries")),
    )
    there = [(path, words) for path, words in named if path.exists()]
    lines = [
        Content.assemble(column(path.name, 22), (f"{_size(path):>10}  {words}", "$dim"))
        for path, words in there
    ]
    return Content("\n").join(lines) if lines else Content(_("Nothing was saved yet.")).stylize("$dim")


def _size(path: Path) -> str:
    try:
        files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        return human_bytes(sum(item.stat().st_size for item in files))
    except OSError:
        return ""


def steps_content(steps: list[NextStep], width: int) -> Content:
    """Each step with what is typed for it: commands on lines that a shell reads as one, no path broken."""
    lines: list[Content] = []
    for step in steps:
        typed = step.text.splitlines() if step.code else broken(step.text, width - 2, cell_len)
        lines.append(Content(step.words).stylize("$dim"))
        lines += [Content(f"  {one_line(line)}").stylize("$accent") for line in typed]
    return Content("\n").join(lines) if lines else Content("–")
