"""The one gate between untrusted text (data, model names, paths, logs) and a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from tui_tuner.locales import _

# C0 but tab and newline, DEL, C1, bidi marks/embeddings/overrides/isolates, line and paragraph separators,
# lone surrogates (a terminal cannot encode them) and interlinear annotation marks.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def sanitize(text: object) -> str:
    """Make text safe to write to a terminal, keeping newlines and tabs.

    Control characters become their visible pictures (ESC becomes U+241B), everything else that could
    move the cursor, reorder the line or break the encoding becomes U+FFFD. Never raises.
    """
    return _UNSAFE.sub(_visible, str(text).replace("\r\n", "\n"))


def one_line(text: object, width: int = 0) -> str:
    """`sanitize` on one line: newlines become U+21B5, tabs a space; cut to `width` characters if given."""
    line = sanitize(text).replace("\n", "\u21b5").replace("\t", " ")
    return line if not width or len(line) <= width else line[: width - 1] + "\u2026"


def human_bytes(count: float) -> str:
    """Bytes in binary units, such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """A duration such as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    if not math.isfinite(seconds):
        return f"{seconds} s"
    total = round(seconds)
    if total < 60:
        return _("{seconds} s", seconds=total)
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return _("{minutes} min {seconds:02d} s", minutes=minutes, seconds=rest)
    hours, minutes = divmod(minutes, 60)
    return _("{hours} h {minutes:02d} min", hours=hours, minutes=minutes)


def listed(items: Iterable[str]) -> str:
    """Things named one after the other in a sentence: `a`, `a and b`, `a, b and c`."""
    *others, last = items
    return _("{first} and {last}", first=", ".join(others), last=last) if others else last


def human_money(amount: float) -> str:
    """An amount with two decimals, or two figures where it is small: `12.50`, `0.0015`."""
    if abs(amount) >= 1e9:
        return f"{amount:.3g}"
    return f"{amount:.2f}" if abs(amount) >= 0.1 or not amount else f"{amount:.2g}"
