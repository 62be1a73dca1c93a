"""Tier 2: check the ledger against the installed libraries' own code, traced in a warm process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tui_tuner.errors import RunError
from tui_tuner.planning.memory.ledger import STEP, ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.text import one_line

AGREE = 0.01  # the ledger is confirmed within this


@dataclass(frozen=True)
class Check:
    """Bytes beyond the weights at the peak of forward and backward pass: as computed, and as traced."""

    computed: float
    traced: float
    static: float

    @property
    def difference(self) -> float:
        """Traced peak against the computed one, both with what is static, as a share."""
        return (self.traced + self.static) / (self.computed + self.static) - 1

    @property
    def confirmed(self) -> bool:
        return abs(self.difference) <= AGREE

    def sentence(self) -> str:
        """For a screen."""
        if self.confirmed:
            return f"Confirmed by a trace of the installed libraries ({self.difference:+.1%})."
        corrected = (self.traced + self.static) / 2**30
        return f"A trace of the installed libraries says {corrected:.2f} GiB ({self.difference:+.1%})."


class Tracer:
    """The tracing process. Starts with the first question, and is reused; close it, or use `with`."""

    def __init__(self, seconds: float = 120.0) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def check(self, setup: Setup) -> Check:
        """Trace two and three layers and extend the line to all of them.

        Raises:
            RunError: the settings cannot be traced (quantised weights, freezing, an encoder), or it failed.
        """
        refusal = untraceable(setup)
        if refusal:
            raise RunError(f"cannot be traced: {refusal}.", where="memory")
        peaks = self._ask(_request(setup))
        layers = setup.facts.layers
        traced = 0.0
        for phase in ("forward", "backward", "last", "first"):
            two, three = peaks["2"].get(phase, 0.0), peaks["3"].get(phase, 0.0)
            traced = max(traced, two + (layers - 2) * (three - two))
        found = ledger(setup)
        static = sum(found.static.values())
        computed = max(phase.total for phase in found.phases if phase.name != STEP) - static
        return Check(computed, traced, static)

    def _ask(self, request: dict[str, Any]) -> dict[str, dict[str, float]]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = self._line(process)
        except (BrokenPipeError, ValueError):
            line = ""
        try:
            reply = json.loads(line)
        except ValueError:
            self.close()
            raise RunError("the trace ended without an answer.", where="memory") from None
        if "error" in reply:
            raise RunError(f"the trace failed: {one_line(reply['error'], 200)}.", where="memory")
        return dict(reply["peaks"])

    def _line(self, process: subprocess.Popen[str]) -> str:
        """The answer, or nothing after `seconds`."""
        import select

        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], self.seconds)
        return process.stdout.readline() if ready else ""

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tui_tuner.training.tracing"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        return self._process


def untraceable(setup: Setup) -> str:
    """Why a trace cannot answer for these settings; empty if it can."""
    if setup.stack.foreign:
        return "other library versions than the installed ones were asked for"
    if setup.quantization != "none":
        return "quantised weights need a GPU"
    if setup.facts.encoder or not setup.facts.raw:
        return "only decoders with a config are traced"
    if setup.method == "full" and setup.facts.tied:
        return "fake tensors do not add the gradients of tied weights in place, as real ones do"
    if setup.autocast and (setup.facts.family.norm == "layer" or setup.facts.activation == "gelu_new"):
        return "autocast treats some of its operations differently on a CPU than on a GPU"
    if setup.facts.family.softcap and setup.attention != "eager":
        return f"{setup.facts.model_type} runs with eager attention only"
    if setup.method not in ("full", "lora") or setup.variant or setup.layers or setup.train_embeddings:
        return "only LoRA and full fine-tuning of all layers are traced"
    return ""


def _request(setup: Setup) -> dict[str, Any]:
    targets: Any = sorted(setup.targets)
    dtypes = {2: "bfloat16", 4: "float32"}
    return {
        "config": setup.facts.raw,
        "method": setup.method,
        "rank": setup.rank,
        "targets": "all-linear" if "all-linear" in setup.targets else targets,
        "dropout": setup.dropout,
        "dtype": dtypes[setup.weight],
        "batch": setup.batch,
        "length": setup.length,
        "autocast": setup.autocast,
        "checkpointing": setup.checkpointing,
        "attention": "eager" if setup.attention == "eager" else "sdpa",
        "packed": setup.attention != "masked",
        "layers": [2, 3],
    }
