"""Loader: iterate, length, state, close."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray

from cxr_engine.engine.augment import draw, sample_seeds
from cxr_engine.engine.batch import Batch
from cxr_engine.engine.config import LoaderConfig
from cxr_engine.engine.fetch import BadSample, Fetched, Fetcher, Request
from cxr_engine.engine.meters import Meter
from cxr_engine.engine.order import make_plan, share
from cxr_engine.engine.pipeline import DecodePipeline, Feed
from cxr_engine.engine.samples import read_samples
from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.processors import available_processors

_STATE_VERSION = 1


class Loader:
    """A stream of batches from a sharded data set, exact to resume and the same on any number of ranks.

        plan ──order──▶ rows ──fetch threads──▶ checked bytes ─┐
                          └──augment──▶ parameters ────────────┴─▶ DALI graph ──▶ Batch

    Iterating runs from where the stream stands to the end of the epoch; the next iteration runs the
    next epoch. One that was left early goes on after the last batch handed out. `device=None` takes the
    GPU where there is one; rank and world size come from torch.distributed, else 0 of 1.

    Raises DataError or IntegrityError (a ValueError, a RuntimeError) for a data set that is absent,
    unfinished or damaged, and UsageError (a ValueError) for a configuration it cannot serve.
    """

    def __init__(
        self,
        source: str | Path,
        config: LoaderConfig,
        device: str | torch.device | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.config = config
        self.device = _device(device)
        self._rank, self._world_size = _rank_of(rank, world_size)
        self._samples = read_samples(source, config.split, config.image_size, config.folds)
        self.class_names = self._samples.class_names
        self._plan = make_plan(
            self._samples.labels,
            self.class_names,
            identity=f"{self._samples.manifest_hash}/{config.split}/{config.folds!r}",
            sampling=config.sampling,
            seed=config.seed,
            shuffled=config.shuffled,
            drop_last=config.drop_last,
            global_batch_size=config.global_batch_size,
        )
        self.meter = Meter()
        self._epoch = 0
        self._cursor = 0  # batches of this epoch handed out
        threads = config.threads or available_processors()
        self._fetcher = Fetcher(
            self._samples,
            on_bad=config.on_bad,
            bad_budget=config.bad_budget,
            threads=max(2, threads // 4),  # they wait for the disk, not for a processor
            read_ahead=config.read_ahead,
            seed=config.seed,
        )
        mean, std = config.normalisation
        self._incoming: Iterator[Fetched] = iter(())
        self._in_flight: deque[tuple[Fetched, tuple[str, ...]]] = deque()  # and its keys
        self._failure: Exception | None = None
        self._pipeline = DecodePipeline(
            self._next_feed,
            self.device,
            max_batch_size=-(-config.global_batch_size // self._world_size),
            threads=threads,
            border=config.augmentation.border,
            mean=mean,
            std=std,
            dtype=config.dtype,
        )

    def __len__(self) -> int:
        """Global steps of an epoch, the same on every rank."""
        return self._plan.steps

    @property
    def class_hash(self) -> str:
        return self._samples.class_hash

    @property
    def bad_samples(self) -> list[BadSample]:
        """Samples that failed the checks on this rank so far, each once."""
        return self._fetcher.bad

    def __iter__(self) -> Iterator[Batch]:
        self._drain()
        self._incoming = self._fetcher.batches(self._requests(self._epoch, self._cursor))
        while True:
            start = perf_counter()
            images = self._run()
            if images is None:
                break
            fetched, keys = self._in_flight.popleft()
            batch = self._batch(fetched, keys, images)
            self.meter.add(samples=len(batch), wait_s=perf_counter() - start)
            self._cursor = fetched.request.step + 1
            yield batch
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self._epoch += 1
        self._cursor = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`; where the stream stands in that epoch already, it stays there."""
        if epoch != self._epoch:
            self._epoch, self._cursor = epoch, 0

    def state_dict(self) -> dict[str, int | str]:
        """Where the stream stands after the last batch handed out; JSON, equal on all ranks."""
        return {
            "version": _STATE_VERSION,
            "plan": self._plan.hash,
            "epoch": self._epoch,
            "cursor": self._cursor,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; a state of another plan is a UsageError."""
        if state.get("version") != _STATE_VERSION or state.get("plan") != self._plan.hash:
            raise UsageError(
                "the loader's state belongs to another stream",
                f"plan {state.get('plan')} saved, {self._plan.hash} here",
                "use the data set, split, seed, sampling and global batch size it was saved with",
            )
        self._epoch, self._cursor = int(state["epoch"]), int(state["cursor"])

    def close(self) -> None:
        """Stop the threads and free the pipeline; a closed loader cannot be used again."""
        self._incoming = iter(())
        self._fetcher.close()
        self._pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _requests(self, epoch: int, cursor: int) -> Iterator[Request]:
        order = self._plan.order(epoch)
        for step in range(cursor, self._plan.steps):
            position, valid = share(step, self._plan, self._rank, self._world_size)
            entries = order[position]
            yield Request(
                step=step,
                epoch=epoch,
                rows=self._plan.rows[entries],
                position=position,
                repeats=self._plan.repeats[entries],
                valid=valid,
            )

    def _next_feed(self) -> Feed | None:
        """The next batch for the pipeline. A failure waits until all batches before it are out."""
        try:
            fetched = next(self._incoming, None)
        except RuntimeError as error:
            self._failure = error
            return None
        if fetched is None:
            return None
        samples, config = self._samples, self.config
        keys = tuple(samples.keys.gather(fetched.rows))
        seeds = sample_seeds(config.seed, fetched.request.epoch, keys, fetched.request.repeats)
        parameters = draw(
            config.augmentation, seeds, samples.plane_size[fetched.rows], config.image_size
        )
        self._in_flight.append((fetched, keys))
        return fetched.data, parameters, config.image_size

    def _run(self) -> torch.Tensor | None:
        try:
            return self._pipeline.run()
        except RuntimeError as error:
            keys = [key for _, batch_keys in self._in_flight for key in batch_keys]
            error.add_note(
                f"The batch that failed has one of these keys: {', '.join(keys)}. Their bytes have the "
                "hash of the manifest, so the shard was written with a picture that cannot be decoded."
            )
            raise

    def _drain(self) -> None:
        """Throw away what was started and not handed out."""
        self._incoming = iter(())
        while self._pipeline.run() is not None:
            pass
        self._in_flight.clear()
        self._failure = None

    def _batch(self, fetched: Fetched, keys: tuple[str, ...], images: torch.Tensor) -> Batch:
        samples, rows = self._samples, fetched.rows
        labels = samples.labels[rows]
        return Batch(
            images=images,
            targets=self._to_device((labels == 1).astype(np.float32)),
            known=self._to_device(labels >= 0),
            valid=self._to_device(fetched.valid),
            keys=keys,
            study=self._to_device(samples.study[rows]),
            view=self._to_device(samples.view[rows]),
        )

    def _to_device(self, array: NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor


def _device(device: str | torch.device | None) -> torch.device:
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", torch.cuda.current_device())
    return chosen


def _rank_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    started = torch.distributed.is_available() and torch.distributed.is_initialized()
    if rank is None:
        rank = torch.distributed.get_rank() if started else 0
    if world_size is None:
        world_size = torch.distributed.get_world_size() if started else 1
    if not 0 <= rank < world_size:
        raise UsageError(
            f"rank {rank} of {world_size} does not exist", "Loader", "use 0 ≤ rank < W"
        )
    return rank, world_size
