"""Limit what one rendering of a chat template may cost: steps, text, and the size of each value.

Templates come with models from strangers. Steps and sizes are counted instead of seconds, so that a row is
refused on every machine or on none; a clock is only the last resort. A larger chat may cost more: the chat is
measured when the first allowance is used up, which never happens in an ordinary one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import TemplateError
from jinja2.utils import Namespace

from tui_tuner.locales import _

STEPS = 2_000_000  # executed parts of a template: about a second
STEPS_EACH = 50  # more for each character of the chat
TEXT = 64 << 20  # characters written, including those that are discarded again
TEXT_EACH = 1000
LONGEST = 1 << 20  # characters of one text, items of one list with all that they hold
LONGEST_EACH = 16
MOST_ITEMS = 200_000
MOST_BITS = 20_000  # of a whole number
SECONDS = 2.0  # of this thread, whatever was counted
SHORT = 4096  # characters of a text whose cost can be ignored
_CHUNK = 5_000  # steps between two looks at the clock
_PER_STEP = 64  # characters that are read or written in the time of a step
_WIDTHS = re.compile(r"\d{5,}|\*")
_SCALARS = (int, float, bool, type(None))
_CONTAINERS = (list, tuple, dict, set, frozenset)


class TooCostlyError(TemplateError):
    """The template exceeds what a rendering may cost."""


class CostMeter:
    """Counts the cost of one rendering.

    Args:
        given: The variables of the template; the chat in them is measured if the allowance is used up.
    """

    # Made for each rendering, and its methods run for each loop of a template: slots make it faster.
    __slots__ = ("_all_steps", "_began", "_given", "_known", "_more", "_steps", "_text")

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._more: int | None = None
        self._steps, self._all_steps = _CHUNK, STEPS - _CHUNK
        self._text = TEXT
        self._began: float | None = None
        self._known: dict[int, tuple[Any, int, int]] = {}

    def tick(self, steps: int) -> bool:
        """Count steps. Always true, for use in conditions."""
        self._steps -= steps
        if self._steps < 0:
            self._next_chunk()
        return True

    def count_text(self, characters: int) -> None:
        """Count text that the template has made."""
        self._text -= characters
        if self._text < 0:
            # The allowance for a large chat is added once, when it is first needed.
            self._text += self._measure_chat() * TEXT_EACH if self._more is None else 0
            if self._text < 0:
                raise TooCostlyError(_("it writes text without end"))
        if characters > SHORT:
            self.tick(characters // _PER_STEP)
            self.check_length(characters)

    def check_length(self, characters: int) -> None:
        """Refuse a text of this length before it is made, if it is too long."""
        if characters > LONGEST and characters > LONGEST + self._measure_chat() * LONGEST_EACH:
            raise TooCostlyError(_("it makes a text of {characters:,} characters", characters=characters))

    def added(self, first: Any, *others: Any) -> Any:
        """Add values with `+`, from left to right."""
        for other in others:
            first = first + other
            if type(first) is not str:
                self.made(first)
            elif len(first) > SHORT:
                self.count_text(len(first))
        # Short texts are only subtracted; the limit is checked with the next larger one.
        if type(first) is str:
            self._text -= len(first)
        return first

    def joined(self, pieces: Iterable[str]) -> str:
        """Join the pieces of a text that a template keeps."""
        pieces = list(pieces)
        self.count_text(sum(map(len, pieces)))
        return "".join(pieces)

    def shown(self, value: Any) -> Any:
        """Count a value that is about to become text."""
        # A list or mapping that is not known was given to the template, or is inside of a known one.
        kind = type(value)
        if kind is str:
            self._text -= len(value)
        elif kind in _SCALARS:
            return value
        elif isinstance(value, _CONTAINERS):
            known = self._known.get(id(value))
            if known is not None:
                self.count_text(known[1] + known[2])
        elif isinstance(value, Namespace):
            self.count_text(sum(self.measure_value(value)))
        return value

    def made(self, value: Any) -> Any:
        """Count a value that the template has made."""
        kind = type(value)
        if kind is bool or kind is float or value is None:
            return value
        if isinstance(value, str | bytes):
            self.count_text(len(value))
        elif isinstance(value, _CONTAINERS):
            items, characters = self.measure_value(value)
            if characters > TEXT:
                raise TooCostlyError(_("it makes an endless list"))
            self.count_text(8 * items)
        elif isinstance(value, int):
            check_number_size(value)
        return value

    def measure_value(self, value: Any) -> tuple[int, int]:
        """Count the values that a list or mapping holds, each time they occur, and their characters.

        A list may hold another one many times: as text, all of them are written.
        """
        # A stack and not recursion: a template can nest lists deeper than Python allows calls.
        most, extended = MOST_ITEMS, False
        items = characters = walked = 0
        waiting = [value]
        while waiting:
            one = waiting.pop()
            items += 1
            kind = type(one)
            if kind is str:
                characters += len(one)
            elif kind in _SCALARS:
                continue
            elif isinstance(one, _CONTAINERS):
                known = self._known.get(id(one))
                if known is not None:
                    items += known[1]
                    characters += known[2]
                elif isinstance(one, dict):
                    waiting += one
                    waiting += one.values()
                else:
                    waiting += one
            elif isinstance(one, Namespace):
                waiting += one._Namespace__attrs.values()  # type: ignore[attr-defined]
            elif isinstance(one, range | str | bytes):
                items += len(one)
                characters += len(one)
            walked += 1
            if items + len(waiting) > most:
                if not extended:
                    extended, most = True, most + self._measure_chat() * LONGEST_EACH
                if items + len(waiting) > most:
                    raise TooCostlyError(_("it makes an endless list"))
        # The value is kept alive with its sizes: otherwise another one could get its address.
        if isinstance(value, _CONTAINERS):
            self._known[id(value)] = (value, items, characters)
        self.tick(walked)
        return items, characters

    def _next_chunk(self) -> None:
        # Time of this thread: other work on the machine must not decide whether a row is refused.
        now = time.thread_time()
        # The clock starts with the first full chunk: most renderings never read it.
        self._began = now if self._began is None else self._began
        if now - self._began > SECONDS:
            raise TooCostlyError(_("it takes more than {seconds:g} seconds", seconds=SECONDS))
        wanted = max(_CHUNK, -self._steps)
        if self._all_steps < wanted and self._more is None:
            self._all_steps += self._measure_chat() * STEPS_EACH
        if self._all_steps < wanted:
            raise TooCostlyError(_("it does not end"))
        self._all_steps -= wanted
        self._steps += wanted

    def _measure_chat(self) -> int:
        """Measure the chat in characters; each value counts as 20."""
        if self._more is None:
            self._more = 0
            names = ("messages", "tools", "documents")
            self._more = sum(_measure_size(self._given.get(name)) for name in names)
        return self._more


def _measure_size(value: Any) -> int:
    found, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        found += 20
        if isinstance(one, str):
            found += len(one)
        elif isinstance(one, dict):
            waiting += one
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
    return found


# ---- operations whose result can be far larger than what they are given --------------------------------


def check_number_size(value: int) -> int:
    """Return a whole number, unless it has thousands of digits."""
    if value.bit_length() > MOST_BITS:
        raise TooCostlyError(_("it computes with a number of thousands of digits"))
    return value


def check_operation_cost(meter: CostMeter, operator: str, left: Any, right: Any) -> None:
    """Refuse `*`, `**`, `%` and `//` before they are computed, if they make or take too much."""
    if isinstance(left, int) and isinstance(right, int):
        check_number_size(left)
        check_number_size(right)
        bits = left.bit_length()
        # Computed in advance, because the result would already take the time and memory.
        if operator == "**" and right > 0 and bits > 1 and bits * right > MOST_BITS:
            raise TooCostlyError(_("it computes with a number of thousands of digits"))
        return
    if operator == "*":
        times, what = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(times, int) and isinstance(what, str | bytes):
            meter.check_length(len(what) * times)
        elif isinstance(times, int) and isinstance(what, list | tuple) and times > 0:
            items, _unused = meter.measure_value(what)
            if items * times > MOST_ITEMS:
                raise TooCostlyError(_("it makes an endless list"))
    elif operator == "%" and isinstance(left, str | bytes):
        check_format_cost(meter, left, right if isinstance(right, tuple) else (right,))


def check_format_cost(meter: CostMeter, pattern: Any, values: Iterable[Any]) -> None:
    """Refuse to fill in a pattern (`%` or `format`) if widths or values would make it too long."""
    text = pattern if isinstance(pattern, str) else pattern.decode("latin-1")
    values = list(values)
    largest = max((sum(meter.measure_value(value)) for value in values), default=0)
    width = 0
    for found in _WIDTHS.findall(text):
        numbers = [value for value in values if isinstance(value, int)]
        width = max([width, *numbers] if found == "*" else [width, int(found[:12])])
    meter.check_length(len(text) + (text.count("%") + text.count("{")) * max(largest, width))


def check_method_cost(meter: CostMeter, owner: Any, name: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a method of a text or number if its result would be too long."""
    first = arguments[0] if arguments else None
    if isinstance(owner, str | bytes):
        size = len(owner)
        if name in ("center", "ljust", "rjust", "zfill") and isinstance(first, int):
            meter.check_length(first)
        elif name == "expandtabs" and isinstance(first, int):
            meter.check_length(size + size * first)
        elif name == "replace" and len(arguments) > 1:
            check_replacement_cost(meter, owner, first, arguments[1])
        elif name == "join" and isinstance(first, _CONTAINERS):
            items, characters = meter.measure_value(first)
            meter.check_length(items * size + characters)
        elif name == "translate" and isinstance(first, dict):
            meter.check_length(
                size * max((len(one) for one in first.values() if isinstance(one, str)), default=1)
            )
        elif name == "split" or name == "splitlines":
            meter.tick(size // 8)
        elif size > SHORT:
            meter.tick(size // _PER_STEP)
    elif name == "to_bytes" and isinstance(first, int):
        meter.check_length(first)
    elif isinstance(owner, list | tuple | dict):
        meter.tick(len(owner))


def check_replacement_cost(meter: CostMeter, text: Any, old: Any, new: Any) -> None:
    """Refuse to replace parts of a text by longer ones if it would grow too long."""
    texts = isinstance(new, str | bytes) and isinstance(old, str | bytes)
    if texts and len(new) > len(old) and len(text) * len(new) > LONGEST:
        meter.check_length(len(text) + text.count(old) * (len(new) - len(old)))
