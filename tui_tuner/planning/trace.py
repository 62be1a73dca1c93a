"""Tier 2: check the ledger against the installed libraries' own code, traced in a warm process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tui_tuner.errors import RunError
from tui_tuner.planning.memory.ledger import FIRST, FORWARD, LAST, LOSS, STEP, ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.static import rounded, state_bytes, step_temporary
from tui_tuner.text import one_line

AGREE = 0.01  # the ledger is confirmed within this
GIB = 2**30
_PHASES = {"forward": FORWARD, "loss": LOSS, "last": LAST, "first": FIRST, "step": STEP}


@dataclass(frozen=True)
class Check:
    """Peak bytes of a step as computed and as traced, and both for each phase by its name in the ledger."""

    computed: float
    traced: float
    phases: dict[str, tuple[float, float]]

    @property
    def difference(self) -> float:
        """Traced peak against the computed one, as a share."""
        return self.traced / self.computed - 1

    @property
    def confirmed(self) -> bool:
        return abs(self.difference) <= AGREE

    def sentence(self) -> str:
        """For a screen."""
        computed, traced = self.computed / GIB, self.traced / GIB
        if self.confirmed:
            return (
                f"Confirmed by a trace of the installed libraries: {traced:.2f} GiB allocated "
                f"({self.difference:+.1%})."
            )
        phase = max(self.phases, key=lambda name: self.phases[name][1])
        return (
            f"A trace of the installed libraries says {traced:.2f} GiB allocated, not {computed:.2f} "
            f"({self.difference:+.1%}); peak: {phase}."
        )

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {
            "difference": self.difference,
            "confirmed": self.confirmed,
            "computed_gib": self.computed / GIB,
            "traced_gib": self.traced / GIB,
            "phases": {
                name: {"computed_gib": computed / GIB, "traced_gib": traced / GIB}
                for name, (computed, traced) in self.phases.items()
            },
        }


class Tracer:
    """The tracing process. Starts with the first question, and is reused; close it, or use `with`.

    It ends by itself when this process does, however that ends: its standard input closes.

    Args:
        seconds: After so long without an answer, a trace is given up.
    """

    def __init__(self, seconds: float = 120.0) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):  # its own session: what it started ends with it
                os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
            process.communicate()

    def check(self, setup: Setup) -> Check:
        """Trace two and three layers and extend the line to all of them.

        Raises:
            RunError: the settings cannot be traced (see `untraceable`), or it failed.
        """
        refusal = untraceable(setup)
        if refusal:
            raise RunError(f"cannot be traced: {refusal}.", where="memory")
        trained = setup.layers or setup.facts.layers
        counts = [trained] if trained <= 3 else [2, 3]
        traces = self._ask({**request_for(setup), "layers": counts})
        few, more = traces[str(counts[0])], traces[str(counts[-1])]
        static = _static(setup, more)
        sizes = {
            name: static + _extended(few["peaks"], more["peaks"], name, trained - counts[0])
            for name in more["peaks"]
        }
        sizes["step"] = static + _step(setup, more)
        computed = {phase.name: phase.total for phase in ledger(setup).phases}
        phases = {
            title: (computed[title], sizes[name])
            for name, title in _PHASES.items()
            if name in sizes and title in computed
        }
        return Check(max(computed.values()), max(sizes.values()), phases)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = self._line(process)
        except (OSError, ValueError):
            line = ""
        try:
            reply = json.loads(line)
        except ValueError:
            raise self._gave_up(process) from None
        if "error" in reply:
            raise RunError(f"the trace failed: {one_line(reply['error'], 200)}.", where="memory")
        return dict(reply["traces"])

    def _gave_up(self, process: subprocess.Popen[str]) -> RunError:
        """Why there is no answer. The process is ended; the next question starts another."""
        try:
            code: int | None = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        hint = "The computed figure stands unchecked; `tui-tuner doctor` says whether the libraries load."
        if code is None:
            problem = f"the trace took longer than {self.seconds:.0f} s, and was ended."
        else:
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            problem = f"the trace's process ended {how}, without an answer."
        return RunError(problem, where="memory", hint=hint)

    def _line(self, process: subprocess.Popen[str]) -> str:
        """The answer, or nothing after `seconds`."""
        import select

        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], self.seconds)
        return process.stdout.readline() if ready else ""

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tui_tuner.training.tracing.step"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        return self._process


def _extended(few: dict[str, float], more: dict[str, float], name: str, further: int) -> float:
    """A phase's peak with so many layers more than in `few`, by the difference that one makes."""
    start = few.get(name, 0.0)
    return start + further * (more.get(name, 0.0) - start)


def _static(setup: Setup, trace: dict[str, Any]) -> float:
    """Bytes between two steps: weights as traced, and what follows from the trained tensors."""
    weights, trained = trace["weights"], setup.layers or setup.facts.layers
    size = weights["rest"] + trained * weights["trained"] + (setup.facts.layers - trained) * weights["frozen"]
    for count, width, copies in _trained(setup, trace):
        size += copies * state_bytes(setup.optimizer, count, width)
    return size + 4 * rounded(8.0 * setup.tokens) + setup.workspace


def _trained(setup: Setup, trace: dict[str, Any]) -> list[tuple[int, int, int]]:
    """(elements, width, copies) of every trained tensor."""
    rest, layer = trace["tensors"]["rest"], trace["tensors"]["layer"]
    copies = setup.layers or setup.facts.layers
    return [(*tensor, 1) for tensor in rest] + [(*tensor, copies) for tensor in layer]


def _step(setup: Setup, trace: dict[str, Any]) -> float:
    """Bytes beyond the static ones while the optimizer steps."""
    gradients = sum(count * width * copies for count, width, copies in _trained(setup, trace))
    return step_temporary(setup) + gradients


def untraceable(setup: Setup) -> str:
    """Why a trace cannot answer for these settings; empty if it can."""
    facts = setup.facts
    if setup.stack.foreign or setup.stack.program != "transformers":
        return "other library versions than the installed ones were asked for"
    if not facts.raw:
        return "the model has no config.json"
    if facts.encoder:
        return "only decoders are traced"
    if setup.train_embeddings:
        return "embeddings that are trained beside an adapter are not traced"
    if setup.padded and setup.attention == "flash":
        return "FlashAttention 2 cuts padding out of each batch, which needs the batch"
    if facts.family.softcap and setup.attention != "eager":
        return f"{facts.model_type} runs with eager attention only"
    if setup.variant not in ("", "dora") or setup.virtual_tokens:
        return "only LoRA, DoRA, full fine-tuning and top layers are traced"
    if facts.dense_layers:
        return "its layers are not alike"
    return ""


def request_for(setup: Setup) -> dict[str, Any]:
    """What the tracing process needs to know."""
    tokens = setup.tokens
    method: dict[str, Any] = {"kind": setup.method}
    if setup.method == "lora":
        method = {
            "kind": setup.variant or "lora",
            "rank": setup.rank,
            "dropout": setup.dropout,
            "targets": "all-linear" if "all-linear" in setup.targets else sorted(setup.targets),
            "train_embeddings": setup.train_embeddings,
        }
    return {
        "config": setup.facts.raw,
        "method": method,
        "dtype": {2: "bfloat16", 4: "float32"}[setup.weight],
        "quantization": setup.quantization,
        "double_quant": setup.double_quant,
        "rows": [setup.length] * setup.batch,
        "supervised": max(1, round(tokens * setup.supervised)),
        "packing": not setup.padded,
        "chunk": setup.chunk,
        "compact": setup.logits == "supervised",
        "eager": setup.attention == "eager",
        "autocast": setup.autocast,
        "checkpointing": setup.checkpointing,
        "accumulate": setup.accumulate,
        "frozen": 0 < setup.layers < setup.facts.layers,
    }
