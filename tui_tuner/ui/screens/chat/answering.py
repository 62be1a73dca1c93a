"""How answers of a chat come: the missing ones, turn by turn, each piece into its column."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from tui_tuner.inference.origin import Origin
from tui_tuner.inference.sampling import Sampling
from tui_tuner.inference.talk import AGAIN, Reply, Talk, Turn
from tui_tuner.locales import _
from tui_tuner.ui.screens.chat.asking import ANSWER, Asking
from tui_tuner.ui.widgets.chat.column import Column

_STOPPED = _("stopped")


class Answering(Asking):
    """Columns of answers. Subclasses say how things are while nothing goes on (`rest`)."""

    def __init__(self, talk: Talk) -> None:
        super().__init__()
        self.talk = talk
        self._asked: tuple[Turn, list[Origin]] | None = None

    def rest(self) -> None:
        """Say what there is to say while nothing goes on."""

    @property
    def columns(self) -> list[Column]:
        """From the left to the right."""
        return list(self.query(Column))

    @property
    def column(self) -> Column | None:
        """The column that keys are about: the one in focus, else the first."""
        columns = self.columns
        return next((one for one in columns if one.has_focus), columns[0] if columns else None)

    def go_on(self) -> None:
        """Ask for the first answer that is missing."""
        missing = self.talk.unanswered()
        if missing is None or self.busy:
            return
        turn, models = missing
        sampling = self._sampling(turn)
        for model in models:
            asked = self.talk.messages(model, turn)
            turn.replies[model] = Reply(asked, temperature=sampling.temperature)
        turns = [turn.replies[model].asked if model in models else None for model in self.talk.models]
        self._asked = turn, [model for model in self.talk.models if model in models]
        self._draw(turn)
        self.ask(ANSWER, self.talk.models, self._answered, turns=turns, sampling=asdict(sampling))

    def _sampling(self, turn: Turn) -> Sampling:
        """How a turn is answered: one that is asked again gets other random numbers."""
        now = self.talk.sampling
        if not turn.again:
            return now
        seed = None if now.seed is None else now.seed + turn.again
        return replace(now, temperature=now.temperature or AGAIN, seed=seed)

    def heard(self, told: dict[str, Any]) -> None:
        turn, _models = self._asked or (None, [])
        model = self.talk.models[int(told["model"])]
        if turn is None or model not in turn.replies:
            return
        reply = turn.replies[model]
        reply.text += str(told["piece"])
        reply.tokens = int(told["tokens"])
        for column in self.columns:
            if column.model == model:
                column.draw(turn)

    def _answered(self, results: list[dict[str, Any]]) -> None:
        turn, models = self._asked or (None, [])
        if turn is not None:
            for model, told in zip(models, results, strict=True):
                turn.replies[model].end(told)
            self._draw(turn)
        self.rest()
        self.go_on()

    def failed(self, doing: str, error: str, cancelled: bool, partly: Any) -> None:
        turn, models = self._asked or (None, [])
        if doing == ANSWER and turn is not None:
            self._end_early(turn, models, error, partly)
        if cancelled:
            self.say(_("Stopped."), "$warning")
        else:
            self.say(error, "$error")

    def _end_early(self, turn: Turn, models: list[Origin], error: str, partly: Any) -> None:
        results = partly if isinstance(partly, list) and len(partly) == len(models) else [None] * len(models)
        for model, told in zip(models, results, strict=True):
            reply = turn.replies[model]
            if told is not None:
                reply.end(told)
            else:
                reply.done, reply.error = True, error
            if not reply.text and not reply.error:
                reply.note = _STOPPED
        self._draw(turn)

    def _draw(self, turn: Turn) -> None:
        for column in self.columns:
            column.draw(turn)
