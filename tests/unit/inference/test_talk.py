"""A chat is a tree: what is said instead leaves the rest; kept answers are rows, each answer once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tui_tuner.inference.kept_answers import GOOD, JUDGED, PREFERRED, keep_answer_rating
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.talk import Reply, Talk

TUNED, BASE = Origin("model", "tuned", "/tuned"), Origin("model", "base", "/base")


def replied(talk: Talk, model: Origin, text: str) -> Reply:
    turn = talk.current_turns[-1]
    turn.replies[model] = Reply(talk.build_messages(model, turn), text, True)
    return turn.replies[model]


def said(talk: Talk) -> list[str]:
    return [turn.prompt for turn in talk.current_turns]


def test_what_came_after_an_edited_turn_is_there_again() -> None:
    talk = Talk([TUNED])
    first = talk.say_prompt("a")
    talk.say_prompt("b")
    other = talk.say_instead(first, "A")
    assert said(talk) == ["A"] and other.version_place == (2, 2)
    assert talk.change_version(other, -1) and said(talk) == ["a", "b"]
    assert not talk.change_version(first, -1)
    talk.begin_new_chat()
    assert said(talk) == [] and talk.go_back() and said(talk) == ["A"]


def test_another_answer_is_drawn_otherwise_each_time() -> None:
    talk = Talk([TUNED])
    turn = talk.say_prompt("a")
    assert [talk.ask_again(turn).again for _unused in range(3)] == [1, 2, 3]


def test_each_model_has_its_own_history_and_catches_up() -> None:
    talk = Talk([TUNED], system="be brief")
    talk.say_prompt("a")
    replied(talk, TUNED, "one")
    talk.say_prompt("b")
    replied(talk, TUNED, "two")
    talk.models.append(BASE)
    turn, missing = talk.find_unanswered() or (None, [])
    assert turn is talk.current_turns[0] and missing == [BASE]
    turn.replies[BASE] = Reply(talk.build_messages(BASE, turn), "", True, error="it failed")
    contents = [message["content"] for message in talk.build_messages(BASE, talk.current_turns[1])]
    assert contents == ["be brief", "b"]  # a turn without an answer is left out
    contents = [message["content"] for message in talk.build_messages(TUNED, talk.current_turns[1], "c")]
    assert contents == ["be brief", "a", "one", "b", "two", "c"]


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_an_answer_has_one_row_whatever_is_thought_of_it(tmp_path: Path) -> None:
    (tmp_path / JUDGED).write_text('{"not": "ours"}\nbroken\n')
    talk = Talk([TUNED, BASE])
    turn = talk.say_prompt("a\u2028b")
    good, bad = replied(talk, TUNED, "one\u2028two"), replied(talk, BASE, "no")
    good.good = True
    for _unused in range(2):
        assert keep_answer_rating(tmp_path, good, talk.find_rivals(turn, good)) == [GOOD, JUDGED, PREFERRED]
    bad.good = False
    assert keep_answer_rating(tmp_path, bad, talk.find_rivals(turn, bad)) == [JUDGED, PREFERRED]
    lines = (tmp_path / JUDGED).read_text(encoding="utf-8").split("\n")
    assert lines[:2] == ['{"not": "ours"}', "broken"] and len(lines) == 5
    assert [json.loads(line)["label"] for line in lines[2:4]] == [True, False]
    (pair,) = rows(tmp_path / PREFERRED)
    assert pair["chosen"] == [{"role": "assistant", "content": "one\u2028two"}]
    good.good = False
    keep_answer_rating(tmp_path, good, talk.find_rivals(turn, good))
    assert rows(tmp_path / GOOD) == rows(tmp_path / PREFERRED) == []
    assert (tmp_path / GOOD).stat().st_mode & 0o777 == 0o600


def test_a_screen_can_have_a_talk_without_torch() -> None:
    code = "import sys, tui_tuner.ui.screens.chat.chat_screen; print(int('torch' in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "0"
