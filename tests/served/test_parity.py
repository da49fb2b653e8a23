"""A test bed on a stock server: the same greedy tokens as transformers' own generate, for fifty pictures.

`qwen-0.5b` takes part where `ARTTUNE_QWEN` names the folder that `benchmarks/make_qwen.py` made.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from arttune.models import load_model
from arttune.rollouts import Asked, Sampling, Server
from arttune.rollouts.server import data_uri
from arttune.tuner import vision_tokens
from reading import ASKED
from scenes import scene
from served.conftest import Vllm

pytestmark = pytest.mark.vllm


@pytest.fixture(params=["smol", "qwen-0.5b"])
def bed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Vllm]]:
    """The model by its name, and a server with it in float32."""
    if request.param == "smol":
        yield "smol", request.getfixturevalue("exact")
        return
    folder = os.environ.get("ARTTUNE_QWEN")
    if not folder:
        pytest.skip("ARTTUNE_QWEN names no folder of qwen-0.5b")
    server = Vllm(tmp_path / "qwen.log", "float32", folder).start()
    yield folder, server
    server.kill()


@torch.no_grad()
def test_fifty_pictures_get_the_same_greedy_tokens(bed):
    name, exact = bed
    loaded = load_model(name, "float32")
    model, tokenizer = loaded.model, loaded.tokenizer
    banned = vision_tokens(model.config)
    sampling = Sampling(16, temperature=0.0, forbidden=tuple(banned))
    server, pad = Server(exact.url), model.config.image_token_id
    sides = [112, 168, 224, 448]
    for i in range(50):
        side = sides[i % len(sides)]
        shown = scene(f"parity {i}", side, ASKED)
        question, _ = shown.ask(random.Random(i))
        data = io.BytesIO()
        shown.image.save(data, "PNG")
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        grid = torch.tensor([loaded.family.grid((side, side))])
        count = int(grid.prod()) // loaded.family.merge**2
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        text = text.replace("<|image_pad|>", "<|image_pad|>" * count)
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        ours = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=loaded.family.patches(shown.pixels),
            image_grid_thw=grid,
            mm_token_type_ids=(ids == pad).long(),
            max_new_tokens=16,
            do_sample=False,
            suppress_tokens=banned,
        )[0, ids.shape[1] :].tolist()
        uri = data_uri(data.getvalue())
        asked = Asked([{"role": "user", "content": question}], uri, ids[0].tolist(), pad, 1, seed=0)
        (reply,) = server.check(asked, sampling)
        assert reply.ids == ours, (i, side, question, reply.text)
