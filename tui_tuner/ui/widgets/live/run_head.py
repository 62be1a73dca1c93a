"""The progress of a run: state, phase, step, time left, a bar, and what limits its speed."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.runs.phases.progress import format_phase_progress
from tui_tuner.ui.bridge import RunSnapshot
from tui_tuner.ui.screen_words import (
    PHASES,
    describe_run_state,
    draw_screen_bar,
    format_screen_duration,
    make_safe_block,
    make_safe_line,
    render_run_state,
    rough,
)
from tui_tuner.ui.widgets.changed_lines import Lines
from tui_tuner.ui.widgets.judged.next_steps import lay_out_keys
from tui_tuner.ui.widgets.live.verdict_line import draw_verdict_line

_OF_STEPS = ("training", "paused")  # phases that count the steps of the run


class RunHead(Vertical):
    """Words and a bar; if needed, lines for the verdict and for the bottleneck or the next steps."""

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

    def show_progress(self, snapshot: RunSnapshot, keys: list[tuple[str, str]] | None = None) -> None:
        """Show a run's progress.

        Args:
            keys: The keys for next steps of an ended run, with descriptions.
        """
        verdict = snapshot.view.verdict_name
        parts = [render_run_state(snapshot.state, verdict=verdict)]
        parts += [part for part in _list_words(snapshot) if part.plain]
        self.query_one("#words", Lines).show_lines(Content("   ").join(parts))
        share, text = _find_share(snapshot)
        width = max(4, self.size.width - 2 - (len(text) + 1 if text else 0))
        filled, rest = draw_screen_bar(share, width)
        colour = describe_run_state(snapshot.state, verdict)[2]
        colour = "$primary" if snapshot.state == "running" else colour
        line = Content.assemble((filled, colour), (rest, "$line"), (f" {text}" if text else "", "$dim"))
        self.query_one("#bar", Lines).show_lines(line)
        said = draw_verdict_line(snapshot.view, snapshot.is_live, max(20, self.size.width - 2))
        self.set_class(said is not None, "-judged")
        if said is not None:
            self.query_one("#verdict", Lines).show_lines(said)
        limit = snapshot.view.bottleneck
        self.set_class(bool(keys) or limit is not None, "-limited")
        if keys:
            self.query_one("#limit", Lines).show_lines(lay_out_keys(keys, max(20, self.size.width - 2)))
        elif limit is not None:
            self.query_one("#limit", Lines).show_lines(
                Content.assemble(("! ", "$warning"), make_safe_line(limit.message))
            )


def _find_share(snapshot: RunSnapshot) -> tuple[float, str]:
    """Return the share done of the run, or of a phase before training, and a text for it."""
    view = snapshot.view
    found = view.progress
    if snapshot.is_live and view.phase not in (*_OF_STEPS, ""):
        said = format_phase_progress(found, time.time())
        # A phase within training, such as an evaluation without a count, shows the progress of the run.
        if found.total or not view.total_steps:
            return (min(found.done / found.total, 1.0) if found.total else 0.0), said
        return view.step / view.total_steps, said
    if view.total_steps:
        share = view.step / view.total_steps
        return share, f"{min(share, 1.0):.0%}"
    return 0.0, ""


def _list_words(snapshot: RunSnapshot) -> list[Content]:
    view = snapshot.view
    if snapshot.state == "starting" and view.phase == "":
        return [Content(_("waiting for its first event"))]
    words: list[Content] = []
    if snapshot.is_live and view.phase and view.phase not in _OF_STEPS:
        name = PHASES.get(view.phase)
        words.append(Content(name) if name else make_safe_line(view.phase, 30))
        words.append(make_safe_line(view.progress.note, 60).stylize("$dim"))
        since = time.time() - (view.last_time or time.time())
        if since >= 5:  # heartbeats are 5 s apart, so one is late
            words.append(Content(_("silent for {t}", t=format_screen_duration(since))).stylize("$warning"))
        if not view.steps:
            return words
    words.append(_format_step(snapshot))
    if view.epoch:
        words.append(Content(_("epoch {epoch:.2f}", epoch=view.epoch)))
    left = view.seconds_left()
    if snapshot.state == "running" and left is not None:
        words.append(Content(_("~{t} left", t=rough(left))).stylize("$primary"))
    if snapshot.state == "paused":
        held = view.progress.seconds_since(time.time())
        words.append(Content(_("for {t}", t=format_screen_duration(held))).stylize("$warning"))
    # A finished run does not get older, and clocks of other machines may be ahead.
    now = max(view.last_time, time.time()) if snapshot.is_live and view.phase in _OF_STEPS else view.last_time
    if view.started and now > view.started:
        took = format_screen_duration(now - view.started)
        text = _("{time} so far", time=took) if snapshot.is_live else _("took {time}", time=took)
        words.append(Content(text).stylize("$dim"))
    if not snapshot.is_live and view.message and (view.steps or snapshot.state != "failed"):
        words.append(make_safe_block(view.message.splitlines()[0]))
    return words


def _format_step(snapshot: RunSnapshot) -> Content:
    view = snapshot.view
    if not view.total_steps:
        return Content(_("step {step:,}", step=view.step)) if view.step else Content("")
    return Content(_("step {step:,} of {total:,}", step=view.step, total=view.total_steps))
