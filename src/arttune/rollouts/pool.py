"""Several servers as one: prompts are spread over them, and what one fails to answer another does.

A server that fails rests for a while, longer each time, and is then tried again, so one that restarts takes part
again. Only when none has answered anything for `patience` seconds is it given up, or when a request is refused that
would be refused again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from arttune.errors import Failed
from arttune.rollouts.server import Asked, Refused, Reply, Sampling, Server, Unusable

LONGEST_REST = 30.0


class NoServer(Failed):
    """No server answers any more, or one says that it never will."""


@dataclass
class _Seat:
    """What is known of one server. Times are of `time.monotonic`."""

    server: Server
    busy: int = 0
    failures: int = 0
    resting_until: float = 0.0
    last_failure: str = ""


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
        self.last_answer = time.monotonic()
        self.stopped = False

    def sample(self, asked: list[Asked], sampling: Sampling) -> list[Answer]:
        """The answers in the order of `asked`. Raises `NoServer`."""
        self.last_answer = time.monotonic()
        jobs = [self._start(one, sampling) for one in asked]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            with self.free:  # no further request is to be sent
                self.stopped = True
                self.free.notify_all()
            raise

    def _start(self, asked: Asked, sampling: Sampling) -> Future[Answer]:
        """`_answer` in a thread of its own: a daemon, or a request under way would keep an interrupted program."""
        job: Future[Answer] = Future()

        def work() -> None:
            try:
                job.set_result(self._answer(asked, sampling))
            except BaseException as error:
                job.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return job

    def _answer(self, asked: Asked, sampling: Sampling) -> Answer:
        failures = 0
        while True:
            seat, failure = self._take(), "interrupted"
            try:
                replies = seat.server.sample(asked, sampling)
                failure = ""
                return Answer(replies, seat.server.url, failures)
            except Refused as error:
                failure = ""  # the server is well
                raise NoServer(f"{error} (the request would fail again)") from error
            except Unusable as error:
                failures, failure = failures + 1, str(error)
            finally:
                self._give_back(seat, failure)

    def _take(self) -> _Seat:
        """The least busy server that is not at rest; waits for one."""
        with self.free:
            while True:
                if self.stopped:
                    raise NoServer("stopped")
                now = time.monotonic()
                ready = [s for s in self.seats if s.resting_until <= now and s.busy < self.concurrency]
                if ready:
                    seat = min(ready, key=lambda s: s.busy)
                    seat.busy += 1
                    return seat
                working = any(s.busy for s in self.seats)
                if not working and now - self.last_answer > self.patience:
                    failures = "; ".join(s.last_failure or s.server.url for s in self.seats)
                    raise NoServer(f"no usable answer for {now - self.last_answer:.0f} s: {failures}")
                rests = [s.resting_until - now for s in self.seats if s.resting_until > now]
                self.free.wait(min([*rests, 1.0]))

    def _give_back(self, seat: _Seat, failure: str) -> None:
        with self.free:
            seat.busy -= 1
            now = time.monotonic()
            if not failure:
                seat.failures, seat.last_failure, self.last_answer = 0, "", now
                self.free.notify_all()
                return
            seat.last_failure = failure
            if seat.resting_until <= now:  # requests that were under way together fail together: that counts once
                seat.failures += 1
                rest = min(2.0 ** (seat.failures - 1), LONGEST_REST)
                seat.resting_until = now + rest
                self.warn(f"{failure}; trying it again in {rest:.0f} s")
            self.free.notify_all()
