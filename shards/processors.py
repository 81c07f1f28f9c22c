"""How many processors this process may use: what the scheduler and the container allow."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def available_processors() -> int:
    """Processors in this process's affinity, capped by its cgroup's quota, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_LIMIT.read_text().split()
    except (OSError, ValueError):  # no cgroup v2
        return allowed
    if quota == "max":
        return allowed
    return max(1, min(allowed, int(quota) // int(period)))
