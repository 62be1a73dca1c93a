"""Make untrusted text (data, model names, paths, logs) safe for a terminal, and format numbers."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence

from tui_tuner.locales import _

# Unsafe: C0 except tab and newline, DEL, C1, bidi marks, embeddings, overrides and isolates, line and
# paragraph separators, lone surrogates (a terminal cannot encode them) and interlinear annotation
# marks.
_UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff"
# Invisible: the Unicode property Default_Ignorable_Code_Point, and blanks of braille and music.
# Source: DerivedCoreProperties.txt of the Unicode Character Database
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_SUSPECT = re.compile(f"[{_UNSAFE}{_INVISIBLE}]")

# Contexts in which invisible characters belong to the spelling of a language or an emoji
_JOINING = (  # scripts in which a joiner changes the shape of letters: Arabic to N'Ko, Brahmic, Mongolian
    "\u0600-\u061b\u061d-\u07ff\u0840-\u086f\u08a0-\u0dff\u0f00-\u109f\u1780-\u17b3\u17b6-\u180a\u1810-\u18af\u1a20-\u1aaf\u1b00-\u1bff"
    "\ua800-\ua9ff\uaa00-\uaaff\uabc0-\uabff\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff"
)
_UNSPACED = "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17b3\u17b6-\u17ff\u19e0-\u19ff\u1a20-\u1aaf"
_VARYING = (  # may be followed by a variation selector that chooses a form: ideographs, marks, symbols
    "\u2010-\u2027\u2030-\u205e\u2200-\u22ff\u2a00-\u2aff\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff9f"
    "\uffa1-\uffef\U00020000-\U000323af"
)
_EMOJI = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_ONE_EMOJI = f"[{_EMOJI}](?:[\ufe0e\ufe0f]|[\U0001f3fb-\U0001f3ff]\ufe0f?)?"
_IN_PLACE = re.compile(
    "("
    "\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f"  # a flag of a region
    f"|{_ONE_EMOJI}(?:\u200d{_ONE_EMOJI}){{0,9}}"
    "|[0-9#*]\ufe0f\u20e3"  # a keycap
    f"|[{_JOINING}][\u200c\u200d]"
    f"|[{_UNSPACED}]\u200b(?=[{_UNSPACED}])"
    f"|[{_VARYING}][\ufe00-\ufe0f\U000e0100-\U000e01ef]"
    "|[\u1820-\u18aa][\u180b-\u180f]"
    "|\u115f[\u1161-\u11a7]|[\u1100-\u115e\ua960-\ua97c]\u1160"  # old Hangul without one of its parts
    "|[\u2801-\u28ff]\u2800+(?=[\u2801-\u28ff])"  # a blank between braille cells
    ")"
)
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
MOST_MARKS = 8  # combining marks shown on one letter; no language uses more
_FLOOD = re.compile(f"([{_MARKS}]{{{MOST_MARKS}}})([{_MARKS}]+)")
_NO_BREAK = str.maketrans({"\u00a0": "\u237d", "\u2007": "\u237d", "\u202f": "\u237d"})


@functools.cache
def _replacements() -> dict[int, str]:
    """Return the visible replacement of each suspect character."""
    ranges = range(0x10000), range(0x1BCA0, 0x1BCB0), range(0x1D150, 0x1D180), range(0xE0000, 0xE1000)
    text = "".join(chr(code) for codes in ranges for code in codes)
    table = {ord(character): f"<U+{ord(character):04X}>" for character in _SUSPECT.findall(text)}
    for code in map(ord, re.findall(f"[{_UNSAFE}]", text)):
        table[code] = chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
    return table


def sanitize(text: object) -> str:
    """Make text safe for a terminal: keep newlines and tabs, and make invisible characters visible.

    Control characters become their visible pictures (ESC becomes U+241B); anything else that could move the
    cursor, reorder the line or break the encoding becomes U+FFFD. Invisible characters such as a zero-width
    space are spelled out (`<U+200B>`), unless they belong to the writing: joiners in Persian or Hindi, parts
    of an emoji. Only the first combining marks on one letter are shown. Never raises.
    """
    line = str(text).replace("\r\n", "\n")
    if line.isascii():
        return line.translate(_replacements()) if _SUSPECT.search(line) else line
    if _SUSPECT.search(line):
        parts = _IN_PLACE.split(line)
        parts[::2] = [part.translate(_replacements()) if part else part for part in parts[::2]]
        line = "".join(parts)
    return _FLOOD.sub(_count_marks, line)


def _count_marks(flood: re.Match[str]) -> str:
    return f"{flood[1]}<+{len(flood[2])}>"


def mark_blanks(text: object) -> str:
    """Show non-breaking spaces as U+237D, because they matter to readers who judge rows."""
    return str(text).translate(_NO_BREAK)


def one_line(text: object, width: int = 0) -> str:
    """Apply `sanitize` and put the text on one line, cut to `width` characters if given."""
    line = sanitize(text).replace("\n", "\u21b5").replace("\t", " ")
    return line if not width or len(line) <= width else line[: width - 1] + "\u2026"


def count_decimals(value: float, digits: int = 4) -> int:
    """Return the decimals for a measured number: `digits` below ten, one less for each further digit."""
    return max(0, digits - max(0, len(str(int(abs(value)))) - 1))


def format_bytes(count: float) -> str:
    """Format bytes in binary units, such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_share_percentage(share: float) -> str:
    """Format a share as a percentage, with enough digits to distinguish a small one from none."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def format_count(count: float) -> str:
    """Format a large number, such as 950, 12.3K, 596M or 7.6B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= size:
            number = count / size
            return f"{number:.0f}{unit}" if number >= 100 else f"{number:.1f}{unit}"
    return f"{count:.0f}"


def format_seconds(seconds: float) -> str:
    """Format a duration, such as `45 s`, `3 min 20 s` or `2 h 05 min`."""
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


def format_rough_seconds(seconds: float) -> str:
    """Format an estimated duration: to 10 s above a minute, to a minute above ten."""
    if not math.isfinite(seconds):
        return format_seconds(seconds)
    step = 1 if seconds < 60 else 10 if seconds < 600 else 60
    shown = round(seconds / step) * step
    return _("{n} min", n=shown // 60) if 600 <= shown < 3600 else format_seconds(max(shown, 0))


def join_sentence_items(items: Iterable[str]) -> str:
    """Join items for a sentence: `a`, `a and b`, `a, b and c`."""
    *others, last = items
    return _("{first} and {last}", first=", ".join(others), last=last) if others else last


def join_first_names(names: Sequence[str], most: int) -> list[str]:
    """Return the first `most` names as shown in a sentence, with an ellipsis if there are more."""
    return [one_line(name, 40) for name in names[:most]] + ["…"] * (len(names) > most)


def format_money(amount: float) -> str:
    """Format an amount with two decimals, or two significant digits if it is small: `12.50`, `0.0015`."""
    if abs(amount) >= 1e9:
        return f"{amount:.3g}"
    return f"{amount:.2f}" if abs(amount) >= 0.1 or not amount else f"{amount:.2g}"
