"""What was said in a chat, as a tree: what one says instead, or hears again, leaves the rest where it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.inference.origin import Origin
from tui_tuner.inference.sampling import Sampling

Messages = list[dict[str, Any]]  # each {"role": ..., "content": ...}
AGAIN = 0.8  # temperature of another answer where the chat's own is 0, which would give the same once more


@dataclass
class Reply:
    """What one model has written.

    Args:
        asked: The messages that it was given.
        done: Nothing more comes.
        note: Why it is shorter than it could be.
        error: Why it could not be written, or not to its end.
        good: What the user thinks of it.
    """

    asked: Messages
    text: str = ""
    done: bool = False
    note: str = ""
    error: str = ""
    tokens: int = 0
    rate: float | None = None  # tokens a second after the first one
    first: float = 0.0  # seconds to it
    prompt_tokens: int = 0
    temperature: float = 0.0
    good: bool | None = None

    @property
    def chat(self) -> Messages:
        """All of it, as one trains on it."""
        return [*self.asked, {"role": "assistant", "content": self.text}]

    def end(self, told: dict[str, Any]) -> None:
        """Take over what an `Answer` in plain values says."""
        self.done = True
        self.error = str(told.get("error", ""))
        if not self.error:
            self.text = str(told["text"])
            self.tokens, self.prompt_tokens = int(told["tokens"]), int(told["prompt_tokens"])
            self.rate, self.first, self.note = told["rate"], float(told["first"]), str(told["note"])


@dataclass(eq=False)
class Turn:
    """Something that was said, what each model answered, and all that was said after it.

    Args:
        again: Its prompt was asked again so many times before: its random numbers must be others.
    """

    prompt: str = ""
    before: Turn | None = None
    replies: dict[Origin, Reply] = field(default_factory=dict)
    nexts: list[Turn] = field(default_factory=list)
    at: int = 0  # which of them one is in
    again: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Which of how many versions of this turn it is, from 1."""
        versions = self.before.nexts if self.before else [self]
        return versions.index(self) + 1, len(versions)


class Talk:
    """A chat with one model or several side by side, each with its own history.

    Args:
        models: In the order of their columns.
        system: The system prompt of the answers to come; empty for none.
    """

    def __init__(
        self, models: list[Origin] | None = None, system: str = "", sampling: Sampling | None = None
    ) -> None:
        self.models = models or []
        self.system = system
        self.sampling = sampling or Sampling()
        self._root = Turn()

    @property
    def turns(self) -> list[Turn]:
        """What was said, from the first to the last, in the version one is in."""
        return list(_line(self._root))

    def say(self, prompt: str) -> Turn:
        """Say something at the end."""
        turns = self.turns
        return _add(turns[-1] if turns else self._root, prompt)

    def say_instead(self, turn: Turn, prompt: str) -> Turn:
        """Say something in the place of a turn; it stays, with what came after, as another version."""
        return _add(turn.before or self._root, prompt)

    def ask_again(self, turn: Turn) -> Turn:
        """Another answer to the same; what was there stays as another version."""
        found = _add(turn.before or self._root, turn.prompt)
        same = [one for one in found.before.nexts if one.prompt == turn.prompt] if found.before else []
        found.again = len(same) - 1
        return found

    def change_version(self, turn: Turn, by: int) -> bool:
        """Go to another version of a turn; False where there is none."""
        above = turn.before or self._root
        place = above.nexts.index(turn) + by
        if not 0 <= place < len(above.nexts):
            return False
        above.at = place
        return True

    def begin_anew(self) -> None:
        """A new chat. The old one stays, as another version of its first turn."""
        self._root.at = len(self._root.nexts)

    def go_back(self) -> bool:
        """From a new chat in which nothing was said to the one before it."""
        if self._root.at < len(self._root.nexts) or not self._root.nexts:
            return False
        self._root.at = len(self._root.nexts) - 1
        return True

    def messages(self, model: Origin, turn: Turn | None, prompt: str = "") -> Messages:
        """What a model is given to answer a turn, or `prompt` after it.

        A turn that it has no answer to is left out.
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

    def unanswered(self) -> tuple[Turn, list[Origin]] | None:
        """The first turn that models have not answered, and which; None if there is none."""
        for turn in self.turns:
            missing = [model for model in self.models if model not in turn.replies]
            if missing:
                return turn, missing
        return None

    def rivals(self, turn: Turn, reply: Reply) -> list[Reply]:
        """Other answers to exactly the same messages: of another model, or of another try."""
        versions = turn.before.nexts if turn.before else [turn]
        found = [other for version in versions for other in version.replies.values()]
        return [
            other for other in found if other is not reply and other.asked == reply.asked and _is_whole(other)
        ]


def _is_whole(reply: Reply) -> bool:
    return reply.done and not reply.error and bool(reply.text.strip())


def _line(root: Turn) -> Iterator[Turn]:
    turn = root
    while turn.at < len(turn.nexts):
        turn = turn.nexts[turn.at]
        yield turn


def _add(above: Turn, prompt: str) -> Turn:
    turn = Turn(prompt, above)
    above.nexts.append(turn)
    above.at = len(above.nexts) - 1
    return turn
