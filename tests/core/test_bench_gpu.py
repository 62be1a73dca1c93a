"""The benchmark for one GPU: what it asks for, its time, its traces and its table; no GPU needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def event(cat: str, name: str, start: float, length: float, tid: int = 0) -> dict[str, Any]:
    return {"cat": cat, "name": name, "ts": start, "dur": length, "tid": tid, "ph": "X"}


def test_time_in_which_kernels_of_several_streams_ran_counts_once() -> None:
    from gpu.traces import busy

    found = busy(
        [
            event("kernel", "a", 0, 100),
            event("kernel", "b", 50, 100, tid=7),  # on another stream
            event("kernel", "c", 60, 10),
            event("gpu_memcpy", "Memcpy HtoD", 300, 50),
            event("cpu_op", "aten::mm", 0, 1000),
            {"ph": "M", "name": "process_name"},
        ]
    )
    assert (found.kernels, found.copies) == (3, 1)
    assert found.seconds == pytest.approx(200e-6)


def test_launches_are_told_by_the_operation_that_made_them() -> None:
    from gpu.traces import launches_by_operation

    events = [
        event("cpu_op", "ours::norm", 0, 10),
        event("cuda_runtime", "cudaLaunchKernel", 1, 1),
        event("cuda_runtime", "cudaLaunchKernel", 4, 1),
        event("cuda_runtime", "cudaMemcpyAsync", 5, 1),
        event("cuda_runtime", "cudaLaunchKernel", 6, 1, tid=9),  # of another thread
        event("cpu_op", "aten::mm", 20, 10),
        event("cuda_runtime", "cudaLaunchKernel", 21, 1),
        event("cpu_op", "ours::norm", 40, 10),
        event("cuda_driver", "cuLaunchKernel", 41, 1),
    ]
    assert launches_by_operation(events, ["ours::norm", "ours::never"]) == {"ours::norm": 1.5}


def test_operations_that_launch_what_they_do_not_declare_are_named() -> None:
    from gpu.table import wrong_declarations

    results = [
        {"operations": {"ours::norm": 2.0, "ours::mlp": 3.0}, "declared": {"ours::norm": 1, "ours::mlp": 3}}
    ]
    assert wrong_declarations(results) == ["ours::norm declares 1 launches and made 2.00"]


def test_a_stage_is_skipped_that_has_too_little_time_left() -> None:
    from gpu.table import Budget

    now = [100.0]
    budget = Budget(60, lambda: now[0])
    assert budget.limit(50, 20) == 50
    now[0] += 35
    assert budget.limit(50, 20) == 25
    now[0] += 10
    assert budget.limit(50, 20) == 0
    now[0] += 1000
    assert budget.left == 0


def test_the_table_and_its_ratios() -> None:
    from gpu.table import HEADER, lines, ratios

    results = [
        {
            "case": "a",
            "who": "TRL + Liger",
            "tokens_a_second": 5000.0,
            "flops_a_token": 3.2e10,
            "peak_bytes": 2**34,
        },
        {"case": "b", "who": "ours", "problem": "not done in 75 s"},
        {
            "case": "a",
            "who": "ours",
            "tokens_a_second": 8000.0,
            "flops_a_token": 3.2e10,
            "busy_seconds_a_token": 1e-4,
            "launches": 4321,
            "counted_launches": 4300,
            "peak_bytes": 2**34,
            "predicted_bytes": 2**33,
            "first_step": 12.34,
        },
        {"case": "a", "who": "ours, live pane", "tokens_a_second": 7600.0, "flops_a_token": 3.2e10},
    ]
    found = lines(results, 1000.0)
    assert all(len(line) == len(HEADER) for line in found)
    assert found[0] == ["a", "ours", "8,000", "25.6%", "80%", "4,321", "4,300", "16.00", "8.00", "12.3"]
    assert [line[1] for line in found] == ["ours", "ours, live pane", "TRL + Liger", "ours"]
    assert found[-1][2] == "not done in 75 s"
    assert lines(results, 0.0)[0][3] == ""  # a card whose speed nobody knows
    assert ratios(results) == ["a: under the live pane / headless 0.95", "a: ours / TRL + Liger 1.60"]


def test_figures_come_from_the_journal(tmp_path: Path) -> None:
    from gpu.cases import Steps
    from gpu.ours import from_journal

    def step(number: int, seconds: float) -> dict[str, Any]:
        known = {"kind": "step", "step": number, "time": 100.0 + 2 * number, "seconds": seconds, "loss": 1.0}
        return known | {"tokens": 1000, "supervised_tokens": 400, "memory_allocated": 10 * number}

    events = [
        {"kind": "resolved", "field": "training.micro_batch", "value": 4},
        *(step(number, 9.0 if number == 1 else 2.0) for number in (1, 2, 3, 4)),
        {"kind": "memory", "predicted_allocated": 44, "allocated": 40},
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in events) + '\n{"kind": "st', encoding="utf-8")
    found = from_journal(path, Steps(1, 2, 1), 90.0)
    assert found["tokens_a_second"] == 500.0 and found["trained_share"] == 0.4
    assert found["first_step"] == 3.0
    assert (found["peak_bytes"], found["predicted_bytes"]) == (40, 44)
    assert from_journal(tmp_path / "none.jsonl", Steps(1, 2, 1), 0.0)["problem"] == "no step was made"


def test_every_goal_has_its_stages_and_the_first_of_them_come_first() -> None:
    from gpu.cases import BARE, LIVE, OURS, TRL, UNSLOTH, stages

    found = [(stage.case.name, stage.who) for stage in stages(tiny=False)]
    assert len(set(found)) == len(found)
    for case in (
        "l8b-lora-4k",
        "l8b-qlora-4k",
        "l8b-lora-16k",
        "l1b-full-4k",
        "l8b-qlora-16k",
        "l1b-full-16k",
    ):
        assert (case, OURS) in found
        assert any(name == case and who in (TRL, UNSLOTH) for name, who in found)
    assert found[0] == ("l8b-lora-4k", OURS)
    assert {LIVE, BARE} <= {who for _case, who in found}
    batches = {stage.case.name: (stage.case.batch, stage.case.packed) for stage in stages(tiny=False)}
    assert batches["l8b-lora-4k"] == (15, 2) and batches["l8b-lora-16k"] == (61, 8)


def test_flops_of_a_token_are_those_of_the_passes_that_learning_needs() -> None:
    from gpu.arithmetic import flops_a_token
    from gpu.cases import Case

    lora, full = (flops_a_token(Case("l8b", kind, "none", 4000)) for kind in ("lora", "full"))
    assert 3.0e10 < lora < 3.1e10  # 4 for each of 7.5 billion weights, 6 for the adapters', and attention
    assert 4.5e10 < full < 4.6e10
    assert lora - flops_a_token(Case("l8b", "lora", "none", 4000), 0.5) == 2 * 4096 * 128256


def test_launches_are_counted_of_what_ours_runs() -> None:
    from gpu.arithmetic import request_of
    from gpu.cases import Case

    from tui_tuner.config.sections.training import DEGREES

    for degree in DEGREES:
        found = request_of(Case("l8b", "lora", "none", 4000, degree))
        assert found["quick"] and found["checkpointing"] == degree
        few, more = found["layers"]
        assert (more - few) % 2 == 0, "every second layer is another one"


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "bench_gpu.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    found = run(folder=tmp_path)
    if "No GPU" not in found.stdout:
        pytest.skip("a GPU is here")
    assert found.returncode == 0 and len(found.stdout.splitlines()) == 1 and not found.stderr


@pytest.mark.parametrize(
    "wrong", [["--minutes", "0"], ["--only", "nobody"], ["--fast"], ["--unsloth", "/no/such/python"]]
)
def test_wrong_usage_is_told(tmp_path: Path, wrong: list[str]) -> None:
    found = run(*wrong, folder=tmp_path)
    assert found.returncode == 2 and wrong[0] in found.stderr


def test_models_are_whole_and_made_once(tmp_path: Path) -> None:
    from gpu.models import make
    from safetensors import safe_open
    from transformers import AutoConfig, AutoTokenizer

    from tui_tuner.models.loading import check_weight_files

    make(tmp_path, "tiny", 5)
    check_weight_files(tmp_path / "tiny")
    with safe_open(tmp_path / "tiny" / "model-00001-of-00001.safetensors", framework="pt") as file:
        assert "model.layers.1.mlp.up_proj.weight" in file.keys() and "lm_head.weight" not in file.keys()  # noqa: SIM118
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    assert len(tokenizer) <= AutoConfig.from_pretrained(tmp_path / "tiny").vocab_size
    texts = [json.loads(line)["text"] for line in (tmp_path / "text.jsonl").read_text().splitlines()]
    chats = [json.loads(line)["messages"] for line in (tmp_path / "chats.jsonl").read_text().splitlines()]
    assert len(texts) == 5
    for text, chat in zip(texts, chats, strict=True):
        assert tokenizer(tokenizer.apply_chat_template(chat, tokenize=False)) == tokenizer(text)
        assert 0 not in tokenizer(text)["input_ids"]  # no unknown word
    before = (tmp_path / "tiny" / "config.json").stat().st_mtime_ns
    make(tmp_path, "tiny", 5)
    assert (tmp_path / "tiny" / "config.json").stat().st_mtime_ns == before


def bench_in(folder: Path) -> Any:
    import bench_gpu
    from gpu.table import Budget

    return bench_gpu.Bench(folder, folder / "out.jsonl", Budget(100, lambda: 0.0))


def test_what_a_stage_started_ends_with_it_though_it_leads_its_own_session(tmp_path: Path) -> None:
    """As the workbench does under its live pane, which would train on beside the next stage."""
    import bench_gpu

    start = (
        "import subprocess, time; "
        "print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {bench_gpu.MARK: "of this test"}
    child = subprocess.Popen(
        [sys.executable, "-c", start], stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    assert child.stdout is not None
    started = psutil.Process(int(child.stdout.readline()))
    bench_gpu._end(child, "of this test")
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL
    assert not started.is_running() or started.status() == psutil.STATUS_ZOMBIE


def test_a_model_that_cannot_be_made_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu.cases import stages

    bench, jobs = bench_in(tmp_path), []

    def apart(job: dict[str, Any], *_unused: Any) -> dict[str, Any]:
        jobs.append(job["who"])
        return {"problem": "no space left"}

    monkeypatch.setattr(bench, "_apart", apart)
    for stage in stages(tiny=True)[:3]:
        bench.measure(stage)
    assert jobs == ["make"]
    assert len(bench.skipped) == 3 and all("no space left" in line for line in bench.skipped)


def test_launches_are_counted_when_all_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu.cases import BARE, OURS, stages

    bench, jobs = bench_in(tmp_path), []

    def apart(job: dict[str, Any], *_unused: Any) -> dict[str, Any]:
        jobs.append(job["who"])
        return {"counted_launches": 7} if job["who"] == "count" else {"tokens_a_second": 1.0}

    monkeypatch.setattr(bench, "_apart", apart)
    wanted = [stage for stage in stages(tiny=True) if stage.who in (OURS, BARE)]
    for stage in wanted:
        bench.measure(stage)
    bench.count(wanted)
    assert jobs == ["make", OURS, BARE, OURS, BARE, "count", "count"]
    counts = [one.get("counted_launches") for one in bench.results if one["who"] == OURS]
    assert counts == [7, 7]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6


def test_an_interrupted_call_ends_with_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import bench_gpu

    calls = []

    def apart(_self: Any, job: dict[str, Any], *_unused: Any) -> dict[str, Any]:
        calls.append(job["who"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"tokens_a_second": 1234.0, "versions": {}}

    monkeypatch.setattr(bench_gpu.Bench, "_apart", apart)
    monkeypatch.setattr(bench_gpu, "absent", lambda who, unsloth: "")
    out = str(tmp_path / "out.jsonl")
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--tiny", "--folder", str(tmp_path), "--out", out])
    assert bench_gpu.main() == 130
    assert "1,234" in capsys.readouterr().out.partition("Interrupted")[2]


def test_results_that_cannot_be_written_are_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import bench_gpu

    out = str(tmp_path / "none" / "out.jsonl")
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--tiny", "--folder", str(tmp_path), "--out", out])
    assert bench_gpu.main() == 2
    assert "out.jsonl" in capsys.readouterr().err
