"""Sequences longer than a model has positions for."""

from __future__ import annotations

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.training.watching.reporting import Reporter

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")


def check_positions(facts: ModelFacts | None, longest: int, reporter: Reporter, virtual: int = 0) -> None:
    """Compare the longest sequence, in tokens, with what the model's config says it was made for.

    `virtual` tokens stand before it, and take positions too.

    Positions that are computed (rotary) go on beyond, unlearnt, which is a warning; learnt ones end.

    Raises:
        ConfigError: the model has no position for some of the tokens.
    """
    limit = _limit(facts) if facts is not None else None
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
    if room >= 8:
        hint = _("Set data.max_length to {room}, or choose a model with a longer context.", room=room)
    else:
        hint = _("Lower method.virtual_tokens, or choose a model with a longer context.")
    if facts.positions_end:
        raise ConfigError(what, where="data.max_length", hint=hint)
    reporter.warn("beyond_positions", what, hint)


def _limit(facts: ModelFacts) -> int | None:
    if facts.encoder and facts.max_positions:
        return facts.max_positions  # without those before the first token's, as RoBERTa has two of
    found = (facts.raw.get(name) for name in _NAMES)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
