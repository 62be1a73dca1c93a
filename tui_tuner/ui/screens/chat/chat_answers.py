"""Generating the answers of a chat: the missing ones, turn by turn, each piece into its column."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from tui_tuner.inference.origin import Origin
from tui_tuner.inference.sampling import Sampling
from tui_tuner.inference.talk import AGAIN, Reply, Talk, Turn
from tui_tuner.locales import _
from tui_tuner.ui.screens.chat.helper_screen import ANSWER, HelperScreen
from tui_tuner.ui.widgets.chat.chat_column import Column

_STOPPED = _("stopped")


class AnsweringScreen(HelperScreen):
    """A screen with columns of answers. Subclasses implement `show_idle`, the status line of an idle chat."""

    def __init__(self, talk: Talk) -> None:
        super().__init__()
        self.talk = talk
        self._asked: tuple[Turn, list[Origin]] | None = None

    def show_idle(self) -> None:
        """Show the status line of an idle chat."""

    @property
    def answer_columns(self) -> list[Column]:
        return list(self.query(Column))

    @property
    def active_column(self) -> Column | None:
        """The column that keys act on: the focused one, else the first; None if there are none."""
        columns = self.answer_columns
        return next((one for one in columns if one.has_focus), columns[0] if columns else None)

    def answer_missing(self) -> None:
        """Generate the first missing answer; do nothing while the helper is busy."""
        missing = self.talk.find_unanswered()
        if missing is None or self.current_operation:
            return
        turn, models = missing
        sampling = self._choose_sampling(turn)
        for model in models:
            asked = self.talk.build_messages(model, turn)
            # With the messages that it was asked: the chat may be changed before the answer is kept as a
            # training row.
            turn.replies[model] = Reply(asked, temperature=sampling.temperature)
        # One entry for each model of the chat, as the helper holds all of them; None means that it does not
        # answer.
        turns = [turn.replies[model].asked if model in models else None for model in self.talk.models]
        self._asked = turn, [model for model in self.talk.models if model in models]
        self._draw_turn(turn)
        self.ask_helper(ANSWER, self.talk.models, self._take_answers, turns=turns, sampling=asdict(sampling))

    def _choose_sampling(self, turn: Turn) -> Sampling:
        """Return the sampling settings of a turn; a turn that is asked again gets other random numbers."""
        now = self.talk.sampling
        if not turn.again:
            return now
        # With the same seed, or at temperature 0, asking again would give the same answer word by word.
        seed = None if now.seed is None else now.seed + turn.again
        return replace(now, temperature=now.temperature or AGAIN, seed=seed)

    def take_piece(self, told: dict[str, Any]) -> None:
        turn, _models = self._asked or (None, [])
        model = self.talk.models[int(told["model"])]
        if turn is None or model not in turn.replies:
            return
        reply = turn.replies[model]
        reply.text += str(told["piece"])
        reply.tokens = int(told["tokens"])
        for column in self.answer_columns:
            if column.model == model:
                column.draw_turn(turn)

    def _take_answers(self, results: list[dict[str, Any]]) -> None:
        turn, models = self._asked or (None, [])
        if turn is not None:
            for model, told in zip(models, results, strict=True):
                turn.replies[model].finish_reply(told)
            self._draw_turn(turn)
        self.show_idle()
        self.answer_missing()

    def show_failure(self, doing: str, error: str, cancelled: bool, partly: Any) -> None:
        turn, models = self._asked or (None, [])
        if doing == ANSWER and turn is not None:
            self._end_early(turn, models, error, partly)
        if cancelled:
            self.show_status(_("Stopped."), "$warning")
        else:
            self.show_status(error, "$error")

    def _end_early(self, turn: Turn, models: list[Origin], error: str, partly: Any) -> None:
        # A cancelled helper gives the beginnings of all answers; one that has failed gives nothing.
        results = partly if isinstance(partly, list) and len(partly) == len(models) else [None] * len(models)
        for model, told in zip(models, results, strict=True):
            reply = turn.replies[model]
            if told is not None:
                reply.finish_reply(told)
            else:
                reply.done, reply.error = True, error
            if not reply.text and not reply.error:
                reply.note = _STOPPED
        self._draw_turn(turn)

    def _draw_turn(self, turn: Turn) -> None:
        for column in self.answer_columns:
            column.draw_turn(turn)
