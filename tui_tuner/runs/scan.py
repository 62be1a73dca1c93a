"""Steps of a long journal, read without making an event of each: lines as `runs/wire.py` writes them.

A journal of a long run is steps and little else, and who prints or sums it needs a few numbers of each. So
one pattern finds them, many lines in a call; what it does not fit is left to `wire.decode`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tui_tuner.runs.events import VERSION

# A number as JSON has it; and quicker, for whoever converts it and so finds out
_WHOLE, _REAL = rb"(?:0|[1-9][0-9]{0,14}+)", rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:e-?[0-9]{1,2}+)?+"
_DIGITS, _NUMBER = rb"[0-9]{1,15}+", rb"[-0-9.e]++"
# An objective's own figures: an object of plain numbers
_METRICS = rb'\{(?:"[ !#-\[\]-~]*":(?:%b|null),?+)*\}' % _REAL


def _pattern(whole: bytes, real: bytes) -> bytes:
    """A step's line, with these patterns for its numbers."""
    return (
        rb'\{"v":%d,"run":"[ !#-\[\]-~]*+","seq":%b,"time":(%b),"rank":%b,"kind":"step",'
        rb'"step":(%b),"epoch":(%b),"loss":(%b|null),"learning_rate":(%b),"grad_norm":(%b|null),'
        rb'"supervised_tokens":(%b),"tokens":%b,"tokens_per_second":%b,"memory_allocated":%b,'
        rb'"memory_reserved":(%b),"seconds":(%b)(?:,"metrics":(%b))?+'
        rb'(?:,"mfu":(%b))?+(?:,"gpu_busy":(%b))?+\}'
    ) % (
        *(VERSION, whole, real, whole),
        *(whole, real, real, real, real),
        *(whole, whole, real, whole),
        *(whole, real, _METRICS, real, real),
    )


def _heartbeat(whole: bytes, real: bytes) -> bytes:
    head = rb'\{"v":%d,"run":"[ !#-\[\]-~]*+","seq":%b,"time":(%b),"rank":%b,' % (VERSION, whole, real, whole)
    return head + rb'"kind":"heartbeat","step":%b,"memory_host":%b\}' % (whole, whole)


def _without_groups(pattern: bytes) -> bytes:
    return re.sub(rb"\((?!\?)", b"(?:", pattern)


_FIGURES = re.compile(
    rb"(?:" + _pattern(_DIGITS, _NUMBER) + rb"|" + _heartbeat(_DIGITS, _NUMBER) + rb"|([^\n]*+))\n"
)
_EXACT = re.compile(
    rb"(?:" + _without_groups(_pattern(_WHOLE, _REAL) + rb"|" + _heartbeat(_WHOLE, _REAL)) + rb"|([^\n]*+))\n"
)

Figures = tuple[
    bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes
]  # fmt: skip


def scan(block: bytes) -> list[Figures]:
    """The whole lines of a block: of each step its time, step, epoch, loss, learning rate, gradient norm,
    trained tokens, memory reserved, seconds, metrics, MFU and share of the GPU's time, as they are written;
    then the time of a heartbeat; of other lines the line, last. What is of another kind is empty.

    Numbers are not checked: `1.2.3` may be among them.
    """
    return _FIGURES.findall(block)


def whole_lines(block: bytes) -> Iterator[tuple[bytes, bool]]:
    """The whole lines of a block, newlines included; steps and heartbeats without a flaw many at once.

    The second of each pair says whether it is those.
    """
    start = end = 0
    for match in _EXACT.finditer(block):
        if match[1] is not None:
            if start < end:
                yield block[start:end], True
            yield match[0], False
            start = match.end()
        end = match.end()
    if start < end:
        yield block[start:end], True
