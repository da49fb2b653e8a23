"""`arttune verify` and `serve-command`: a real server, as it is and behind a proxy that meddles with the picture."""

from __future__ import annotations

import base64
import http.server
import io
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from arttune.canvas import Painting, Provenance
from arttune.style.starts import start_pixels

pytestmark = pytest.mark.vllm
ARTTUNE = Path(sys.executable).parent / "arttune"


@pytest.fixture
def art(tmp_path) -> Path:
    made = Provenance(model="smol", family="qwen2_5_vl", task="reasoning_gym:chain_sum")
    Painting(start_pixels("noise", (224, 224), "#808080", 5), made).save(tmp_path / "art.png")
    return tmp_path / "art.png"


def verify(art: Path, url: str) -> tuple[int, dict, str]:
    words = ["verify", art, "--base-url", url, "--task", "reasoning_gym:chain_sum", "--limit", "8", "--json"]
    done = subprocess.run([ARTTUNE, *words, "--dtype", "float32"], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def meddling(url: str, change: Callable[[Image.Image], Image.Image], kind: str) -> http.server.ThreadingHTTPServer:
    """A proxy before the server at `url` that changes every picture, as some gateways do."""

    def changed(uri: str) -> str:
        picture, data = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), io.BytesIO()
        change(picture.convert("RGB")).save(data, kind)
        return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(urllib.request.urlopen(url + self.path))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            part = body["messages"][0]["content"][0]["image_url"]
            part["url"] = changed(part["url"])
            sent = urllib.request.Request(
                url + self.path, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            self.answer(urllib.request.urlopen(sent))

        def answer(self, found):
            data = found.read()
            self.send_response(found.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_an_honest_server_gives_the_same_answers(art, exact):
    code, found, said = verify(art, exact.url)
    assert code == 0, said
    assert found["agreement"] == 1.0
    assert found["picture_changed"] is None
    assert found["logprob_gap"]["the painting"] < 1e-4
    assert [score["n"] for score in found["scores"]] == [8, 8]


def test_a_recompressed_picture_is_found_out(art, exact):
    proxy = meddling(exact.url, lambda picture: picture, "JPEG")
    code, found, said = verify(art, f"http://127.0.0.1:{proxy.server_port}")
    proxy.shutdown()
    assert code == 1
    assert found["picture_changed"] == "JPEG at quality 75"
    assert "JPEG at quality 75" in said


def test_a_resized_picture_is_found_out(art, exact):
    proxy = meddling(exact.url, lambda picture: picture.resize((112, 112)), "PNG")
    code, _, said = verify(art, f"http://127.0.0.1:{proxy.server_port}")
    proxy.shutdown()
    assert code == 2
    assert "it saw the picture as 16 tokens, but it has 64: it was resized on its way" in said


def test_the_printed_curl_gets_an_answer(art, exact):
    words = [ARTTUNE, "serve-command", art, "--port", str(exact.port)]
    start, *send = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert start.startswith("vllm serve ")
    done = subprocess.run("\n".join(send), shell=True, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"]
