"""Saving good and bad answers in files that a run can train on."""

from __future__ import annotations

from pathlib import Path

from textual import work
from textual.message import Message

from tui_tuner.inference.kept_answers import keep_answer_rating
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.talk import Reply, Turn
from tui_tuner.locales import _
from tui_tuner.text import join_sentence_items, one_line
from tui_tuner.ui.screens.chat.chat_answers import AnsweringScreen
from tui_tuner.ui.widgets.judged.next_steps import shorten_lead_path


class AnswerSaved(Message):
    """The files that hold an answer now, or the error."""

    def __init__(self, turn: Turn, names: list[str], folder: Path, error: str) -> None:
        super().__init__()
        self.turn, self.names, self.folder, self.error = turn, names, folder, error


class MarkingScreen(AnsweringScreen):
    """A chat whose answers can be saved as good or bad."""

    def action_keep(self, good: bool) -> None:
        """Save the chosen answer as good or bad; pressed again, undo that."""
        column = self.active_column
        view = column.chosen_view if column is not None else None
        reply = view.reply if view is not None else None
        if view is None or reply is None or not reply.done or not reply.text.strip():
            self.show_status(_("There is no complete answer here to save."), "$warning")
            return
        before, reply.good = reply.good, None if reply.good is good else good
        view.show_reply()
        self._save_mark(
            view.turn,
            reply,
            before,
            find_kept_answers_folder(self.talk.models, Path(self.tuner_app.store.root)),
        )

    @work(thread=True, group="keep")
    def _save_mark(self, turn: Turn, reply: Reply, before: bool | None, folder: Path) -> None:
        names, error = [], ""
        try:
            names = keep_answer_rating(folder, reply, self.talk.find_rivals(turn, reply))
        except OSError as problem:
            # The mark was shown before the file was written, so that the key reacts at once. Now it was
            # wrong.
            error, reply.good = problem.strerror or str(problem), before
        self.post_message(AnswerSaved(turn, names, folder, error))

    def on_answer_saved(self, message: AnswerSaved) -> None:
        """Report the files that hold the answer."""
        column = self.active_column
        if column is not None:
            # After an error the mark was reset, and the column still shows it.
            column.draw_turn(message.turn)
        where = one_line(shorten_lead_path(message.folder), 200)
        if message.error:
            words = _("{path} cannot be written: {problem}.", path=where, problem=one_line(message.error))
            self.show_status(words, "$error")
        elif message.names:
            self.show_status(
                _("Saved in {path}: {files}.", path=where, files=join_sentence_items(message.names)),
                "$success",
            )
        else:
            self.show_status(_("Undone: {path} holds no row about this answer any more.", path=where))


def find_kept_answers_folder(models: list[Origin], root: Path) -> Path:
    """Return the folder for saved answers: that of the first run, else `kept` next to the runs."""
    for model in models:
        if model.kind == "run":
            return Path(model.path)
    return root.absolute().parent / "kept"
