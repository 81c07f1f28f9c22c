"""Progress on stderr: a bar on a terminal, else one plain line every 30 seconds."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_EVERY_S = 30.0


class Reporter:
    """`talk` writes a line; `tick` moves the bar of the work in hand."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, rate="", visible=False)
        self._what = ""
        self._done_before = self._bytes_before = 0
        self._started = self._last_line = monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def talk(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def tick(self, done: int, total: int, what: str, n_bytes: int = 0) -> None:
        """`done` of `total` steps of `what`; a new `what` starts a new count of the rate.

        n_bytes  read for these steps, where a rate of bytes says something
        """
        now = monotonic()
        if what != self._what:
            self._what, self._started = what, now
            self._done_before, self._bytes_before = done, n_bytes
        elapsed = now - self._started
        rate = (done - self._done_before) / elapsed if elapsed > 0 else 0.0
        shown = f"{rate:.1f}/s"
        if n_bytes and elapsed > 0:
            shown += f", {(n_bytes - self._bytes_before) / elapsed / 1e6:.1f} MB/s"
        if self._console.is_terminal:
            self._bar.update(
                self._task,
                completed=done,
                total=total,
                description=what,
                rate=shown,
                visible=done < total,
            )
        elif now - self._last_line >= _PLAIN_EVERY_S:
            self._last_line = now
            left = f"{(total - done) / rate:.0f} s left" if rate > 0 else "time left unknown"
            print(f"{what}: {done} of {total}, {shown}, {left}", file=sys.stderr, flush=True)  # noqa: T201
