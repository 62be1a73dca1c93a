"""A long journal that is read in pieces: what became of the run is not told before its end was read."""

from __future__ import annotations

import pytest
from textual.message import Message
from textual.message_pump import MessagePump

from tests.ui import fakes
from tui_tuner.runs.store import RunStore
from tui_tuner.ui import bridge
from tui_tuner.ui.bridge import RunFollower, RunUpdated


class _Listener(MessagePump):
    def __init__(self) -> None:
        super().__init__()
        self.states: list[str] = []

    def post_message(self, message: Message) -> bool:
        if isinstance(message, RunUpdated):
            self.states.append(message.snapshot.state)
        return True


@pytest.mark.parametrize("ended", ["completed", "failed", "lost"])
def test_a_run_is_not_called_lost_while_its_journal_is_read(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    folder = fakes.make_run(store, "long")
    fakes.write_run(folder, 3000, 3000, "" if ended == "lost" else ended)
    fakes.claim_dead(folder)
    folder.log_path.write_text("the last words\n")
    monkeypatch.setattr(bridge, "_CHUNK", 50_000)
    monkeypatch.setattr(bridge, "_BUDGET", 0.001)
    follower, listener = RunFollower(folder), _Listener()
    follower.add_listener(listener)
    while follower.poll_journal():
        pass
    assert len(listener.states) > 3 and listener.states[0] == "reading"
    assert set(listener.states) == {"reading", ended} and listener.states[-1] == ended
    texts = [line.text for line in follower.take_snapshot().log]
    assert texts.count("the last words") == (ended != "completed")
