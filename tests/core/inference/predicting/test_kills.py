"""Killed at any moment, the same command goes on: no row is lost, none is there twice, all stand in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import chat_rows, write_jsonl
from tests.core.inference.predicting.models import job, read
from tui_tuner.cli.using.predict_command import format_prediction_outcome
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.predicting.engine import predict_file
from tui_tuner.inference.predicting.job import Job

ROWS = 100
# Predicts in a child of its own again and again, each of which is killed; then once to the end.
DRIVER = """
import json, os, random, signal, sys, time
from tui_tuner.inference.predicting.engine import predict_file
from tui_tuner.inference.predicting.job import Job
from tui_tuner.errors import UsageError
job = Job.from_values(json.loads(sys.argv[1]))
random.seed(5)
import torch
from transformers import AutoTokenizer, LlamaForCausalLM  # once, not in each child
kills, refused, sizes = 0, 0, []
while True:
    size = os.path.getsize(job.out) if os.path.exists(job.out) else 0
    child = os.fork()
    if not child:
        try:
            predict_file(job)
        finally:
            os._exit(0)
    if kills < 4:
        grown = size + random.randrange(1, 4000)
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            now = os.path.getsize(job.out) if os.path.exists(job.out) else 0
            if now >= grown:
                if not refused:
                    try:
                        predict_file(job)
                    except UsageError as error:
                        refused = "another process" in str(error)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.002)
        kills += 1
        sizes.append(os.path.getsize(job.out))
        if kills % 2:  # and the last line torn, as by a machine that went off
            with open(job.out, "ab") as file:
                file.write(b'{"number": 3, "messa')
    else:
        os.waitpid(child, 0)
        print(json.dumps([kills, refused, sizes]))
        break
"""


@pytest.fixture
def asked(tiny_model: Path, tmp_path: Path) -> Job:
    rows = [{"number": n, **row} for n, row in enumerate(chat_rows(ROWS))]
    origin = Origin("model", "tiny", str(tiny_model))
    return job(origin, write_jsonl(tmp_path / "rows.jsonl", rows), batch_size=4, max_new_tokens=12)


def test_kills(asked: Job) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(asked.list_job_values())],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    kills, refused, sizes = json.loads(done.stdout.splitlines()[-1])
    assert kills == 4 and refused and sizes == sorted(sizes) and sizes[0] > 0
    whole = Job.from_values({**asked.list_job_values(), "out": asked.out + ".whole"})
    predict_file(whole)
    assert Path(asked.out).read_bytes() == Path(whole.out).read_bytes()
    assert sizes[-1] < Path(asked.out).stat().st_size  # the last kill was not at the end
    assert [row["number"] for row in read(asked.out)] == list(range(ROWS))


def test_a_signal_writes_the_batch_and_the_command_goes_on(asked: Job) -> None:
    """By the command: its exit codes, its lines, its JSON."""
    command = [
        *(sys.executable, "-m", "tui_tuner", "predict", asked.model.path, asked.path, "-o", asked.out),
        *("--batch-size", "4", "--max-new-tokens", "24", "--device", "cpu"),
    ]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            told = json.loads(line)
            if told.get("doing") == "predicting" and told["rows"] > 12:
                running.send_signal(signal.SIGTERM)
                break
        last = [json.loads(line) for line in running.stdout][-1]
        assert running.wait(60) == 143
    assert last["stopped"] and 0 < last["rows"] < ROWS and len(read(asked.out)) == last["rows"]
    asked = Job.from_values({**asked.list_job_values(), "max_new_tokens": 24})
    found = predict_file(asked)
    assert found.is_done and found.before == last["rows"]
    assert [row["number"] for row in read(asked.out)] == list(range(ROWS))
    again = predict_file(asked)  # needs no model
    assert again.is_done and again.before == ROWS and again.seconds == 0
    said = format_prediction_outcome(found)
    assert said[:2] == [f"{asked.out}: {ROWS} rows", f"{last['rows']} of them from earlier attempts"]
    assert format_prediction_outcome(again)[0] == f"{asked.out} is complete: {ROWS} rows."
