"""Results: answers before and after, metrics before and after, where the files are, what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from tui_tuner.config.deciding import kind_of
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.told import use_words
from tui_tuner.runs.view import RunView
from tui_tuner.tasks import find_task
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.bridge import RunUpdated, Snapshot
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.judged.answers import Answers
from tui_tuner.ui.widgets.judged.measures import metrics_content
from tui_tuner.ui.widgets.judged.tables import Tables, chosen_tables
from tui_tuner.ui.widgets.live.samples import AnswerKeys
from tui_tuner.ui.words import block, column, duration, safe, state_content
from tui_tuner.ui.zoom import Zooms


class AnswerPane(AnswerKeys):
    """The answers, as high as they are; zoomed, they scroll."""

    DEFAULT_CSS = "AnswerPane { height: auto; }"


class Page(AnswerKeys):
    """All of the screen; another prompt leaves it where it was scrolled to."""

    def stay(self) -> None:
        """What was read stays in view."""


class ResultsScreen(Zooms, TunerScreen):
    """What a run has brought."""

    HELP_TEXT = _(
        "Before and after answer the same held-out prompts, which were never trained.\n"
        "last/ and best/ are standard folders: PEFT adapters, or safetensors models."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("a", "ask", _("Ask")),
        Binding("l", "live", _("Curve and log")),
        Binding("r", "resume", _("Resume")),
        *Zooms.ZOOM,
        Binding("q", "app.quit", _("Quit")),
    ]
    PANES = ("#answers", "#tables", "#metrics")
    DEFAULT_CSS = """
    ResultsScreen #head { height: auto; padding: 1 1 0 1; }
    ResultsScreen #scroll { height: 1fr; margin-top: 1; }
    ResultsScreen .panel { height: auto; }
    ResultsScreen .panel > Static { height: auto; }
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self._drawn: tuple[object, ...] = ()
        self._snapshot: Snapshot | None = None

    def crumb(self) -> Content:
        return Content.assemble(safe(self.folder.name), ("  ›  ", "$dim"), _("Results"))

    def body(self) -> ComposeResult:
        yield Static(id="head")
        with Page(id="scroll"):
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
                box.border_title = Content(_("What to do next"))
                yield Static()

    def on_mount(self) -> None:
        self.tuner.follow(self.folder).listen(self)
        self.set_focus(self.query_one("#scroll"))

    def on_unmount(self) -> None:
        self.tuner.follow(self.folder).listeners.discard(self)

    async def on_run_updated(self, message: RunUpdated) -> None:
        self._snapshot = message.snapshot
        view = message.snapshot.view
        counts = len(view.samples), len(view.evaluations), len(view.tables), len(view.checkpoints)
        key = (*counts, message.snapshot.state)
        if key == self._drawn:
            return
        self._drawn = key
        self.refresh_bindings()
        self.query_one("#head", Static).update(_head(message.snapshot))
        self.query_one("#metrics > Static", Static).update(metrics_content(view))
        self.query_one("#files > Static", Static).update(_files(self.folder))
        self.query_one("#next > Static", Static).update(_next_steps(self.folder, message.snapshot))
        await self.query_one(Tables).show(chosen_tables(view))
        self._show_answers(view)

    def _show_answers(self, view: RunView) -> None:
        self.query_one(Answers).show(view.samples)
        self.query_one("#answers").set_class(not view.samples, "-none")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "resume":
            return bool(self._snapshot) and self._snapshot.state in ("stopped", "failed", "lost")  # type: ignore[union-attr]
        if action == "ask":
            return self._snapshot is not None and can_be_asked(self.folder, self._snapshot.view)
        return True

    def action_ask(self) -> None:
        """A text of the user's own, and what the model makes of it."""
        from tui_tuner.ui.screens.ask import AskScreen

        if self._snapshot is not None:
            self.app.push_screen(AskScreen(self.folder, kind_of(self._snapshot.view.config)))

    def action_live(self) -> None:
        from tui_tuner.ui.screens.run import RunScreen

        below = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else None
        if isinstance(below, RunScreen) and below.folder.path == self.folder.path:
            self.app.pop_screen()
        else:
            self.app.switch_screen(RunScreen(self.folder))

    def action_resume(self) -> None:
        self.tuner.launch(self.folder, resume=True)
        self.action_live()


def can_be_asked(folder: RunFolder, view: RunView) -> bool:
    """Whether there is a model, and one that finds something in a text rather than writing one."""
    kind = kind_of(view.config)
    return kind is not None and not kind.writes and (folder.best.is_dir() or folder.last.is_dir())


def _head(snapshot: Snapshot) -> Content:
    view = snapshot.view
    parts = [state_content(snapshot.state)]
    if view.total_steps:
        parts.append(Content(_("{step:,} of {total:,} steps", step=view.step, total=view.total_steps)))
    seconds = sum(point.seconds for point in view.steps)
    if seconds:
        parts.append(Content(_("{t} of training", t=duration(seconds))))
    tokens = sum(point.supervised_tokens for point in view.steps)
    if tokens:
        parts.append(Content(_("{n:,} trained tokens", n=tokens)))
    parts += [
        Content(words) for words in use_words(view.mfu(len(view.steps)), view.gpu_busy(len(view.steps)))
    ]
    parts += [Content(f"{_(source.what)}: {one_line(source.text)}") for source in view.sources]
    if view.message and snapshot.state != "completed":
        parts.append(block(view.message))
    return Content("   ").join(parts)


def _files(folder: RunFolder) -> Content:
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
        Content.assemble((column(words, 30), "$dim"), one_line(path), (f"  {_size(path)}", "$dim"))
        for path, words in there
    ]
    return Content("\n").join(lines) if lines else Content(_("Nothing was saved yet.")).stylize("$dim")


def _size(path: Path) -> str:
    try:
        files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        return human_bytes(sum(item.stat().st_size for item in files))
    except OSError:
        return ""


def _next_steps(folder: RunFolder, snapshot: Snapshot) -> Content:
    root = str(folder.path.parent)
    runs = "" if root == "runs" else f" --runs {shlex.quote(root)}"
    name = shlex.quote(folder.name)
    steps: list[tuple[str, str]] = []
    if can_be_asked(folder, snapshot.view):
        kind = kind_of(snapshot.view.config)
        asked = " --question '…'" if kind is not None and kind.question else ""
        command = f"tui-tuner ask {name} --text FILE{asked}{runs}"
        steps.append((_("ask it about a text of your own (or press a)"), command))
    if snapshot.state in ("stopped", "failed", "lost"):
        steps.append((_("go on from the last checkpoint"), f"tui-tuner resume {name}{runs}"))
    if snapshot.live:
        steps.append((_("see it from another terminal"), f"tui-tuner attach {name}{runs}"))
    if (folder.path / "config.yaml").is_file():
        config = shlex.quote(str(folder.path / "config.yaml"))
        command = f"tui-tuner run {config} --set output.name=auto --set training.epochs=5"
        steps.append((_("train again with other values"), command))
    code = _load_code(folder, snapshot.view)
    lines = [
        Content.assemble((f"{words}\n", "$dim"), ("  " + one_line(command), "$accent"))
        for words, command in steps
    ]
    if code:
        lines.append(Content.assemble((_("use it in Python") + "\n", "$dim"), (code, "$accent")))
    return Content("\n").join(lines) if lines else Content("–")


def _load_code(folder: RunFolder, view: RunView) -> str:
    """Lines of Python that load the model a run made; empty where it made none."""
    place = next((path for path in (folder.best, folder.last) if path.is_dir()), None)
    if place is None:
        return ""
    where = one_line(str(place.resolve()))
    kind = kind_of(view.config)
    name = find_task(kind.name).auto_class if kind is not None else "AutoModelForCausalLM"
    if (place / "adapter_config.json").is_file():
        if kind is not None and kind.decides:  # the base model has to be told of the classes first
            return "  " + _("the lines are in {path}", path=one_line(str(place.resolve() / "README.md")))
        name = name.replace("AutoModel", "AutoPeftModel")
        library = "peft"
    else:
        library = "transformers"
    return f"  from {library} import {name}\n  model = {name}.from_pretrained({where!r})"
