"""How a model is named on the command line: checkpoints of a run, and which of them there are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ui import fakes
from tui_tuner.errors import RunError, UsageError
from tui_tuner.inference.origin import find_origin


def test_a_checkpoint_that_the_run_has_not_is_bad_usage(tmp_path: Path) -> None:
    store = fakes.store_at(tmp_path)
    folder = fakes.make_run(store, "coats", task="classification")
    shutil.copy(folder.path / "config.yaml", folder.path / "config.resolved.yaml")
    with pytest.raises(UsageError, match="It has saved no model yet"):
        find_origin("coats", store, "step-99")
    with pytest.raises(RunError, match="saved no model yet"):
        find_origin("coats", store)
    assert find_origin("coats", store, "base").checkpoint == "base"
    folder.last_path.mkdir()
    for step in (100, 20):
        (folder.checkpoints_path / f"step-{step}").mkdir(parents=True)
    for name in ("last", "step-100", "base"):
        assert find_origin("coats", store, name).checkpoint == name
    assert find_origin("coats", store).checkpoint == "last"
    with pytest.raises(UsageError, match=r"coats: has no checkpoint 'step-99'\.") as caught:
        find_origin("coats", store, "step-99")
    assert caught.value.exit_code == 2 and "last, step-100, step-20, base" in caught.value.hint
