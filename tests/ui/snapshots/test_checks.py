"""The checks of screens find what they are for."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

from tests.ui.snapshots.picture import Picture, _in_place, cut_sentences, difference, faults


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("x" * 81, "cells wide"),
        ("  Traceback (most recent call last):", "a traceback"),
        ("Content('hello')", "an object"),
        ("[bold]hello[/bold]", "markup"),
        ('  1 {"prompt": "a"}', ""),
        ('{"prompt": "a", "answer": "b"}', "raw JSON"),
        ("It took {seconds:.1f} s.", "not filled in"),
        ("a\\x1b[2J", "an escape"),
        ("data.columns = {prompt: frage, response: antwort}", ""),
        ("a list such as [a, b], a mapping such as {a: b}", ""),
    ],
)
def test_what_no_screen_may_have_is_found(line: str, what: str) -> None:
    found = faults(Picture((line,), ("",), frozenset()), 80)
    assert (what in " ".join(found)) if what else not found


def test_a_folder_is_replaced_also_where_a_line_shows_only_a_part_of_it() -> None:
    there, here = "/tmp/abcdefgh/wwwwwwww", "/home/ada/tuning/texts"
    assert _in_place(f"in {there}/runs", there, here) == f"in {here}/runs"
    assert _in_place("in /tmp/abcdefgh…", there, here) == "in /home/ada/tun…"
    assert _in_place("gh/wwwwwwww/runs", there, here) == f"{here[there.index('gh/') :]}/runs"
    assert _in_place("nothing of it", there, here) == "nothing of it"


async def test_a_sentence_that_is_cut_with_room_is_found() -> None:
    words = "This is a sentence that somebody has cut by hand though…"

    class Cut(App[None]):
        def compose(self) -> ComposeResult:
            yield Static(words)

    for width, count in ((80, 1), (len(words) + 2, 0)):
        app = Cut()
        async with app.run_test(size=(width, 5)) as pilot:
            assert len(cut_sentences(pilot, Picture((words,), ("",), frozenset()))) == count


def test_a_change_is_told_line_by_line() -> None:
    told = difference("one\ntwo\nthree\n", "one\n2\nthree\n")
    assert "-two" in told and "+2" in told and "as it was kept" in told
    assert difference("one\n", "one\n") == ""
