"""How far an interrupted verification came: a small file beside the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from cxr_engine.shards.check import Mode, Problem
from cxr_engine.shards.publish import published

PROGRESS = "verify.progress.json"
_VERSION = 1
_MAX_BYTES = 256 * 2**20  # of a file that may come from elsewhere


@dataclass(slots=True)
class Progress:
    """The shards that are done, with what was wrong with them."""

    folder: Path
    manifest_hash: str
    mode: Mode
    done: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    is_ours: bool = False  # the file, to write over and to remove

    def load(self, shards: Iterable[str]) -> str | None:
        """Take up what an earlier run left; else a note that says why not.

        shards  that the manifest lists
        """
        path = self.folder / PROGRESS
        if not path.exists():
            return "nothing to resume: no earlier run was interrupted"
        try:
            body = _read(path)
            same = (body["version"], body["manifest"]) == (_VERSION, self.manifest_hash)
            if not same or body["mode"] != self.mode:
                whose = f"mode {body['mode']}" if same else "another manifest"
                return f"{path.name} is of {whose}: verifying from the start"
            done = {
                str(name): tuple(Problem(**problem) for problem in problems)
                for name, problems in body["done"].items()
            }
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return f"{path.name} is damaged: verifying from the start"
        self.is_ours = True
        self.done = {name: done[name] for name in shards if name in done}
        return None

    def save(self) -> None:
        """Write the file, whole or not at all."""
        body = {
            "version": _VERSION,
            "manifest": self.manifest_hash,
            "mode": self.mode,
            "done": {name: [asdict(p) for p in found] for name, found in self.done.items()},
        }
        text = json.dumps(body, sort_keys=True)
        document = {"xxh3": xxhash.xxh3_64_hexdigest(text.encode()), "body": text}
        with published(self.folder / PROGRESS) as file:
            file.write(json.dumps(document).encode())
        self.is_ours = True

    def remove(self) -> None:
        """All is verified; the file of a run in another mode stays."""
        if self.is_ours:
            (self.folder / PROGRESS).unlink(missing_ok=True)


def _read(path: Path) -> Any:
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError("too large")
    document = json.loads(path.read_bytes())
    text = document["body"]
    if xxhash.xxh3_64_hexdigest(text.encode()) != document["xxh3"]:
        raise ValueError("the hash differs")
    return json.loads(text)
