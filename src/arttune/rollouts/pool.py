"""Several servers as one: prompts are spread over them, and what one fails to answer another does.

A server that fails rests for a while, longer each time, and is then tried again, so one that restarts takes part
again. Only when none has answered anything for `patience` seconds is it given up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from arttune.rollouts.server import Asked, Reply, Sampling, Server, Unusable

LONGEST_REST = 30.0


class NoServer(RuntimeError):
    """No server answers any more."""


@dataclass
class _Seat:
    """What is known of one server. Times are of `time.monotonic`."""

    server: Server
    busy: int = 0
    failures: int = 0
    until: float = 0.0  # rests until then


@dataclass(frozen=True)
class Answer:
    """The replies to one prompt, who gave them, and after how many failures."""

    replies: list[Reply]
    url: str
    failures: int


class Pool:
    """`servers`, each with at most `concurrency` requests at a time. `warn` gets a line for every failure."""

    def __init__(
        self,
        servers: list[Server],
        concurrency: int = 8,
        patience: float = 300.0,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.seats = [_Seat(server) for server in servers]
        self.concurrency, self.patience, self.warn = concurrency, patience, warn
        self.free = threading.Condition()
        self.heard = time.monotonic()
        self.stopped = False
        self.threads = ThreadPoolExecutor(concurrency * len(servers), thread_name_prefix="rollout")

    def sample(self, asked: list[Asked], sampling: Sampling) -> list[Answer]:
        """The answers in the order of `asked`. Raises `NoServer`."""
        self.heard = time.monotonic()
        jobs = [self.threads.submit(self._answer, one, sampling) for one in asked]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            for job in jobs:
                job.cancel()
            with self.free:  # those that wait for a server would keep an interrupted program from ending
                self.stopped = True
                self.free.notify_all()
            raise

    def _answer(self, asked: Asked, sampling: Sampling) -> Answer:
        failures = 0
        while True:
            seat = self._take()
            try:
                replies = seat.server.sample(asked, sampling)
            except Unusable as error:
                failures += 1
                self._give_back(seat, str(error))
                continue
            except BaseException:
                self._give_back(seat, "interrupted")
                raise
            self._give_back(seat, None)
            return Answer(replies, seat.server.url, failures)

    def _take(self) -> _Seat:
        """The least busy server that is not at rest; waits for one."""
        with self.free:
            while True:
                if self.stopped:
                    raise NoServer("stopped")
                now = time.monotonic()
                ready = [s for s in self.seats if s.until <= now and s.busy < self.concurrency]
                if ready:
                    seat = min(ready, key=lambda s: s.busy)
                    seat.busy += 1
                    return seat
                working = any(s.busy for s in self.seats)
                if not working and now - self.heard > self.patience:
                    urls = ", ".join(s.server.url for s in self.seats)
                    raise NoServer(f"no answer from {urls} for {now - self.heard:.0f} s")
                rests = [s.until - now for s in self.seats if s.until > now]
                self.free.wait(min([*rests, 1.0]))

    def _give_back(self, seat: _Seat, failure: str | None) -> None:
        with self.free:
            seat.busy -= 1
            now = time.monotonic()
            if failure is None:
                seat.failures, self.heard = 0, now
            elif seat.until <= now:  # requests that were under way together fail together: that counts once
                seat.failures += 1
                rest = min(2.0 ** (seat.failures - 1), LONGEST_REST)
                seat.until = now + rest
                self.warn(f"{failure}; trying it again in {rest:.0f} s")
            self.free.notify_all()
