"""Prompts that a run has held out: what one may say to its model first."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.inference.origin import Origin
from tui_tuner.runs.events import Sample
from tui_tuner.runs.wire import decode

_MOST = 20
_BYTES = 1 << 22  # of a journal: its first samples stand at its beginning


def held_out_prompts(origin: Origin) -> list[str]:
    """Those of its journal; none for what is no run."""
    if origin.kind != "run":
        return []
    found: dict[int, str] = {}
    try:
        with open(Path(origin.path) / "events.jsonl", "rb") as file:
            for line in file.read(_BYTES).split(b"\n"):
                event = decode(line) if b'"sample"' in line else None
                if event is not None and isinstance(event.body, Sample) and event.body.prompt.strip():
                    found.setdefault(event.body.index, event.body.prompt)
                if len(found) >= _MOST:
                    break
    except OSError:
        return []
    return list(found.values())
