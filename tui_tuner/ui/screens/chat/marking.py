"""Keeping a good or a bad answer, in files that one can train on."""

from __future__ import annotations

from pathlib import Path

from textual import work
from textual.message import Message

from tui_tuner.inference.kept import keep
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.talk import Reply, Turn
from tui_tuner.locales import _
from tui_tuner.text import listed, one_line
from tui_tuner.ui.screens.chat.answering import Answering
from tui_tuner.ui.widgets.judged.next_steps import here


class Kept(Message):
    """What was written, or why nothing was."""

    def __init__(self, turn: Turn, names: list[str], folder: Path, error: str) -> None:
        super().__init__()
        self.turn, self.names, self.folder, self.error = turn, names, folder, error


class Marking(Answering):
    """A chat whose answers can be kept."""

    def action_keep(self, good: bool) -> None:
        """Keep the chosen answer as good or bad; again, take it back."""
        column = self.column
        view = column.chosen if column is not None else None
        reply = view.reply if view is not None else None
        if view is None or reply is None or not reply.done or not reply.text.strip():
            self.say(_("There is no whole answer here to be kept."), "$warning")
            return
        before, reply.good = reply.good, None if reply.good is good else good
        view.show()
        self._keep(view.turn, reply, before, kept_folder(self.talk.models, Path(self.tuner.store.root)))

    @work(thread=True, group="keep")
    def _keep(self, turn: Turn, reply: Reply, before: bool | None, folder: Path) -> None:
        names, error = [], ""
        try:
            names = keep(folder, reply, self.talk.rivals(turn, reply))
        except OSError as problem:
            error, reply.good = problem.strerror or str(problem), before
        self.post_message(Kept(turn, names, folder, error))

    def on_kept(self, message: Kept) -> None:
        """Say where it is."""
        column = self.column
        if column is not None:
            column.draw(message.turn)
        where = one_line(here(message.folder), 200)
        if message.error:
            words = _("{path} cannot be written: {problem}.", path=where, problem=one_line(message.error))
            self.say(words, "$error")
        elif message.names:
            self.say(_("Kept in {path}: {files}.", path=where, files=listed(message.names)), "$success")
        else:
            self.say(_("Taken back: no row about this answer is left in {path}.", path=where))


def kept_folder(models: list[Origin], root: Path) -> Path:
    """Where answers are kept: in the folder of the first run, else in `kept` beside the runs."""
    for model in models:
        if model.kind == "run":
            return Path(model.path)
    return root.absolute().parent / "kept"
