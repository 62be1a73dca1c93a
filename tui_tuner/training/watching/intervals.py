"""Find the steps at which something that is repeated every so many steps is due."""

from __future__ import annotations


def find_interval(every: int | float | str | None, total: int) -> int | None:
    """Return the steps between two events; below 1, `every` is a share of the run, and None means never."""
    if every is None or isinstance(every, str):
        return None
    if isinstance(every, float) and every < 1:
        return max(1, round(every * total))
    return max(1, int(every))


def is_interval_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def count_events_ahead(step: int, total: int, every: int | None) -> int:
    """Count the events after this step, including the one that every run has at its end."""
    if step >= total:
        return 0
    return 1 if every is None else total // every - step // every + (total % every > 0)
