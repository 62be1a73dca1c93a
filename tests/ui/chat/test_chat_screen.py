"""The chat, with a real model in a real helper process."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Markdown

from tests.ui.conftest import Opened, text, until
from tui_tuner.config.schema import DataSection
from tui_tuner.data.preview import inspect_data
from tui_tuner.inference.talk import Reply
from tui_tuner.runs.store import RunFolder
from tui_tuner.ui.screens.chat.chat_screen import ChatScreen
from tui_tuner.ui.screens.chat.token_screen import TokensScreen

LONG = 60.0


def screen_of(pilot: Pilot[Any]) -> ChatScreen:
    assert isinstance(pilot.app.screen, ChatScreen), pilot.app.screen
    return pilot.app.screen


async def typed(pilot: Pilot[Any], words: str) -> None:
    await pilot.press(*(("space" if letter == " " else letter) for letter in words), "enter")


async def answered(pilot: Pilot[Any], turns: int, models: int = 1) -> list[Reply]:
    """Wait until so many turns have an answer of each of so many models; gives those of the last turn."""
    chat = screen_of(pilot)

    def done() -> bool:
        said = chat.talk.current_turns
        replies = [reply for turn in said for reply in turn.replies.values()]
        in_all = sum(1 for reply in replies if reply.done)
        return len(said) == turns and in_all >= turns * models and not chat.current_operation

    await until(pilot, done, LONG)
    await pilot.pause()
    last = chat.talk.current_turns[-1]
    return [last.replies[model] for model in chat.talk.models]


async def set_longest(pilot: Pilot[Any], tokens: int) -> None:
    await pilot.press("f2")
    await pilot.pause()
    field = pilot.app.screen.query_one("#max_new_tokens")
    field.focus()
    await pilot.pause()
    await pilot.press(*(["backspace"] * 5), *str(tokens), "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))


async def test_a_run_is_talked_to_beside_its_base(opened: Opened, ran: RunFolder) -> None:
    async with opened() as pilot:
        pilot.app.open_results(ran)  # type: ignore[attr-defined]
        await pilot.pause(0.3)
        await pilot.press("c", "up")  # what is typed before the model is there is not lost
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))
        await set_longest(pilot, 12)
        await typed(pilot, "a [bold] coat")
        (first,) = await answered(pilot, 1)
        assert first.asked == [{"role": "user", "content": "a [bold] coat"}]
        assert 0 < first.tokens <= 12 and first.first > 0 and first.prompt_tokens > 3
        shown = text(pilot)
        assert "› a [bold] coat" in shown and "context" in shown and "/512" in shown

        # another turn: the first one goes with it
        await typed(pilot, "and a lamp")
        (second,) = await answered(pilot, 2)
        said = [message["content"] for message in second.asked]
        assert said == ["a [bold] coat", first.text, "and a lamp"]

        # the base beside it answers both from the first on, with its own history
        await pilot.press("f7")
        await until(pilot, lambda: "base model of small" in text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: len(screen_of(pilot).answer_columns) == 2)
        tuned, base = await answered(pilot, 2, 2)
        assert tuned is second and base.text != tuned.text
        assert base.asked[1]["content"] == screen_of(pilot).talk.current_turns[0].replies[base_of(pilot)].text
        columns = screen_of(pilot).answer_columns
        assert [column.size.width for column in columns] == [columns[0].size.width] * 2

        # good and bad: letters are keys among the answers alone
        await pilot.press("g")
        assert screen_of(pilot).prompt_field.text == "g"
        await pilot.press("backspace", "tab", "up", "g")
        await until(pilot, lambda: "Saved in" in text(pilot))
        assert "✓ good" in text(pilot)
        await until(pilot, lambda: (ran.path / "kept-preferred.jsonl").exists())
        for name, kind in (("kept", "messages"), ("kept-judged", "kto"), ("kept-preferred", "preference")):
            path = ran.path / f"{name}.jsonl"
            assert oct(path.stat().st_mode & 0o777) == "0o600"
            seen = inspect_data(DataSection(path=str(path)))
            assert seen.detections[0]["format"] == kind and len(path.read_text().splitlines()) == 1, name
        await pilot.press("g")
        await until(pilot, lambda: "Undone" in text(pilot))
        assert [(ran.path / f"{name}.jsonl").read_text() for name in ("kept", "kept-judged")] == ["", ""]

        # said otherwise: what was there stays as another version
        await pilot.press("e", "space", "x", "enter")
        await answered(pilot, 1, 2)
        assert "a [bold] coat x  ‹2/2›" in text(pilot)
        await pilot.press("tab", "left")
        await until(pilot, lambda: len(screen_of(pilot).talk.current_turns) == 2)
        assert "‹1/2›" in text(pilot) and "and a lamp" in text(pilot)

        # exact tokens
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(pilot.app.screen, TokensScreen), LONG)
        await until(pilot, lambda: "special" in text(pilot))
        assert "‹<|im_start|>›" in text(pilot) and "▏" in text(pilot)
        await pilot.press("i", "escape", "x")
        await until(pilot, lambda: len(screen_of(pilot).answer_columns) == 1)
        pid = screen_of(pilot)._request.pid if screen_of(pilot)._request else None
        await until(pilot, lambda: not screen_of(pilot).current_operation, LONG)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ChatScreen))
        if pid:
            await until(pilot, lambda: not os.path.exists(f"/proc/{pid}"))

        # the talk is there again
        await pilot.press("c")
        await until(pilot, lambda: "and a lamp" in text(pilot))
        assert len(screen_of(pilot).answer_columns) == 1

        # beside the base too, with what that has answered
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ChatScreen))
        await pilot.press("b")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))
        await until(pilot, lambda: len(screen_of(pilot).answer_columns) == 2)
        assert await answered(pilot, 2, 2) == [tuned, base]


def base_of(pilot: Pilot[Any]) -> Any:
    return screen_of(pilot).talk.models[1]


async def test_a_stop_and_a_kill_leave_what_was_written(opened: Opened, ran: RunFolder) -> None:
    async with opened(size=(120, 40)) as pilot:
        pilot.app.push_screen(ChatScreen([str(ran.path)]))
        await pilot.pause()
        await set_longest(pilot, 400)
        screen_of(pilot).talk.sampling = type(screen_of(pilot).talk.sampling)(
            temperature=1.5, repetition_penalty=1.5, max_new_tokens=450, seed=3
        )
        await typed(pilot, "tell a long story")
        await until(pilot, lambda: _text(pilot), LONG)
        await pilot.press("escape")
        (reply,) = await answered(pilot, 1)
        assert reply.text and reply.note and not reply.error and reply.tokens < 450
        assert pilot.app.screen.query(Markdown)

        await typed(pilot, "go on")
        await until(pilot, lambda: len(screen_of(pilot).talk.current_turns) == 2 and _text(pilot), LONG)
        os.kill(screen_of(pilot)._request.pid, signal.SIGKILL)
        (reply,) = await answered(pilot, 2)
        assert reply.text and "ended" in reply.error
        await pilot.press("tab", "g")
        await pilot.press("shift+tab")

        await set_longest(pilot, 5)
        screen_of(pilot).set_focus(screen_of(pilot).prompt_field)
        await typed(pilot, "once more")  # the model is loaded again
        (reply,) = await answered(pilot, 3)
        assert not reply.error and len(reply.asked) == 5


async def test_esc_leaves_while_what_is_loaded_is_being_stopped(opened: Opened, ran: RunFolder) -> None:
    class Slow:
        """A helper that hears of nothing until it has started."""

        pid = 0

        def __init__(self) -> None:
            self.over = threading.Event()

        def cancel(self) -> None:
            pass

        def wait(self) -> None:
            self.over.wait(LONG)

    slow = Slow()
    async with opened() as pilot:
        below, pilot.app.helper.request = pilot.app.screen, lambda *_, **__: slow  # type: ignore
        pilot.app.push_screen(ChatScreen([str(ran.path)]))
        await until(
            pilot, lambda: isinstance(pilot.app.screen, ChatScreen) and screen_of(pilot).current_operation
        )
        await pilot.press("escape")
        await until(pilot, lambda: "Stopping…" in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is below)
        slow.over.set()


def _text(pilot: Pilot[Any]) -> str:
    turns = screen_of(pilot).talk.current_turns
    return "".join(reply.text for reply in turns[-1].replies.values()) if turns else ""
