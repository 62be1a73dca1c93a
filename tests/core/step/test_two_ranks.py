"""A run that two real processes train together: what is to come for several GPUs, tried on the CPU."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained
from tui_tuner.config.load import dump_config


def _train_together(folder: Path) -> list[dict[str, Any]]:
    """Train `config.yaml` of a folder in two processes; return what each of them said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    children = []
    for rank in "01":
        environment = os.environ | place | {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}
        environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.core.step.two_ranks", str(folder)]
        children.append(subprocess.Popen(command, env=environment))
    try:
        for child in children:
            child.wait(240)
    finally:
        for child in children:
            child.kill()
            child.wait()
    return [json.loads((folder / f"said-{rank}.json").read_text("utf-8")) for rank in range(2)]


def test_two_ranks_train_as_one_also_where_one_of_them_has_no_rows(
    make_config: MakeConfig, train: Callable[..., Trained], chats: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(chats.read_text("utf-8").splitlines(keepends=True)[:9]), encoding="utf-8")
    config = make_config(
        data__path=str(few),
        data__validation=None,
        evaluation__every=None,
        output__save_every=None,
        training__max_steps=6,
        training__batch_size=4,  # steps of 4, 4 and 1 rows
    )
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    alone = train(config).steps()
    said = _train_together(tmp_path)
    assert [one["status"] for one in said] == ["completed", "completed"], said
    assert [[share for share in one["shares"] if share < 2] for one in said] == [[1, 1], [0, 0]]
    assert {int(step): loss for step, loss in said[0]["steps"].items()} == pytest.approx(alone, rel=1e-4)
