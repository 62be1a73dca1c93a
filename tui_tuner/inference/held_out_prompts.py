"""Prompts from a run's held-out rows, as suggestions for a first message to its model."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.inference.origin import Origin
from tui_tuner.runs.events import Sample
from tui_tuner.runs.wire import decode_event_line

_MOST = 20
_BYTES = 1 << 22  # of a journal, whose first samples are near its beginning


def read_held_out_prompts(origin: Origin) -> list[str]:
    """Return prompts of the samples in a run's journal; none for other models."""
    if origin.kind != "run":
        return []
    found: dict[int, str] = {}
    try:
        with open(Path(origin.path) / "events.jsonl", "rb") as file:
            for line in file.read(_BYTES).split(b"\n"):
                # Decoding is slow, and hardly any line is a sample
                event = decode_event_line(line) if b'"sample"' in line else None
                if event is not None and isinstance(event.body, Sample) and event.body.prompt.strip():
                    # Each evaluation writes its samples again; one prompt per row is enough
                    found.setdefault(event.body.index, event.body.prompt)
                if len(found) >= _MOST:
                    break
    except OSError:
        return []
    return list(found.values())
