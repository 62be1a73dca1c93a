"""`data.limit` takes the first rows, or rows from anywhere: the same ones for the same seed."""

import json
from collections import Counter
from pathlib import Path

from tui_tuner.config.schema import DataSection
from tui_tuner.data.read_data import DataReading


def sorted_file(folder: Path, rows: int = 2000) -> str:
    """Rows sorted by class, as files of reviews often are."""
    path = folder / "sorted.jsonl"
    lines = [{"text": f"text {n}", "label": "bad" if n < rows // 2 else "good"} for n in range(rows)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def picked(path: str, picks: bool = True, **more: object) -> list[int]:
    """The numbers of the rows that are read."""
    data = DataSection.model_validate({"path": path, "limit": 200, "pick": "random", **more})
    return [int(read.row.values["text"].split()[1]) for read in DataReading(data, picks=picks)]


def test_rows_come_from_anywhere_in_their_order(tmp_path: Path) -> None:
    path = sorted_file(tmp_path)
    found = picked(path)
    assert len(found) == len(set(found)) == 200 and found == sorted(found)
    tenths = Counter(number // 200 for number in found)
    assert len(tenths) == 10 and max(tenths.values()) < 45, "20 of each tenth are expected"
    assert picked(path) == found
    assert picked(path, seed=7) != found
    assert picked(path, picks=False) == list(range(200)), "a glance reads no further than it has to"


def test_a_limit_beyond_the_end_takes_everything(tmp_path: Path) -> None:
    path = sorted_file(tmp_path, 100)
    reading = DataReading(DataSection(path=path, limit=200, pick="random"), picks=True)
    assert len(list(reading)) == 100 and not any("picked" in note for note in reading.notes)


def test_it_is_said(tmp_path: Path) -> None:
    reading = DataReading(DataSection(path=sorted_file(tmp_path), limit=30), picks=True)
    assert len(list(reading)) == 30
    assert "30 of 2,000 rows were picked at random (data.pick)." in reading.notes


def test_rows_that_make_a_chat_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    turns = [
        {"conversation_id": chat, "role": role, "content": f"{role} {chat}"}
        for chat in range(60)
        for role in ("user", "assistant")
    ]
    path.write_text("".join(json.dumps(turn) + "\n" for turn in turns), encoding="utf-8")
    reads = list(DataReading(DataSection(path=str(path), limit=10), picks=True))
    records = [read.record for read in reads if not read.merged]
    assert len(records) == 10 and len(reads) == 20
    for record in records:
        user, assistant = record.messages  # type: ignore[union-attr]
        assert user.content.split()[1] == assistant.content.split()[1]
