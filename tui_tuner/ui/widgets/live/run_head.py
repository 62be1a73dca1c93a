"""Where a run stands: state, phase, step, time left, a bar, and what limits its speed."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.runs.phases.progress import progress_words
from tui_tuner.ui.bridge import Snapshot
from tui_tuner.ui.widgets.changed import Lines
from tui_tuner.ui.widgets.judged.next_steps import keys_content
from tui_tuner.ui.widgets.live.verdict_line import verdict_content
from tui_tuner.ui.words import PHASES, bar, block, duration, rough, safe, state_content, state_words

_OF_STEPS = ("training", "paused")  # phases whose count is that of the run


class RunHead(Vertical):
    """Words and a bar; a line more for the verdict, and one for what limits the speed or comes next."""

    DEFAULT_CSS = """
    RunHead { height: auto; padding: 1 1 0 1; }
    RunHead #limit, RunHead #verdict { display: none; }
    RunHead.-limited #limit, RunHead.-judged #verdict { display: block; }
    """

    def compose(self) -> ComposeResult:
        yield Lines(id="words")
        yield Lines(id="bar")
        yield Lines(id="verdict")
        yield Lines(id="limit")

    def show(self, snapshot: Snapshot, keys: list[tuple[str, str]] | None = None) -> None:
        """Draw a run's progress.

        Args:
            keys: That lead on from a run that has ended, each with what it does.
        """
        verdict = snapshot.view.verdict_name
        parts = [state_content(snapshot.state, verdict=verdict)]
        parts += [part for part in _words(snapshot) if part.plain]
        self.query_one("#words", Lines).show(Content("   ").join(parts))
        share, text = _share(snapshot)
        width = max(4, self.size.width - 2 - (len(text) + 1 if text else 0))
        filled, rest = bar(share, width)
        colour = state_words(snapshot.state, verdict)[2]
        colour = "$primary" if snapshot.state == "running" else colour
        line = Content.assemble((filled, colour), (rest, "$line"), (f" {text}" if text else "", "$dim"))
        self.query_one("#bar", Lines).show(line)
        said = verdict_content(snapshot.view, snapshot.live, max(20, self.size.width - 2))
        self.set_class(said is not None, "-judged")
        if said is not None:
            self.query_one("#verdict", Lines).show(said)
        limit = snapshot.view.bottleneck
        self.set_class(bool(keys) or limit is not None, "-limited")
        if keys:
            self.query_one("#limit", Lines).show(keys_content(keys, max(20, self.size.width - 2)))
        elif limit is not None:
            self.query_one("#limit", Lines).show(Content.assemble(("! ", "$warning"), safe(limit.message)))


def _share(snapshot: Snapshot) -> tuple[float, str]:
    """How much of the run, or of the phase before it trains, is done; and how to say it."""
    view = snapshot.view
    found = view.progress
    if snapshot.live and view.phase not in (*_OF_STEPS, ""):
        said = progress_words(found, time.time())
        if found.total or not view.total_steps:
            return (min(found.done / found.total, 1.0) if found.total else 0.0), said
        return view.step / view.total_steps, said
    if view.total_steps:
        share = view.step / view.total_steps
        return share, f"{min(share, 1.0):.0%}"
    return 0.0, ""


def _words(snapshot: Snapshot) -> list[Content]:
    view = snapshot.view
    if snapshot.state == "starting" and view.phase == "":
        return [Content(_("waiting for its first word"))]
    words: list[Content] = []
    if snapshot.live and view.phase and view.phase not in _OF_STEPS:
        name = PHASES.get(view.phase)
        words.append(Content(name) if name else safe(view.phase, 30))
        words.append(safe(view.progress.note, 60).stylize("$dim"))
        since = time.time() - (view.last_time or time.time())
        if since >= 5:  # heartbeats are 5 s apart: a silence is worth a word
            words.append(Content(_("silent for {t}", t=duration(since))).stylize("$warning"))
        if not view.steps:
            return words
    words.append(_step(snapshot))
    if view.epoch:
        words.append(Content(_("epoch {epoch:.2f}", epoch=view.epoch)))
    left = view.seconds_left()
    if snapshot.state == "running" and left is not None:
        words.append(Content(_("~{t} left", t=rough(left))).stylize("$primary"))
    if snapshot.state == "paused":
        held = view.progress.seconds(time.time())
        words.append(Content(_("for {t}", t=duration(held))).stylize("$warning"))
    now = max(view.last_time, time.time()) if snapshot.live and view.phase in _OF_STEPS else view.last_time
    if view.started and now > view.started:
        took = duration(now - view.started)
        text = _("{time} so far", time=took) if snapshot.live else _("took {time}", time=took)
        words.append(Content(text).stylize("$dim"))
    if not snapshot.live and view.message and (view.steps or snapshot.state != "failed"):
        words.append(block(view.message.splitlines()[0]))
    return words


def _step(snapshot: Snapshot) -> Content:
    view = snapshot.view
    if not view.total_steps:
        return Content(_("step {step:,}", step=view.step)) if view.step else Content("")
    return Content(_("step {step:,} of {total:,}", step=view.step, total=view.total_steps))
