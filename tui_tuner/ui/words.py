"""Text for the screen: untrusted text made safe, figures, ages, and the words and marks of a run's state."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from rich.cells import set_cell_size
from rich.text import Text
from textual.content import Content

from tui_tuner.config.metrics import hundredfold
from tui_tuner.locales import _
from tui_tuner.text import decimals, human_seconds, one_line, rough_seconds, sanitize
from tui_tuner.verdicts.told import label_of, status_words, worth_of

_MARK, _STYLE_ENDS = "\ue000", "\ue001"  # for private use, around what a style is for

# The mark tells the states apart without colour. The colours are names of the theme.
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

# Of a run that is complete, by what its result is worth
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


def safe(text: object, width: int = 0) -> Content:
    """One line of untrusted text as content that is never read as markup."""
    return Content(one_line(text, width))


def block(text: object) -> Content:
    """Untrusted text of several lines as content that is never read as markup."""
    return Content(sanitize(text).replace("\t", "    "))


def mark(text: str, style: str = "$accent") -> str:
    """A value for a place of a sentence that `marked` shows in a style of its own."""
    return f"{_MARK}{style}{_STYLE_ENDS}{text}{_MARK}"


def marked(sentence: str, style: str = "") -> Content:
    """A whole sentence in a style, and in it what `mark` has marked in another."""
    parts: list[tuple[str, str]] = []
    for place, part in enumerate(sentence.split(_MARK)):
        own, _between, text = part.partition(_STYLE_ENDS) if place % 2 else (style, "", part)
        parts += [(text, own)] if text else []
    return Content.assemble(*parts)


def state_content(state: str, with_word: bool = True, verdict: str = "") -> Content:
    """A state's mark, and its word, in its colour; of a run that has ended, what came of it as well."""
    mark, word, colour = state_words(state, verdict)
    return Content.assemble((f"{mark} {word}" if with_word else mark, colour))


def state_words(state: str, verdict: str = "", short: bool = False) -> tuple[str, str, str]:
    """Mark, word and colour of a state; a result that is of no use is never complete in green.

    Args:
        short: Of a run that is complete, its verdict alone.
    """
    mark, word, colour = STATES.get(state, ("·", one_line(state, 12), "$dim"))
    if not verdict or state not in ("completed", "stopped"):
        return mark, word, colour
    if state == "completed":
        mark, colour = _WORTH[worth_of(verdict)]
        if short:
            return mark, label_of(verdict).lower(), colour
    elif short:
        return mark, word, colour
    return mark, status_words(state, verdict), colour


def figure(value: object, digits: int = 4) -> str:
    """A measured number, or a dash where there is none; `nan` and `inf` are measured numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return f"{value}"
    if value and (abs(value) < 10**-digits or abs(value) >= 1e6):
        return f"{value:.2e}"
    return f"{value:,.{decimals(value, digits)}f}"


def measured(name: str, value: object, digits: int = 4) -> str:
    """A metric as its field shows it, such as an F1 times 100."""
    return hundredfold(name, value) or figure(value, digits)


def plain_value(value: object) -> str:
    """A config value the way YAML spells it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return one_line(value)


def age(moment: float, now: float | None = None) -> str:
    """How long ago a moment (Unix seconds) was: `5 min ago`; a date once it is a week."""
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


def duration(seconds: float) -> str:
    """A duration, in words."""
    return human_seconds(max(seconds, 0.0))  # in this order, NaN stays NaN


rough = rough_seconds


def span(low: float, high: float) -> str:
    """A range of durations in few cells: `18–20 s`, `50 s–1.2 min`; one number where both ends agree."""
    (first, unit), (last, other) = _in_its_unit(low), _in_its_unit(high)
    if unit == other:
        return f"{first} {unit}" if first == last else f"{first}–{last} {unit}"
    return f"{first} {unit}–{last} {other}"


def _in_its_unit(seconds: float) -> tuple[str, str]:
    seconds = max(seconds, 0.0)  # in this order, NaN stays NaN
    if not math.isfinite(seconds) or seconds < 59.5:
        return f"{seconds:.0f}", _("s")
    value, unit = (seconds / 60, _("min")) if seconds < 3570 else (seconds / 3600, _("h"))
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}", unit


def bar(share: float, width: int) -> tuple[str, str]:
    """The filled and the empty part of a bar of `width` cells; half a cell is its finest step."""
    halves = round(max(0.0, min(1.0, share)) * width * 2)
    full, half = divmod(halves, 2)
    filled = "━" * full + ("╸" if half else "")
    return filled, "━" * (width - len(filled))


def column(text: object, width: int) -> str:
    """One line of untrusted text in exactly `width` terminal cells, with an ellipsis where it is cut."""
    line = one_line(text)
    fitted = set_cell_size(line, width)
    if fitted.rstrip() == line.rstrip() or width < 2:
        return fitted
    return set_cell_size(set_cell_size(line, width - 1).rstrip() + "…", width)


def flowed(parts: list[Content], joint: str, width: int) -> list[Content]:
    """Parts on lines of so many cells, broken between them only."""
    lines: list[list[Content]] = []
    for part in parts:
        if lines and sum(one.cell_length + len(joint) for one in lines[-1]) + part.cell_length <= width:
            lines[-1].append(part)
        else:
            lines.append([part])
    return [Content(joint).join(line) for line in lines]


def themed(variables: Mapping[str, str], *parts: tuple[str, str]) -> Text:
    """A Rich text of (text, colour name such as `$dim`), for widgets that take no `Content`."""
    text = Text()
    for words, colour in parts:
        text.append(words, variables.get(colour.removeprefix("$"), "") if colour else "")
    return text


def share_words(share: float) -> str:
    """A share of the whole, with as many digits as tell a small one from none."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
