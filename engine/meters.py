"""How fast the stream is and how long its consumer waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter


@dataclass(slots=True)
class Meter:
    """Counts since the last reset. `wait_share` near 0 means that the consumer sets the pace."""

    samples: int = 0
    wait_s: float = 0.0  # seconds the consumer waited for batches
    _started: float = field(default_factory=perf_counter)

    def add(self, *, samples: int, wait_s: float) -> None:
        self.samples += samples
        self.wait_s += wait_s

    def reset(self) -> None:
        self.samples, self.wait_s, self._started = 0, 0.0, perf_counter()

    @property
    def samples_per_s(self) -> float:
        return self.samples / max(perf_counter() - self._started, 1e-9)

    @property
    def wait_share(self) -> float:
        return self.wait_s / max(perf_counter() - self._started, 1e-9)
