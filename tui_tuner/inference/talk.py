"""A chat as a tree: editing a message or asking again adds a version and keeps the old one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.inference.origin import Origin
from tui_tuner.inference.sampling import Sampling

Messages = list[dict[str, Any]]  # each {"role": ..., "content": ...}
AGAIN = 0.8  # temperature for another answer if the chat's own is 0, which would give the same answer again


@dataclass
class Reply:
    """One model's answer to a turn.

    Args:
        asked: The messages it answers.
        done: Whether it is complete.
        note: Why it was cut short.
        error: Why it failed.
        good: The user's rating.
    """

    asked: Messages
    text: str = ""
    done: bool = False
    note: str = ""
    error: str = ""
    tokens: int = 0
    rate: float | None = None  # tokens per second after the first one
    first: float = 0.0  # seconds to the first token
    prompt_tokens: int = 0
    temperature: float = 0.0
    good: bool | None = None

    @property
    def chat_messages(self) -> Messages:
        """Return the messages with the answer, as a chat for training."""
        return [*self.asked, {"role": "assistant", "content": self.text}]

    def finish_reply(self, told: dict[str, Any]) -> None:
        """Complete the reply from an `Answer` in plain values."""
        self.done = True
        self.error = str(told.get("error", ""))
        if not self.error:
            self.text = str(told["text"])
            self.tokens, self.prompt_tokens = int(told["tokens"]), int(told["prompt_tokens"])
            # Values of a failed answer do not exist, so they are only read without an error
            self.rate, self.first, self.note = told["rate"], float(told["first"]), str(told["note"])


@dataclass(eq=False)
class Turn:
    """A user message, the models' replies to it, and the turns after it.

    Args:
        again: How often its prompt was asked before, so that another seed is used.
    """

    prompt: str = ""
    before: Turn | None = None
    replies: dict[Origin, Reply] = field(default_factory=dict)
    nexts: list[Turn] = field(default_factory=list)
    at: int = 0  # the index of the current one
    again: int = 0

    @property
    def version_place(self) -> tuple[int, int]:
        """Return (number of this version, counted from 1; number of versions)."""
        versions = self.before.nexts if self.before else [self]
        return versions.index(self) + 1, len(versions)


class Talk:
    """A chat with one or several models, each with its own history.

    Args:
        models: The models in the order of their columns.
        system: The system prompt of future answers; empty for none.
    """

    def __init__(
        self, models: list[Origin] | None = None, system: str = "", sampling: Sampling | None = None
    ) -> None:
        self.models = models or []
        self.system = system
        self.sampling = sampling or Sampling()
        # An empty turn before the first, so that the first message can have versions, too
        self._root = Turn()

    @property
    def current_turns(self) -> list[Turn]:
        """Return the turns of the current version, first to last."""
        return list(_walk_turns(self._root))

    def say_prompt(self, prompt: str) -> Turn:
        """Add a message at the end."""
        turns = self.current_turns
        return _add_turn(turns[-1] if turns else self._root, prompt)

    def say_instead(self, turn: Turn, prompt: str) -> Turn:
        """Replace a message; the old one stays, with everything after it, as another version."""
        return _add_turn(turn.before or self._root, prompt)

    def ask_again(self, turn: Turn) -> Turn:
        """Ask for another answer to the same message; the old one stays as another version."""
        found = _add_turn(turn.before or self._root, turn.prompt)
        same = [one for one in found.before.nexts if one.prompt == turn.prompt] if found.before else []
        # The seed is offset by this number: the same seed would give the same answer
        found.again = len(same) - 1
        return found

    def change_version(self, turn: Turn, by: int) -> bool:
        """Switch to another version of a turn; return False if there is none."""
        above = turn.before or self._root
        place = above.nexts.index(turn) + by
        if not 0 <= place < len(above.nexts):
            return False
        above.at = place
        return True

    def begin_new_chat(self) -> None:
        """Start a new chat; the old one stays as another version of its first turn."""
        self._root.at = len(self._root.nexts)

    def go_back(self) -> bool:
        """Return from a new, empty chat to the one before it; return False if that is not possible."""
        if self._root.at < len(self._root.nexts) or not self._root.nexts:
            return False
        self._root.at = len(self._root.nexts) - 1
        return True

    def build_messages(self, model: Origin, turn: Turn | None, prompt: str = "") -> Messages:
        """Return the messages for a model's answer to a turn, or to `prompt` after it.

        Turns that the model has not answered are left out.
        """
        found: Messages = [{"role": "system", "content": self.system}] if self.system else []
        last = turn if not prompt else None
        line = []
        while turn is not None and turn.before is not None:
            line.append(turn)
            turn = turn.before
        for one in reversed(line):
            reply = one.replies.get(model)
            if one is last:
                found.append({"role": "user", "content": one.prompt})
            elif reply is not None and reply.text:
                found += [
                    {"role": "user", "content": one.prompt},
                    {"role": "assistant", "content": reply.text},
                ]
        return [*found, {"role": "user", "content": prompt}] if prompt else found

    def find_unanswered(self) -> tuple[Turn, list[Origin]] | None:
        """Return the first turn with missing answers, and the models that lack one; None if there is none."""
        for turn in self.current_turns:
            missing = [model for model in self.models if model not in turn.replies]
            if missing:
                return turn, missing
        return None

    def find_rivals(self, turn: Turn, reply: Reply) -> list[Reply]:
        """Return other answers to exactly the same messages, by other models or from other tries."""
        # Replies in other branches answer other messages and cannot be compared
        versions = turn.before.nexts if turn.before else [turn]
        found = [other for version in versions for other in version.replies.values()]
        return [
            other for other in found if other is not reply and other.asked == reply.asked and _is_whole(other)
        ]


def _is_whole(reply: Reply) -> bool:
    return reply.done and not reply.error and bool(reply.text.strip())


def _walk_turns(root: Turn) -> Iterator[Turn]:
    turn = root
    while turn.at < len(turn.nexts):
        turn = turn.nexts[turn.at]
        yield turn


def _add_turn(above: Turn, prompt: str) -> Turn:
    turn = Turn(prompt, above)
    above.nexts.append(turn)
    above.at = len(above.nexts) - 1
    return turn
