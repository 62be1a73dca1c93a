"""ShareGPT: a list of turns with from and value."""

from __future__ import annotations

from tui_tuner.data.formats.messages import Messages
from tui_tuner.data.formats.parts.columns import Column
from tui_tuner.data.formats.parts.turns import FROM_VALUE, turn_keys


class ShareGPT(Messages):
    name = "sharegpt"

    def spelt_like_this(self, column: Column) -> bool:
        return turn_keys(column) == FROM_VALUE


FORMATS = (ShareGPT(),)
