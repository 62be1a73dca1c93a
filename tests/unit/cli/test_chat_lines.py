"""Lines of standard input, as a chat without a screen reads them."""

from __future__ import annotations

import io

import pytest

from tui_tuner.cli.using.chat_command import _read_line


def test_bytes_that_are_no_text_end_no_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.TextIOWrapper(io.BytesIO(b"a \xff b\xc3\xa9\n\nlast"), "utf-8", "surrogateescape")
    monkeypatch.setattr("sys.stdin", typed)
    lines = [_read_line(io.StringIO(), typed=False) for _line in range(4)]
    assert lines == ["a \N{REPLACEMENT CHARACTER} b\N{LATIN SMALL LETTER E WITH ACUTE}", "", "last", None]
