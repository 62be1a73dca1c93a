"""A proposal as a page of text, as JSON, and as a config with its reasons as comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.cells import cell_len, chop_cells

from tui_tuner.config.advice import write_setting, write_shell_value
from tui_tuner.config.load import build_config, dump_config, make_paths_absolute
from tui_tuner.config.writing.commented import write_commented
from tui_tuner.config.writing.flat import flatten_config
from tui_tuner.guiding.proposal import Concern, Proposal
from tui_tuner.locales import _
from tui_tuner.text import one_line, sanitize

WIDTH = 80
_INDENT = "  "


def lay_out_page(proposal: Proposal, width: int = WIDTH) -> list[str]:
    """Lay out summary, settings with reasons, and concerns as lines that are safe for a terminal."""
    lines: list[str] = []
    if proposal.summary:
        lines += [_("The plan"), ""]
        for sentence in proposal.summary:
            lines += wrap_cells(sentence, width, f"{_INDENT}* ", _INDENT * 2)
        lines.append("")
    if proposal.settings:
        lines += [_("Settings"), ""]
        for one in proposal.settings:
            lines += wrap_cells(f"{one.field}: {write_shell_value(one.value)}", width, _INDENT)
            lines += wrap_cells(one.why, width, _INDENT * 3)
        lines.append("")
    stops = [concern for concern in proposal.concerns if concern.stops]
    others = [concern for concern in proposal.concerns if not concern.stops]
    for title, concerns in ((_("Problems to solve first"), stops), (_("Please note"), others)):
        if concerns:
            lines += [title, ""]
            for concern in concerns:
                lines += _lay_out_concern(concern, width)
            lines.append("")
    return lines[:-1]


def _lay_out_concern(concern: Concern, width: int) -> Iterator[str]:
    """Yield the message, the advice, and the settings of each fix."""
    yield from wrap_cells(concern.message, width, f"{_INDENT}! ", _INDENT * 2)
    if concern.way_out:
        yield from wrap_cells(concern.way_out, width, _INDENT * 2)
    for words, values in concern.fixes:
        # Many concerns have one fix whose label repeats the advice
        if words != concern.way_out:
            yield from wrap_cells(_("{words}:", words=words.rstrip(".:")), width, _INDENT * 2)
        if values:
            yield from wrap_cells(write_setting(values), width, _INDENT * 3)


def wrap_cells(text: str, width: int, first: str = "", then: str | None = None) -> list[str]:
    """Wrap text to a width in terminal cells, breaking only words that are too long; safe for a terminal.

    Args:
        first: Prefix of the first line. then: Prefix of the others; by default the same.
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
        # A path or hash may be longer than a whole line
        if cell_len(line) + cell_len(word) > width:
            # Cells, not characters: Chinese characters take two each
            *whole, word = chop_cells(word, max(8, width - cell_len(then)))
            for piece in whole:
                lines.append(line + piece)
                line = then
        line += word
    return [*lines, line]


def convert_proposal(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal as plain values for JSON."""
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
        "seconds": _name_span(proposal.seconds),
        "cost": _name_span(proposal.cost),
    }


def _name_span(span: tuple[float, float, float] | None) -> dict[str, float] | None:
    return None if span is None else dict(zip(("least", "likely", "most"), span, strict=True))


def write_config_text(proposal: Proposal, head: Iterable[str] = ()) -> str:
    """Write the config as YAML with absolute paths and the reason of each setting as a comment.

    Raises:
        ConfigError: the values are not a valid config.
    """
    import yaml

    config = make_paths_absolute(build_config(proposal.values))
    # Through YAML and back, so paths and tuples have the form in which a config file holds them
    values = yaml.safe_load(dump_config(config))
    # Only fields that the proposal sets are written: defaults may change with a later version
    set_fields = flatten_config(proposal.values)
    kept = {path: value for path, value in flatten_config(values).items() if path in set_fields}
    why = {one.field: one.why for one in proposal.settings if one.field in kept}
    lines = [line for sentence in (*head, *proposal.summary) for line in wrap_cells(sentence, 98)]
    return write_commented(_nest_values(kept), lines, told=kept.keys(), why=why)


def _nest_values(values: dict[str, Any]) -> dict[str, Any]:
    from tui_tuner.config.values import set_config_path

    made: dict[str, Any] = {}
    for path, value in values.items():
        set_config_path(made, path, value)
    return made
