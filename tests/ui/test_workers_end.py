"""Processes that tokenise do not outlive the one that sends them records, however it ends."""

from __future__ import annotations

import os
import subprocess
import time

import psutil

from tests.ui.terminal import ROOT, python

_POOL = """
import time
from tui_tuner.config.load import build_config
from tui_tuner.data.examples.workers import encode_batches_in_order
from tui_tuner.data.records import Text
from tests.ui.test_workers_end import Encoder

def batches():
    for number in range(10**6):
        yield number, [Text("x")]

if __name__ == "__main__":
    config = build_config({"task": "sft", "data": {"path": "x", "workers": 2}})
    found = encode_batches_in_order(Encoder(config, None), batches(), Encoder)
    print(next(found)[1], flush=True)
    time.sleep(60)
"""


class Encoder:
    """As little of an encoder as a pool of processes needs."""

    in_threads = False

    def __init__(self, config: object, tokenizer: object) -> None:
        self.config, self.tokenizer = config, tokenizer

    def encode_batch(self, records: list[object]) -> int:
        return os.getpid()

    def export_learned(self) -> dict[str, object]:
        return {}

    def merge_learned(self, _found: object) -> None:
        return


def test_workers_end_with_a_process_that_is_killed(tmp_path: object) -> None:
    script = f"{tmp_path}/pool.py"
    with open(script, "w") as file:
        file.write(_POOL)
    parent = subprocess.Popen(
        python(script), stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert parent.stdout is not None
    try:
        worker = psutil.Process(int(parent.stdout.readline()))
        children = psutil.Process(parent.pid).children(recursive=True)
        assert worker.pid != parent.pid and worker in children
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + 20
    while left := [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
