"""Whatever is wrong with a file, somebody is told what and where: no traceback, no crash, no endless work."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from tests.unit.data.limits.damage import damaged_files, seeds
from tui_tuner.config.schema import DataSection
from tui_tuner.data.preview import inspect_data, read_first_rows
from tui_tuner.errors import DataError
from tui_tuner.runs.wire import convert_to_plain_json

SECONDS = 10.0


def test_the_whole_files_are_read(tmp_path: Path) -> None:
    """Or damaging them would say nothing."""
    for name, data in seeds().items():
        path = tmp_path / name
        path.write_bytes(data)
        ledger = inspect_data(DataSection(path=str(path))).ledger
        assert ledger.outcomes["kept"] + ledger.outcomes["changed"], name


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_files_are_read_or_refused(tmp_path: Path, seed: int) -> None:
    refused = 0
    for path in damaged_files(tmp_path, seed, 60):
        begun = time.process_time()
        section = DataSection(path=str(path))
        for look in (read_first_rows, inspect_data):
            try:
                orjson.dumps(convert_to_plain_json(look(section).to_json()), default=str)  # type: ignore[operator]
            except DataError as error:
                refused += 1
                assert path.name in str(error), str(error)
        assert time.process_time() - begun < SECONDS, path.name
    assert 15 < refused < 105
