"""A record format by the recipe of CONTRIBUTING: one module, and one line in `config.kinds.formats`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.config.load import build_config
from tui_tuner.data import formats
from tui_tuner.data.formats import find_format
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.errors import DataError

MODULE = '''
"""Flashcards: a front and a back."""

from tui_tuner.data.formats.record_format import RecordFormat, FormatMatch, ask_for_column
from tui_tuner.data.formats.parts.troubles import TextProblems
from tui_tuner.data.formats.parts.chat_turns import read_system_message
from tui_tuner.data.formats.parts.values import read_text_value
from tui_tuner.data.records import Chat, Message

FRONT = TextProblems("the front is not text", "the front is empty", "the front is missing")
BACK = TextProblems("the back is not text", "the back is empty", "the back is missing")


class Flashcards(RecordFormat):
    name = "flashcards"
    needed = ("front", "back")
    more = ("system",)

    def recognise_rows(self, sample, asked):
        fronts, back = sample.find_named(("front", "recto"), "text"), sample.get_filled("back")
        if not fronts or not back:
            return None
        if len(fronts) > 1:
            raise ask_for_column(sample, "front", [column.name for column in fronts], {"back": back.name})
        roles = {"front": fronts[0].name, "back": back.name, **sample.find_optional("system")}
        return FormatMatch(roles, 0.9, "a front and a back")

    def convert_row(self, values, columns):
        front = Message("user", read_text_value(values.get(columns["front"]), FRONT))
        back = Message("assistant", read_text_value(values.get(columns["back"]), BACK))
        return Chat([*read_system_message(values, columns), front, back])


FORMATS = (Flashcards(),)
'''


@pytest.fixture(autouse=True)
def flashcards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module among the formats, and the line among their names."""
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "flashcards.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    monkeypatch.setitem(RECORD_FORMATS, "flashcards", "a front and a back")
    yield
    find_format.cache_clear()
    sys.modules.pop("tui_tuner.data.formats.flashcards", None)
    vars(formats).pop("flashcards", None)


def reading(path: Path, rows: list[dict[str, Any]], **data: Any) -> tuple[DataReading, list[ReadRow]]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = DataReading(build_config({"data": {"path": str(path), **data}}).data)
    return found, list(found)


CARDS = [{"front": f"word {i}", "back": f"Wort {i}", "deck": 1} for i in range(250)]


@pytest.mark.parametrize("format", ["auto", "flashcards"])
def test_a_file_in_it_is_recognised_and_converted(tmp_path: Path, format: str) -> None:
    rows = [*CARDS, {"front": "last", "back": "", "deck": 1}, {"front": "a", "back": "b", "system": "Brief."}]
    found, read = reading(tmp_path / "cards.jsonl", rows, format=format)
    detection = found.detections[0].detection
    assert (detection.format, detection.confidence, detection.why) == (
        "flashcards",
        0.9,
        "a front and a back",
    )
    assert detection.unused[0] == "deck" and detection.chosen == (format != "auto")
    chat: Any = read[0].record
    assert [(m.role, m.content) for m in chat.messages] == [("user", "word 0"), ("assistant", "Wort 0")]
    assert read[250].problem and read[250].problem.reason == "the back is empty"
    last: Any = read[251].record  # its system message is a column that the sample does not show
    assert [m.role for m in last.messages][:1] == (["system"] if format == "auto" else ["user"])


def test_its_columns_can_be_told_and_are_asked_about(tmp_path: Path) -> None:
    rows = [{"vorn": "a", "hinten": "b"}]
    found, read = reading(tmp_path / "a.jsonl", rows, columns={"front": "vorn", "back": "hinten"})
    assert found.detections[0].detection.format == "flashcards" and read[0].record
    with pytest.raises(DataError, match="flashcards also needs: back"):
        reading(tmp_path / "a.jsonl", rows, columns={"front": "vorn"}, format="flashcards")
    with pytest.raises(DataError, match=r"several columns could be the front.*front: front"):
        reading(tmp_path / "b.jsonl", [{"front": "a", "recto": "b", "back": "c"}])
    with pytest.raises(DataError, match=r"do not look like flashcards \(a front and a back\)"):
        reading(tmp_path / "c.jsonl", [{"prompt": "a", "response": "b"}], format="flashcards")


def test_formats_beside_it_are_recognised_as_before(tmp_path: Path) -> None:
    found, _unused = reading(tmp_path / "a.jsonl", [{"prompt": "a", "response": "b"}])
    assert found.detections[0].detection.format == "prompt_response"
