"""Check for sequences longer than a model has positions for."""

from __future__ import annotations

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.training.watching.reporting import Reporter

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")


def check_positions(facts: ModelFacts | None, longest: int, reporter: Reporter, virtual: int = 0) -> None:
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
    # `data.max_length` allows nothing below 8.
    if room >= 8:
        hint = _("Set data.max_length to {room}, or choose a model with a longer context.", room=room)
    else:
        hint = _("Lower method.virtual_tokens, or choose a model with a longer context.")
    if facts.positions_end:
        raise ConfigError(what, where="data.max_length", hint=hint)
    reporter.report_warning("beyond_positions", what, hint)


def _find_limit(facts: ModelFacts) -> int | None:
    if facts.encoder and facts.max_positions:
        # Without the positions that some encoders reserve: RoBERTa's config counts two that no token takes.
        return facts.max_positions
    found = (facts.raw.get(name) for name in _NAMES)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
