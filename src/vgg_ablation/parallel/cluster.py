"""Units on the nodes of a Ray cluster: one task per unit, each with one core or GPU."""

import hashlib
import logging
import os
import signal
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray  # pyright: ignore[reportMissingImports] - installed by make cluster
from ray.exceptions import RayError, RayTaskError  # pyright: ignore[reportMissingImports]
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore[reportMissingImports]

from vgg_ablation.errors import StageError
from vgg_ablation.files import write_text
from vgg_ablation.images.index import CHECKSUMS_FILE, LARGE_FOLDER
from vgg_ablation.parallel.nodes import STORAGE, Hub, Site, code_in_use, run_on_node
from vgg_ablation.parallel.processes import Event
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.parallel.worker import Message
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.state import repository_root
from vgg_ablation.text import printable

_PATIENCE = 10.0  # seconds for an answer


class Cluster:
    """Runs units on the nodes of a Ray cluster.

    Args:
        work: what the units are units of.
        address: `auto`, or HOST:PORT of the cluster's head.

    Raises:
        StageError: there is no such cluster, or it cannot run units.
    """

    def __init__(self, work: Work, address: str) -> None:
        self._work = work
        self._running: dict[ray.ObjectRef, tuple[int, Unit]] = {}
        self._started = 0
        self._connect(address)
        try:
            self._prepare(address)
        except BaseException:
            ray.shutdown()
            raise

    def _connect(self, address: str) -> None:
        before = signal.getsignal(signal.SIGTERM)
        try:
            _require_listener(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:  # one of Ray's is a ConnectionError
            raise StageError(f"--on {address}: no Ray cluster ({_reason(error)}); see docs/clusters.md") from None
        finally:
            signal.signal(signal.SIGTERM, before)  # Ray's own would end this process without a word

    def _prepare(self, address: str) -> None:
        gpus = "GPU" in ray.cluster_resources()
        self._resource, self._amount = ("GPU", 1) if gpus else ("CPU", self._work.study.compute.threads)
        if not self.slots:
            raise StageError(f"--on {address}: no node has {self._amount} {self._resource}")
        self._site = _mark_site(self._work)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        hub: Any = ray.remote(Hub).options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
        self._hub: Any = hub.remote(self._site, code_in_use())
        try:
            ray.get(self._hub.agree.remote({}))
        except RayError as error:
            raise StageError(f"--on {address}: {_reason(error)}; start Ray in this project's environment") from None
        self._mail = self._hub.take.remote()
        self._task: Any = ray.remote(
            num_cpus=0 if gpus else self._amount,
            num_gpus=1 if gpus else 0,
            max_calls=1 if gpus else 0,  # a process cannot change to another GPU
            max_retries=0,  # the schedule repeats lost units
        )(run_on_node)

    @property
    def slots(self) -> int:
        """Number of units that run at the same time on the nodes that are alive now."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(int(resources.get(self._resource, 0) // self._amount) for resources in nodes)

    def start(self, unit: Unit) -> bool:
        """Start a unit; return whether there was a free slot."""
        if len(self._running) >= self.slots:
            return False
        self._started += 1
        task = self._task.remote(unit, self._work, self._started, self._hub, self._site)
        self._running[task] = self._started, unit
        return True

    def wait(self, seconds: float) -> Iterator[Event]:
        """Wait until something happens, at most this many seconds, and yield what did."""
        for ready in ray.wait([self._mail, *self._running], timeout=seconds)[0]:
            if ready == self._mail:
                self._mail = self._hub.take.remote()
                units = dict(self._running.values())
                # A message of a task that has ended, or was lost, comes too late.
                yield from (Event(units[of], *message) for of, message in ray.get(ready) if of in units)
                continue
            _, unit = self._running.pop(ready)
            try:
                yield Event(unit, *ray.get(ready))
            except RayTaskError as error:
                yield Event(unit, "failed", _reason(error))
            except RayError as error:
                yield Event(unit, "lost", f"its process or node was lost ({type(error).__name__})")

    def release_idle(self) -> None:
        """Do nothing: Ray gives back what no task uses."""

    def close(self) -> None:
        """End all tasks of this driver, and leave the cluster."""
        for task in self._running:
            ray.cancel(task, force=True)
        self._running.clear()
        self._hub.tell.remote(0, Message("say", ""))  # of no task: it ends the last call, which Ray would report
        ray.wait([self._mail], timeout=_PATIENCE)
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT: Ray would try for minutes, and then end this process."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), _PATIENCE).close()


def _mark_site(work: Work) -> Site:
    folders = (paths.PROCESSED, paths.PROCESSED / LARGE_FOLDER)
    images = hashlib.sha256(b"".join((folder / CHECKSUMS_FILE).read_bytes() for folder in folders)).hexdigest()
    token, round_size, storage = uuid.uuid4().hex, work.study.tune.round_size, os.environ.get(STORAGE)
    site = Site(Path.cwd(), repository_root().absolute(), token, images, round_size, storage)
    write_text(site.mark, token)
    return site


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error  # what a task raised
    return printable((str(cause).strip() or type(cause).__name__).splitlines()[0])
