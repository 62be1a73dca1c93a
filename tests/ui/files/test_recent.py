"""Paths that were chosen before."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from tui_tuner.ui.recent_paths import MOST, list_recent_paths, note_recent_path


@pytest.fixture(autouse=True)
def own_preferences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUI_TUNER_CONFIG_DIR", str(tmp_path / "preferences"))
    return tmp_path / "preferences" / "recent.json"


def test_the_newest_stand_first_and_what_is_gone_is_left_out(tmp_path: Path, own_preferences: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(MOST + 5)]
    for file in files:
        file.write_text("{}")
        assert note_recent_path("data", str(file))
    assert note_recent_path("data", str(files[10])) and note_recent_path("config", str(files[0]))
    found = list_recent_paths("data")
    assert len(found) == MOST and found[0] == str(files[10]) and found.count(str(files[10])) == 1
    files[10].unlink()
    assert (
        list_recent_paths("data")[0] == str(files[-1])
        and list_recent_paths("config") == [str(files[0])]
        and list_recent_paths("x") == []
    )
    assert stat.S_IMODE(own_preferences.stat().st_mode) == 0o600
    assert not note_recent_path("data", str(tmp_path / "missing"))


def test_a_name_that_is_no_unicode_comes_back(tmp_path: Path) -> None:
    odd = tmp_path / "x\udcff\n.json"
    odd.write_text("{}")
    assert note_recent_path("data", str(odd)) and list_recent_paths("data") == [str(odd)]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"data": 5}', '{"data": [5, "relative", "/\\u0000"]}'])
def test_a_spoiled_file_is_begun_anew(tmp_path: Path, own_preferences: Path, content: str) -> None:
    own_preferences.parent.mkdir()
    own_preferences.write_text(content)
    assert list_recent_paths("data") == []
    assert note_recent_path("data", str(tmp_path)) and list_recent_paths("data") == [str(tmp_path)]


def test_workbenches_that_write_at_once_lose_nothing(tmp_path: Path, own_preferences: Path) -> None:
    code = (
        "import sys; from tui_tuner.ui.recent_paths import note_recent_path\n"
        "for name in sys.argv[1:]: assert note_recent_path('data', name)"
    )
    names = [[str(tmp_path / f"{who}-{number}") for number in range(6)] for who in range(3)]
    for name in list(chain(*names)):
        Path(name).write_text("")
    writers = [subprocess.Popen([sys.executable, "-c", code, *mine]) for mine in names]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert sorted(list_recent_paths("data")) == sorted(list(chain(*names)))
    assert json.loads(own_preferences.read_text()).keys() == {"data"}
    assert [path.name for path in own_preferences.parent.iterdir() if "-" in path.name] == []
