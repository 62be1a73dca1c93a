"""Read ShareGPT rows: a list of turns with from and value."""

from __future__ import annotations

from tui_tuner.data.formats.messages import Messages
from tui_tuner.data.formats.parts.chat_turns import FROM_VALUE, find_turn_keys
from tui_tuner.data.formats.parts.columns import Column


class ShareGPT(Messages):
    name = "sharegpt"

    def has_own_keys(self, column: Column) -> bool:
        return find_turn_keys(column) == FROM_VALUE


FORMATS = (ShareGPT(),)
