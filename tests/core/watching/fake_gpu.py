"""A device that works through a queue while the host goes on, on a clock of its own."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, field


@dataclass
class FakeGpu:
    """Kernels with durations; launching one takes the host `launch` seconds.

    Args:
        behind: Seconds that the device's clock is behind the host's (their zeros have nothing in common).
        room: Kernels that fit into the queue; the host waits for room.
    """

    launch: float = 10e-6
    behind: float = 1234.5
    room: int = 1024
    now: float = 100.0  # the host's clock
    free_at: float = 0.0  # when the device has done all that is in its queue
    spans: list[tuple[float, float]] = field(default_factory=list)  # in which kernels ran
    ends: list[float] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)  # in which the host waited for rows

    def clock(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        """The host does something else."""
        self.now += seconds

    def rows(self, seconds: float) -> None:
        """The host waits for rows."""
        self.waits.append((self.now, self.now + seconds))
        self.now += seconds

    def kernel(self, seconds: float) -> None:
        """Launch a kernel that runs so long."""
        if len(self.ends) >= self.room:
            self.now = max(self.now, self.ends[-self.room])
        self.now += self.launch
        start = max(self.now, self.free_at)
        self.free_at = start + seconds
        self.spans.append((start, self.free_at))
        self.ends.append(self.free_at)

    def wait(self) -> None:
        """The host reads a number."""
        self.now = max(self.now, self.free_at)

    def event(self) -> FakeEvent:
        return FakeEvent(self)

    def busy(self, since: float, until: float) -> float:
        """Share of a time in which a kernel ran."""
        return self.ran(since, until) / (until - since)

    def ran(self, since: float, until: float) -> float:
        """Seconds in which a kernel ran."""
        found = 0.0
        for start, end in self.spans[bisect(self.ends, since) :]:
            if start >= until:
                break
            found += min(end, until) - max(start, since)
        return found


@dataclass
class FakeEvent:
    """As `torch.cuda.Event(enable_timing=True)`: milliseconds of the device's clock, once it is reached."""

    gpu: FakeGpu
    at: float | None = None

    def record(self) -> None:
        self.gpu.now += 2e-6
        self.at = max(self.gpu.now, self.gpu.free_at) - self.gpu.behind

    def elapsed_time(self, end_event: FakeEvent) -> float:
        for event in (self, end_event):
            if event.at is None or event.at + self.gpu.behind > self.gpu.now + 1e-9:
                raise RuntimeError("device not ready")
        assert self.at is not None and end_event.at is not None
        return (end_event.at - self.at) * 1000


@dataclass
class FakeDriver:
    """What NVML says: the share of the last sixth of a second, asked every fifth of one, in per cent."""

    gpu: FakeGpu
    stopped: bool = False
    alone: bool = True

    def mean(self, since: float, until: float) -> float | None:
        moments, found = since + 1.0, []
        while moments <= until:
            found.append(round(self.gpu.busy(moments - 1 / 6, moments), 2))
            moments += 0.2
        return sum(found) / len(found) if found and self.alone else None

    def stop(self) -> None:
        self.stopped = True
