"""Text for the screen: sanitised untrusted text, numbers, ages, and words and marks of a run's state."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from rich.cells import set_cell_size
from rich.text import Text
from textual.content import Content

from tui_tuner.config.metrics import format_hundredfold_metric
from tui_tuner.locales import _
from tui_tuner.text import count_decimals, format_rough_seconds, format_seconds, one_line, sanitize
from tui_tuner.verdicts.verdict_lines import find_verdict_label, find_verdict_worth, format_run_status

_MARK, _STYLE_ENDS = "\ue000", "\ue001"  # private-use characters around styled text

# The marks distinguish the states without colour. The colours are variables of the theme.
STATES: dict[str, tuple[str, str, str]] = {
    "new": ("○", _("new"), "$dim"),
    "reading": ("○", _("reading the journal"), "$primary"),
    "starting": ("○", _("starting"), "$primary"),
    "running": ("●", _("running"), "$success"),
    "paused": ("‖", _("paused"), "$warning"),
    "completed": ("✓", _("completed"), "$success"),
    "stopped": ("■", _("stopped"), "$warning"),
    "failed": ("✗", _("failed"), "$error"),
    "lost": ("?", _("lost"), "$error"),
}

# For completed runs, by how useful the result is
_WORTH = {1: ("✓", "$success"), 0: ("~", "$foreground"), -1: ("!", "$warning")}

PHASES: dict[str, str] = {
    "fetching": _("fetching the model"),
    "loading": _("loading"),
    "tokenizing": _("preparing data"),
    "training": _("training"),
    "evaluating": _("evaluating"),
    "sampling": _("answering prompts"),
    "saving": _("saving"),
    "paused": _("paused"),
}


def make_safe_line(text: object, width: int = 0) -> Content:
    """Return one line of untrusted text as content that is never read as markup."""
    return Content(one_line(text, width))


def make_safe_block(text: object) -> Content:
    """Return several lines of untrusted text as content that is never read as markup."""
    # A terminal would move to its own tab stops, and cells would no longer be where Textual counts them.
    return Content(sanitize(text).replace("\t", "    "))


def mark_placeholder_value(text: str, style: str = "$accent") -> str:
    """Mark a placeholder's value, for `render_marked_sentence` to show it in another style."""
    return f"{_MARK}{style}{_STYLE_ENDS}{text}{_MARK}"


def render_marked_sentence(sentence: str, style: str = "") -> Content:
    """Render a translated sentence in one style, with the values from `mark` in theirs."""
    parts: list[tuple[str, str]] = []
    # Marks come in pairs, so every second part is a marked one.
    for place, part in enumerate(sentence.split(_MARK)):
        own, _between, text = part.partition(_STYLE_ENDS) if place % 2 else (style, "", part)
        parts += [(text, own)] if text else []
    return Content.assemble(*parts)


def render_run_state(state: str, with_word: bool = True, verdict: str = "") -> Content:
    """Render the mark and word of a state in its colour; for an ended run, with its verdict."""
    mark, word, colour = describe_run_state(state, verdict)
    return Content.assemble((f"{mark} {word}" if with_word else mark, colour))


def describe_run_state(state: str, verdict: str = "", short: bool = False) -> tuple[str, str, str]:
    """Return mark, word and colour of a state; a completed run with a useless result is not green.

    Args:
        short: For a completed run, return the verdict alone.
    """
    mark, word, colour = STATES.get(state, ("·", one_line(state, 12), "$dim"))
    if not verdict or state not in ("completed", "stopped"):
        return mark, word, colour
    if state == "completed":
        mark, colour = _WORTH[find_verdict_worth(verdict)]
        if short:
            return mark, find_verdict_label(verdict).lower(), colour
    elif short:
        return mark, word, colour
    return mark, format_run_status(state, verdict), colour


def format_screen_number(value: object, digits: int = 4) -> str:
    """Format a measured number, or a dash if there is none; `nan` and `inf` are measured numbers."""
    # bool is a subclass of int and would be shown as 1.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return f"{value}"
    if value and (abs(value) < 10**-digits or abs(value) >= 1e6):
        return f"{value:.2e}"
    return f"{value:,.{count_decimals(value, digits)}f}"


def format_screen_metric(name: str, value: object, digits: int = 4) -> str:
    """Format a metric in its usual scale, such as F1 times 100."""
    return format_hundredfold_metric(name, value) or format_screen_number(value, digits)


def format_plain_value(value: object) -> str:
    """Format a config value as YAML spells it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return one_line(value)


def format_age(moment: float, now: float | None = None) -> str:
    """Format how long ago a moment (Unix seconds) was: `5 min ago`, or a date after a week."""
    seconds = (time.time() if now is None else now) - moment
    if moment <= 0:
        return ""
    if seconds < 60:
        return _("just now")
    if seconds < 3600:
        return _("{count} min ago", count=int(seconds // 60))
    if seconds < 86400:
        return _("{count} h ago", count=int(seconds // 3600))
    if seconds < 7 * 86400:
        return _("{count} d ago", count=int(seconds // 86400))
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def format_screen_duration(seconds: float) -> str:
    # `max` returns its first argument where neither is greater, so NaN stays NaN.
    return format_seconds(max(seconds, 0.0))


rough = format_rough_seconds


def format_duration_range(low: float, high: float) -> str:
    """Format a range of durations briefly: `18–20 s`, `50 s–1.2 min`; one number if both ends agree."""
    (first, unit), (last, other) = _in_its_unit(low), _in_its_unit(high)
    if unit == other:
        return f"{first} {unit}" if first == last else f"{first}–{last} {unit}"
    return f"{first} {unit}–{last} {other}"


def _in_its_unit(seconds: float) -> tuple[str, str]:
    seconds = max(seconds, 0.0)  # NaN stays NaN in this order
    # 59.5 and 3570 are where rounding would show 60 of the smaller unit.
    if not math.isfinite(seconds) or seconds < 59.5:
        return f"{seconds:.0f}", _("s")
    value, unit = (seconds / 60, _("min")) if seconds < 3570 else (seconds / 3600, _("h"))
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}", unit


def draw_screen_bar(share: float, width: int) -> tuple[str, str]:
    """Return the filled and the empty part of a bar of `width` cells, in steps of half a cell."""
    halves = round(max(0.0, min(1.0, share)) * width * 2)
    full, half = divmod(halves, 2)
    filled = "━" * full + ("╸" if half else "")
    return filled, "━" * (width - len(filled))


def fit_screen_column(text: object, width: int) -> str:
    """Fit one line of untrusted text into exactly `width` terminal cells, with an ellipsis if it is cut."""
    line = one_line(text)
    fitted = set_cell_size(line, width)
    if fitted.rstrip() == line.rstrip() or width < 2:
        return fitted
    return set_cell_size(set_cell_size(line, width - 1).rstrip() + "…", width)


def flow_screen_parts(parts: list[Content], joint: str, width: int) -> list[Content]:
    """Join parts into lines of at most `width` cells, broken only between parts."""
    lines: list[list[Content]] = []
    for part in parts:
        if lines and sum(one.cell_length + len(joint) for one in lines[-1]) + part.cell_length <= width:
            lines[-1].append(part)
        else:
            lines.append([part])
    return [Content(joint).join(line) for line in lines]


def render_themed_text(variables: Mapping[str, str], *parts: tuple[str, str]) -> Text:
    """Build a Rich text from (text, colour such as `$dim`) pairs, for widgets that take no `Content`."""
    text = Text()
    for words, colour in parts:
        text.append(words, variables.get(colour.removeprefix("$"), "") if colour else "")
    return text
