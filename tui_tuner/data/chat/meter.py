"""What one rendering of a chat template may cost: steps, text, and the size of any one value.

Templates come with models of strangers. Steps and sizes are counted, and not seconds, so that a row is
refused on every machine or on none; a clock is only the last resort. A larger chat may cost more: what is
given is measured when the first allowance is used up, which never happens in an ordinary chat.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import TemplateError
from jinja2.utils import Namespace

from tui_tuner.locales import _

STEPS = 2_000_000  # parts of a template that are carried out: about a second
STEPS_EACH = 50  # more for each character of the chat
TEXT = 64 << 20  # characters written, counting what is thrown away again
TEXT_EACH = 1000
LONGEST = 1 << 20  # characters of one text, items of one list with all that they hold
LONGEST_EACH = 16
MOST_ITEMS = 200_000
MOST_BITS = 20_000  # of a whole number
SECONDS = 2.0  # of this thread, whatever was counted
SHORT = 4096  # characters of a text that costs nothing to speak of
_CHUNK = 5_000  # steps between two looks at the clock
_PER_STEP = 64  # characters that are read or written in the time of a step
_WIDTHS = re.compile(r"\d{5,}|\*")
_SCALARS = (int, float, bool, type(None))
_CONTAINERS = (list, tuple, dict, set, frozenset)


class TooCostly(TemplateError):
    """The template wants more than a rendering may cost."""


class Meter:
    """Counts one rendering down.

    Args:
        given: The variables of the template, of which the chat is measured if the allowance is used up.
    """

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

    def wrote(self, characters: int) -> None:
        """Count text that was made."""
        self._text -= characters
        if self._text < 0:
            self._text += self._extra() * TEXT_EACH if self._more is None else 0
            if self._text < 0:
                raise TooCostly(_("it writes without an end"))
        if characters > SHORT:
            self.tick(characters // _PER_STEP)
            self.fits(characters)

    def fits(self, characters: int) -> None:
        """Refuse a text of so many characters before it is made, if that is too long."""
        if characters > LONGEST and characters > LONGEST + self._extra() * LONGEST_EACH:
            raise TooCostly(_("it makes a text of {characters:,} characters", characters=characters))

    def added(self, first: Any, *others: Any) -> Any:
        """Values put together by `+`, from left to right."""
        for other in others:
            first = first + other
            if type(first) is not str:
                self.made(first)
            elif len(first) > SHORT:
                self.wrote(len(first))
        if type(first) is str:
            self._text -= len(first)
        return first

    def joined(self, pieces: Iterable[str]) -> str:
        """The pieces of a text that a template keeps, as one."""
        pieces = list(pieces)
        self.wrote(sum(map(len, pieces)))
        return "".join(pieces)

    def shown(self, value: Any) -> Any:
        """A value that is about to become text.

        A list or mapping that is not known was given to the template, or lies in one that is known.
        """
        kind = type(value)
        if kind is str:
            self._text -= len(value)
        elif kind in _SCALARS:
            return value
        elif isinstance(value, _CONTAINERS):
            known = self._known.get(id(value))
            if known is not None:
                self.wrote(known[1] + known[2])
        elif isinstance(value, Namespace):
            self.wrote(sum(self.measured(value)))
        return value

    def made(self, value: Any) -> Any:
        """A value that the template has made."""
        kind = type(value)
        if kind is bool or kind is float or value is None:
            return value
        if isinstance(value, str | bytes):
            self.wrote(len(value))
        elif isinstance(value, _CONTAINERS):
            items, characters = self.measured(value)
            if characters > TEXT:
                raise TooCostly(_("it makes a list without an end"))
            self.wrote(8 * items)
        elif isinstance(value, int):
            whole(value)
        return value

    def measured(self, value: Any) -> tuple[int, int]:
        """How many values a list or mapping holds, each time they occur, and how many characters.

        A list of lists may hold one list many times: made into text, all of them are written.
        """
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
                    extended, most = True, most + self._extra() * LONGEST_EACH
                if items + len(waiting) > most:
                    raise TooCostly(_("it makes a list without an end"))
        if isinstance(value, _CONTAINERS):  # kept, for another one may get its address otherwise
            self._known[id(value)] = (value, items, characters)
        self.tick(walked)
        return items, characters

    def _next_chunk(self) -> None:
        now = time.thread_time()
        self._began = now if self._began is None else self._began
        if now - self._began > SECONDS:
            raise TooCostly(_("it takes more than {seconds:g} seconds", seconds=SECONDS))
        wanted = max(_CHUNK, -self._steps)
        if self._all_steps < wanted and self._more is None:
            self._all_steps += self._extra() * STEPS_EACH
        if self._all_steps < wanted:
            raise TooCostly(_("it goes on without an end"))
        self._all_steps -= wanted
        self._steps += wanted

    def _extra(self) -> int:
        """The size of the chat in characters, a value counting as 20."""
        if self._more is None:
            self._more = 0
            names = ("messages", "tools", "documents")
            self._more = sum(_size(self._given.get(name)) for name in names)
        return self._more


def _size(value: Any) -> int:
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


def whole(value: int) -> int:
    """A whole number, if it is none of thousands of digits."""
    if value.bit_length() > MOST_BITS:
        raise TooCostly(_("it computes with a number of thousands of digits"))
    return value


def check_operation(meter: Meter, operator: str, left: Any, right: Any) -> None:
    """Refuse `*`, `**`, `%` and `//` before they are carried out, if they make or take too much."""
    if isinstance(left, int) and isinstance(right, int):
        whole(left)
        whole(right)
        bits = left.bit_length()
        if operator == "**" and right > 0 and bits > 1 and bits * right > MOST_BITS:
            raise TooCostly(_("it computes with a number of thousands of digits"))
        return
    if operator == "*":
        times, what = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(times, int) and isinstance(what, str | bytes):
            meter.fits(len(what) * times)
        elif isinstance(times, int) and isinstance(what, list | tuple) and times > 0:
            items, _unused = meter.measured(what)
            if items * times > MOST_ITEMS:
                raise TooCostly(_("it makes a list without an end"))
    elif operator == "%" and isinstance(left, str | bytes):
        check_format(meter, left, right if isinstance(right, tuple) else (right,))


def check_format(meter: Meter, pattern: Any, values: Iterable[Any]) -> None:
    """Refuse to fill in a pattern (`%` or `format`) if widths or values would make it too long."""
    text = pattern if isinstance(pattern, str) else pattern.decode("latin-1")
    values = list(values)
    largest = max((sum(meter.measured(value)) for value in values), default=0)
    width = 0
    for found in _WIDTHS.findall(text):
        numbers = [value for value in values if isinstance(value, int)]
        width = max([width, *numbers] if found == "*" else [width, int(found[:12])])
    meter.fits(len(text) + (text.count("%") + text.count("{")) * max(largest, width))


def check_method(meter: Meter, owner: Any, name: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a method of a text or number if its result would be too long."""
    first = arguments[0] if arguments else None
    if isinstance(owner, str | bytes):
        size = len(owner)
        if name in ("center", "ljust", "rjust", "zfill") and isinstance(first, int):
            meter.fits(first)
        elif name == "expandtabs" and isinstance(first, int):
            meter.fits(size + size * first)
        elif name == "replace" and len(arguments) > 1:
            check_replaced(meter, owner, first, arguments[1])
        elif name == "join" and isinstance(first, _CONTAINERS):
            items, characters = meter.measured(first)
            meter.fits(items * size + characters)
        elif name == "translate" and isinstance(first, dict):
            meter.fits(size * max((len(one) for one in first.values() if isinstance(one, str)), default=1))
        elif name == "split" or name == "splitlines":
            meter.tick(size // 8)
        elif size > SHORT:
            meter.tick(size // _PER_STEP)
    elif name == "to_bytes" and isinstance(first, int):
        meter.fits(first)
    elif isinstance(owner, list | tuple | dict):
        meter.tick(len(owner))


def check_replaced(meter: Meter, text: Any, old: Any, new: Any) -> None:
    """Refuse to replace parts of a text by longer ones if it would grow too long."""
    texts = isinstance(new, str | bytes) and isinstance(old, str | bytes)
    if texts and len(new) > len(old) and len(text) * len(new) > LONGEST:
        meter.fits(len(text) + text.count(old) * (len(new) - len(old)))
