"""Results: answers before and after, metrics before and after, where the files are, what to do next."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.runs.events import Sample
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.told import use_words
from tui_tuner.runs.view import RunView
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.bridge import RunUpdated, Snapshot
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.samples import answer, by_prompt, stage_name
from tui_tuner.ui.words import block, column, duration, figure, safe, state_content

# Metrics that get better as they fall; of the others, more is better.
_FALLING = ("loss", "perplexity")


class Pair(Vertical):
    """One prompt: the answers before and after, side by side where there is room, and the reference."""

    DEFAULT_CSS = """
    Pair { height: auto; padding: 0 1 1 1; }
    Pair Static { height: auto; }
    Pair > Horizontal { height: auto; layout: vertical; }
    Pair .answer { width: 1fr; border-left: heavy $line; padding: 0 1; }
    Pair .after { border-left: heavy $success; }
    """

    def __init__(self, index: int, stages: list[Sample]) -> None:
        super().__init__()
        self._index, self._stages = index, stages

    def compose(self) -> ComposeResult:
        first, last = self._stages[0], self._stages[-1]
        yield Static(Content.assemble((f"{self._index + 1}  ", "$accent"), block(first.prompt.strip())))
        with Horizontal():
            yield Static(self._answer(first), classes="answer")
            if last is not first:
                yield Static(self._answer(last), classes="answer after")
        if first.reference.strip():
            yield Static(
                Content.assemble((_("reference") + "  ", "$dim"), block(first.reference.strip())).stylize(
                    "$dim"
                )
            )

    def _answer(self, sample: Sample) -> Content:
        return Content.assemble((f"{stage_name(sample)}\n", "$primary"), answer(sample))


class ResultsScreen(TunerScreen):
    """What a run has brought."""

    HELP_TEXT = _(
        "Before and after answer the same held-out prompts, which were never trained.\n"
        "last/ and best/ are standard folders: PEFT adapters, or safetensors models."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("l", "live", _("Curve and log")),
        Binding("r", "resume", _("Resume")),
        Binding("q", "app.quit", _("Quit")),
    ]
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
        with VerticalScroll(id="scroll"):
            with Vertical(classes="panel", id="metrics") as box:
                box.border_title = Content(_("Measured"))
                yield Static()
            with Vertical(classes="panel", id="answers") as box:
                box.border_title = Content(_("Answers to held-out prompts"))
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
        key = (len(view.samples), len(view.evaluations), len(view.checkpoints), message.snapshot.state)
        if key == self._drawn:
            return
        self._drawn = key
        self.refresh_bindings()
        self.query_one("#head", Static).update(_head(message.snapshot))
        self.query_one("#metrics > Static", Static).update(metrics_content(view))
        self.query_one("#files > Static", Static).update(_files(self.folder))
        self.query_one("#next > Static", Static).update(_next_steps(self.folder, message.snapshot))
        answers = self.query_one("#answers")
        await answers.remove_children()
        pairs = [Pair(index, stages) for index, stages in by_prompt(view.samples).items()]
        await answers.mount_all(
            pairs or [Static(Content(_("This run answered no prompts.")).stylize("$dim"))]
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "resume":
            return bool(self._snapshot) and self._snapshot.state in ("stopped", "failed", "lost")  # type: ignore[union-attr]
        return True

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


def before_after(view: RunView) -> list[tuple[str, float | None, float | None]]:
    """(metric, first value, last value) for everything that was evaluated; the same value once is no pair."""
    found: dict[str, list[float]] = {}
    for point in view.evaluations:
        for name, value in point.metrics.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return [(name, values[0], values[-1] if len(values) > 1 else None) for name, values in found.items()]


def metrics_content(view: RunView) -> Content:
    """A table: metric, before, after, and which way it went."""
    rows = before_after(view)
    if not rows:
        return Content(_("Nothing was evaluated.")).stylize("$dim")
    width = max(len(name) for name, *_rest in rows)
    head = f"{'':<{min(width, 28)}}  {_('first'):>12}    {_('last'):>12}"
    lines = [Content(head).stylize("$dim")]
    for name, first, last in rows:
        parts: list[str | tuple[str, str]] = [column(name, min(width, 28)), f"  {figure(first):>12}"]
        if last is not None and first is not None:
            parts += [("  → ", "$dim"), f"{figure(last):>12}", _way(name, first, last)]
        lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)


def _way(name: str, first: float, last: float) -> tuple[str, str]:
    """The sign of how a metric moved, in the colour of better or worse; none from or to NaN."""
    if math.isnan(first) or math.isnan(last):
        return "", "$dim"
    if last == first:
        return "  =", "$dim"
    better = last < first if name.endswith(_FALLING) else last > first
    return "  ▼" if last < first else "  ▲", "$success" if better else "$warning"


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
    if snapshot.state in ("stopped", "failed", "lost"):
        steps.append((_("go on from the last checkpoint"), f"tui-tuner resume {name}{runs}"))
    if snapshot.live:
        steps.append((_("see it from another terminal"), f"tui-tuner attach {name}{runs}"))
    if (folder.path / "config.yaml").is_file():
        config = shlex.quote(str(folder.path / "config.yaml"))
        command = f"tui-tuner run {config} --set output.name=auto --set training.epochs=5"
        steps.append((_("train again with other values"), command))
    code = _load_code(folder)
    lines = [
        Content.assemble((f"{words}\n", "$dim"), ("  " + one_line(command), "$accent"))
        for words, command in steps
    ]
    if code:
        lines.append(Content.assemble((_("use it in Python") + "\n", "$dim"), (code, "$accent")))
    return Content("\n").join(lines) if lines else Content("–")


def _load_code(folder: RunFolder) -> str:
    """Lines of Python that load the model a run made; empty where it made none."""
    place = next((path for path in (folder.best, folder.last) if path.is_dir()), None)
    if place is None:
        return ""
    where = one_line(str(place.resolve()))
    adapter = (place / "adapter_config.json").is_file()
    library, name = (
        ("peft", "AutoPeftModelForCausalLM") if adapter else ("transformers", "AutoModelForCausalLM")
    )
    return f"  from {library} import {name}\n  model = {name}.from_pretrained({where!r})"
