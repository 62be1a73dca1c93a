"""Check for sequences longer than a model has positions for."""

from __future__ import annotations

from collections.abc import Iterable

from tui_tuner.compute.rows.decoder_layout import SOURCE
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.training.watching.reporting import Reporter

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")


def find_longest_text(parts: Iterable[TokenizedRows | None], two_sides: bool) -> tuple[int, str]:
    """Return the tokens of the longest text that a stack of layers reads, and the field that limits it.

    Args:
        two_sides: Examples have a source and a target, which are read apart.
    """
    found = [(0, "data.max_length")]
    for rows in parts:
        if rows is None or not len(rows):
            continue
        if two_sides:
            source = rows.columns[SOURCE]
            found.append((int(source.max()), "data.max_source"))
            found.append((int((rows.lengths - source).max()), "data.max_target"))
        else:
            found.append((int(rows.lengths.max()), "data.max_length"))
    return max(found)


def check_positions(
    facts: ModelFacts | None,
    longest: int,
    reporter: Reporter,
    virtual: int = 0,
    field: str = "data.max_length",
) -> None:
    """Compare the longest sequence, in tokens, with the limit in the model's config.

    `virtual` tokens come before it and take positions too. Computed positions (rotary) continue past the
    limit but are untrained there, which is a warning; learned ones end.

    Raises:
        ConfigError: the model has no position for some of the tokens.
    """
    limit = _find_limit(facts) if facts is not None else None
    if facts is None or limit is None or longest + virtual <= limit:
        return
    if virtual:
        what = _(
            "The longest sequence has {longest:,} tokens with {virtual:,} virtual ones before them, and the "
            "model was made for {limit:,} at most.",
            longest=longest,
            virtual=virtual,
            limit=limit,
        )
    else:
        what = _(
            "The longest sequence has {longest:,} tokens, and the model was made for {limit:,} at most.",
            longest=longest,
            limit=limit,
        )
    room = limit - virtual
    # These fields allow nothing below 8.
    if room >= 8:
        hint = _("Set {field} to {room}, or choose a model with a longer context.", field=field, room=room)
    else:
        hint = _("Lower method.virtual_tokens, or choose a model with a longer context.")
    if facts.positions_end:
        raise ConfigError(what, where=field, hint=hint)
    reporter.report_warning("beyond_positions", what, hint)


def _find_limit(facts: ModelFacts) -> int | None:
    if facts.encoder and facts.max_positions:
        # Without the positions that some encoders reserve: RoBERTa's config counts two that no token takes.
        return facts.max_positions
    found = (facts.raw.get(name) for name in _NAMES)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
