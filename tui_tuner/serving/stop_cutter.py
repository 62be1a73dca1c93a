"""Cuts an answer before the first of some texts, as OpenAI's interface says; transformers ends after it."""

from __future__ import annotations

from collections.abc import Sequence


class StopCutter:
    """Takes an answer piece by piece, and holds back what may be the beginning of a stop text."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = list(stops)
        self._held = ""
        self.found = False

    def take(self, piece: str) -> str:
        """Return what can be shown after a further piece; nothing after a stop text."""
        if self.found:
            return ""
        text = self._held + piece
        places = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        keep = max((_count_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def take_rest(self) -> str:
        """Return what was held back, at the end of an answer."""
        rest, self._held = self._held, ""
        return rest


def _count_overlap(text: str, stop: str) -> int:
    """Return how many letters at the end of a text are the beginning of a stop text."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
