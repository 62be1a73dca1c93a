"""A proposal as a page of text, as JSON, and as a config with its reasons as comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.cells import cell_len, chop_cells

from tui_tuner.config.advice import setting, written
from tui_tuner.config.load import absolute_paths, build_config, dump_config
from tui_tuner.config.writing.commented import commented
from tui_tuner.config.writing.flat import flat
from tui_tuner.guiding.proposal import Concern, Proposal
from tui_tuner.locales import _
from tui_tuner.text import one_line, sanitize

WIDTH = 80
_INDENT = "  "


def page_lines(proposal: Proposal, width: int = WIDTH) -> list[str]:
    """What will happen, each setting with its reason, and what may go wrong; safe for a terminal."""
    lines: list[str] = []
    if proposal.summary:
        lines += [_("What will happen"), ""]
        for sentence in proposal.summary:
            lines += wrapped(sentence, width, f"{_INDENT}* ", _INDENT * 2)
        lines.append("")
    if proposal.settings:
        lines += [_("Settings"), ""]
        for one in proposal.settings:
            lines += wrapped(f"{one.field}: {written(one.value)}", width, _INDENT)
            lines += wrapped(one.why, width, _INDENT * 3)
        lines.append("")
    stops = [concern for concern in proposal.concerns if concern.stops]
    others = [concern for concern in proposal.concerns if not concern.stops]
    for title, concerns in ((_("This stands in the way"), stops), (_("Mind this"), others)):
        if concerns:
            lines += [title, ""]
            for concern in concerns:
                lines += _concern_lines(concern, width)
            lines.append("")
    return lines[:-1]


def _concern_lines(concern: Concern, width: int) -> Iterator[str]:
    """What it is, the way out, and the settings that take it."""
    yield from wrapped(concern.message, width, f"{_INDENT}! ", _INDENT * 2)
    if concern.way_out:
        yield from wrapped(concern.way_out, width, _INDENT * 2)
    for words, values in concern.fixes:
        if words != concern.way_out:
            yield from wrapped(_("{words}:", words=words.rstrip(".:")), width, _INDENT * 2)
        if values:
            yield from wrapped(setting(values), width, _INDENT * 3)


def wrapped(text: str, width: int, first: str = "", then: str | None = None) -> list[str]:
    """Lines of at most so many cells, each word whole where it fits; safe for a terminal.

    Args:
        first: In front of the first line. then: In front of the others; as the first where left out.
    """
    then = first if then is None else then
    lines, line = [], first
    for word in one_line(sanitize(text)).split():
        space = "" if line in (first, then) else " "
        if cell_len(line) + len(space) + cell_len(word) <= width:
            line += space + word
            continue
        if space:
            lines.append(line)
            line = then
        if cell_len(line) + cell_len(word) > width:
            *whole, word = chop_cells(word, max(8, width - cell_len(then)))
            for piece in whole:
                lines.append(line + piece)
                line = then
        line += word
    return [*lines, line]


def proposal_json(proposal: Proposal) -> dict[str, Any]:
    """Plain values of a proposal."""
    answers = proposal.answers
    return {
        "answers": {
            name: getattr(answers, name) for name in ("task", "data", "model", "machine", "budget", "judge")
        },
        "can_start": proposal.can_start,
        "values": dict(proposal.values),
        "summary": list(proposal.summary),
        "settings": [{"field": one.field, "value": one.value, "why": one.why} for one in proposal.settings],
        "concerns": [
            {
                "code": one.code,
                "message": one.message,
                "way_out": one.way_out,
                "stops": one.stops,
                "about": one.about,
                "fixes": [{"words": words, "values": dict(values)} for words, values in one.fixes],
            }
            for one in proposal.concerns
        ],
        "seconds": _span(proposal.seconds),
        "cost": _span(proposal.cost),
    }


def _span(span: tuple[float, float, float] | None) -> dict[str, float] | None:
    return None if span is None else dict(zip(("least", "likely", "most"), span, strict=True))


def config_text(proposal: Proposal, head: Iterable[str] = ()) -> str:
    """The config as YAML, with the reason of each setting as a comment; paths are absolute.

    Raises:
        ConfigError: the values make no config.
    """
    import yaml

    config = absolute_paths(build_config(proposal.values))
    values = yaml.safe_load(dump_config(config))
    set_fields = flat(proposal.values)
    kept = {path: value for path, value in flat(values).items() if path in set_fields}
    why = {one.field: one.why for one in proposal.settings if one.field in kept}
    lines = [line for sentence in (*head, *proposal.summary) for line in wrapped(sentence, 98)]
    return commented(_nested(kept), lines, told=kept.keys(), why=why)


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    from tui_tuner.config.values import set_path

    made: dict[str, Any] = {}
    for path, value in values.items():
        set_path(made, path, value)
    return made
