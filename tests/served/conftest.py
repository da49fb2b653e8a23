"""A real vLLM server with `smol`, as `scripts/vllm_cpu.sh` starts it; one for all tests that do not kill theirs."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from arttune.serving import start_line

ROOT = Path(__file__).parent.parent.parent


class Vllm:
    """A server process that can be killed and started again on the same port."""

    def __init__(self, log: Path, dtype: str, model: str = "smol") -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.url, self.log, self.dtype, self.model = f"http://127.0.0.1:{self.port}", log, dtype, model
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Vllm:
        # With the very arguments that serve-command prints; the script runs them in vLLM's own environment.
        _, serve, *arguments = shlex.split(start_line(self.model, self.port))
        command = [ROOT / "scripts" / "vllm_cpu.sh", serve, *arguments, "--dtype", self.dtype]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Until it answers."""
        limit = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5)
                return
            except (urllib.error.URLError, OSError):
                assert self.process is not None
                assert self.process.poll() is None, self.log.read_text()[-3000:]
                assert time.monotonic() < limit, self.log.read_text()[-3000:]
                time.sleep(0.5)

    def kill(self) -> None:
        """At once, with all its processes."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """In float32."""
    server = Vllm(tmp_path_factory.mktemp("vllm") / "exact.log", "float32")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Vllm]]:
    """Two in bfloat16, not started yet; a test may kill them."""
    made = [Vllm(tmp_path / f"server{i}.log", "bfloat16") for i in range(2)]
    yield made
    for server in made:
        server.kill()
