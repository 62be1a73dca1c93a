"""When something that happens every so many steps happens."""

from __future__ import annotations


def interval(every: int | float | str | None, total: int) -> int | None:
    """Steps between two events; a share below 1 is one of the whole run, None is never."""
    if every is None or isinstance(every, str):
        return None
    if isinstance(every, float) and every < 1:
        return max(1, round(every * total))
    return max(1, int(every))


def due(step: int, every: int | None) -> bool:
    """Whether something that happens every so many steps happens at this one."""
    return every is not None and step % every == 0


def ahead(step: int, total: int, every: int | None) -> int:
    """How often it will happen after this step, with the end of the run, where it happens in any case."""
    if step >= total:
        return 0
    return 1 if every is None else total // every - step // every + (total % every > 0)
