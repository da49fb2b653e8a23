"""What a server lacks is named, and what cannot be learned from is never taken for a rollout.

The servers here are plain HTTP ones that misbehave on purpose; that a good one is understood is shown with a real vLLM
(`tests/served`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from arttune.errors import BadInput
from arttune.rollouts import Asked, NoServer, Pool, Sampling, Server

TESTS = Path(__file__).parent.parent
PAD = 9
ASKED = Asked([{"role": "user", "content": "why?"}], "data:image/png;base64,AA==", [1, PAD, PAD, 2], PAD, 2, seed=0)
SAMPLING = Sampling(8, forbidden=(PAD,))
LIST = {"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "me"}]}


def completion(**changes: Any) -> dict[str, Any]:
    """A good answer to `ASKED`, but for `changes` of the first choice (or of the whole, for whole__name)."""
    logprobs = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": [], "bytes": None}] * 3}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "aaa"}}
    choice |= {"logprobs": logprobs, "token_ids": [5, 6, 7]}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "prompt_token_ids": ASKED.prompt_ids}
    mine = {name: value for name, value in changes.items() if not name.startswith("whole__")}
    whole |= {"choices": [choice | mine, choice | {"index": 1}]}
    return whole | {name.removeprefix("whole__"): value for name, value in changes.items() if name not in mine}


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start servers that answer every chat request with `make()`: (status, body)."""
    running = []

    def start(make: Callable[[], tuple[int, Any]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(200, LIST)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(*make())

            def answer(self, status, body):
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()


def test_a_good_answer_is_taken(serve):
    replies = Server(serve(lambda: (200, completion())) + "/v1/").check(ASKED, SAMPLING)
    assert [reply.ids for reply in replies] == [[5, 6, 7]] * 2
    assert replies[0].logprobs == [-0.5] * 3


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((400, {"error": {"message": "m is not a multimodal model"}}), "m is not a multimodal model"),
        ((500, "<html>oops</html>"), "Error code: 500"),
        ((200, "<html>a login page</html>"), "no answer of the OpenAI chat API.*login page"),
        ((200, {"choices": "none"}), "prompt_token_ids"),
        ((200, completion(whole__prompt_token_ids=None)), "no prompt_token_ids; vLLM from"),
        ((200, completion(whole__prompt_token_ids=[1, PAD, 2])), "as 1 tokens, but it has 2: it was resized"),
        ((200, completion(whole__prompt_token_ids=[1, PAD, PAD, 3])), "different from token 3 on.*chat template"),
        ((200, completion(token_ids=None)), "no token_ids"),
        ((200, completion(token_ids=[])), "no token_ids"),
        ((200, completion(token_ids=[5])), "3 log-probabilities for a completion of 1 tokens"),
        ((200, completion(logprobs=None)), "no log-probabilities"),
        ((200, completion(whole__choices=[])), "0 completions came back, 2 were asked for"),
        ((200, completion(finish_reason="abort")), "3 tokens ended with 'abort'"),
        ((200, completion(token_ids=list(range(10, 19)))), "9 tokens ended with 'stop'; at most 8"),
        ((200, completion(token_ids=[5, PAD, 7])), "has the vision token 9"),
        (
            (
                200,
                completion(token_ids=[5], logprobs={"content": [{"token": "a", "logprob": 3.0, "top_logprobs": []}]}),
            ),
            "not a number below 0",
        ),
    ],
)
def test_what_a_server_lacks_is_named(serve, answer, complaint):
    with pytest.raises(BadInput, match=f"cannot use http.*{complaint}"):
        Server(serve(lambda: answer)).check(ASKED, SAMPLING)


def test_a_server_that_hangs_is_given_up_in_time(serve):
    def hang():
        time.sleep(3)
        return 200, completion()

    with pytest.raises(BadInput, match="no answer in time"):
        Server(serve(hang), timeout=0.3).check(ASKED, SAMPLING)


def test_one_server_takes_over_for_another_and_gets_its_turn_back(serve):
    calls = {"bad": 0}

    def bad():
        calls["bad"] += 1
        return (503, {"error": {"message": "starting"}}) if calls["bad"] == 1 else (200, completion())

    told: list[str] = []
    urls = [serve(bad), serve(lambda: (200, completion()))]
    pool = Pool([Server(url) for url in urls], concurrency=1, warn=told.append)
    answers = pool.sample([ASKED] * 6, SAMPLING)
    assert len(answers) == 6
    assert sum(answer.failures for answer in answers) == 1
    assert len(told) == 1
    assert "starting; trying it again in 1 s" in told[0]
    time.sleep(1.1)
    assert {answer.url for answer in pool.sample([ASKED] * 6, SAMPLING)} == set(urls)


def test_no_server_left_ends_the_wait(serve):
    pool = Pool([Server("http://127.0.0.1:9"), Server(serve(lambda: (200, {})))], patience=0.5)
    with pytest.raises(
        NoServer, match=r"no usable answer for 1 s: http://127\.0\.0\.1:9: no connection.*; http.*prompt_tok"
    ):
        pool.sample([ASKED] * 3, SAMPLING)


def test_what_would_be_refused_again_is_not_asked_again(serve):
    calls: list[int] = []

    def refuse():
        calls.append(1)
        return 400, {"error": {"message": "the prompt is too long"}}

    pool = Pool([Server(serve(refuse))], concurrency=1)
    with pytest.raises(NoServer, match=r"the prompt is too long.*would fail again"):
        pool.sample([ASKED], SAMPLING)
    assert len(calls) == 1


def test_a_server_that_hangs_does_not_keep_an_interrupted_run(serve):
    asked = threading.Event()

    def hang():
        asked.set()
        time.sleep(20)
        return 200, completion()

    ask = (
        "import sys; from arttune.rollouts import *; from rollouts.test_server import ASKED, SAMPLING; "
        "print('asking', flush=True); Pool([Server(sys.argv[1])]).sample([ASKED] * 3, SAMPLING)"
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen([sys.executable, "-c", ask, serve(hang)], cwd=TESTS, **streams)
    assert run.stdout.readline() == "asking\n"
    assert asked.wait(10)
    run.send_signal(signal.SIGINT)
    try:
        assert "KeyboardInterrupt" in run.communicate(timeout=15)[1]
    finally:
        run.kill()
