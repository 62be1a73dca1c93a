"""Read the steps of a long journal without making an event of each, from lines as `runs/wire.py` writes
them.

The journal of a long run consists almost entirely of steps, and printing or summing it needs a few numbers of
each. One pattern finds them, many lines per call; lines that do not match are left to
`wire.decode_event_line`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tui_tuner.runs.events import VERSION

# Numbers as JSON defines them, and looser, faster patterns for callers whose conversion checks them anyway.
# Possessive quantifiers (`++`) keep a long damaged line from backtracking for minutes.
_WHOLE, _REAL = rb"(?:0|[1-9][0-9]{0,14}+)", rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:e-?[0-9]{1,2}+)?+"
_DIGITS, _NUMBER = rb"[0-9]{1,15}+", rb"[-0-9.e]++"
# An objective's own figures: an object of plain numbers
_METRICS = rb'\{(?:"[ !#-\[\]-~]*":(?:%b|null),?+)*\}' % _REAL


def _step_pattern(whole: bytes, real: bytes) -> bytes:
    """Return the pattern of a step's line, with these patterns for its numbers."""
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


def _heartbeat_pattern(whole: bytes, real: bytes) -> bytes:
    head = rb'\{"v":%d,"run":"[ !#-\[\]-~]*+","seq":%b,"time":(%b),"rank":%b,' % (VERSION, whole, real, whole)
    return head + rb'"kind":"heartbeat","step":%b,"memory_host":%b\}' % (whole, whole)


def _without_groups(pattern: bytes) -> bytes:
    return re.sub(rb"\((?!\?)", b"(?:", pattern)


_FIGURES = re.compile(
    rb"(?:"
    + _step_pattern(_DIGITS, _NUMBER)
    + rb"|"
    + _heartbeat_pattern(_DIGITS, _NUMBER)
    + rb"|([^\n]*+))\n"
)
_EXACT = re.compile(
    rb"(?:"
    + _without_groups(_step_pattern(_WHOLE, _REAL) + rb"|" + _heartbeat_pattern(_WHOLE, _REAL))
    + rb"|([^\n]*+))\n"
)

Figures = tuple[
    bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes
]  # fmt: skip


def scan_journal_lines(block: bytes) -> list[Figures]:
    """Split the complete lines of a block into the figures of steps, and other lines.

    Each tuple has the time, step, epoch, loss, learning rate, gradient norm, trained tokens, reserved
    memory, seconds, metrics, MFU and GPU share of a step, as they are written; then the time of a heartbeat;
    and last the line, if it is of another kind. What does not apply is empty.

    Numbers are not checked: `1.2.3` may be among them.
    """
    return _FIGURES.findall(block)


def list_whole_lines(block: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the complete lines of a block with newlines, well-formed steps and heartbeats many at once.

    The second value of each pair is True for such a group.
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
