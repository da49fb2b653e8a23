"""The reader gives what the model's own forward gives, question by question, on the ordinary route."""

from __future__ import annotations

import pytest
import torch

from arttune.models.graft import FAMILY
from arttune.prompts import placeholder
from reader import Reader


@pytest.fixture
def reader(tiny_folder):
    return Reader(tiny_folder)


@torch.no_grad()
def test_packed_turns_read_as_each_would_alone(reader):
    pictures = [torch.rand(3, 112, 112, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    turns = [[reader.turn("What is it?", "a dog"), reader.turn("How many?", "5")], [reader.turn("Name it.", "blue")]]
    read = reader.read(reader.see(pictures), turns)
    logits = reader.logits(read.hidden)
    for i, row in enumerate(turns):
        for k, turn in enumerate(row):
            question = reader.tokenizer.decode(turn.ids[: turn.asked]).partition("<|im_end|>")[0]
            conversation = [{"role": "user", "content": placeholder(16) + question}]
            text = reader.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
            ids = reader.tokenizer(text, add_special_tokens=False)["input_ids"] + turn.ids[turn.asked :]
            ids = torch.tensor([ids])
            expected = reader.model(
                input_ids=ids,
                pixel_values=FAMILY.patches(pictures[i]),
                image_grid_thw=torch.tensor([FAMILY.grid((112, 112))]),
                mm_token_type_ids=(ids == reader.model.config.image_token_id).long(),
            ).logits[0]
            mine = (read.row == i) & (read.turn == k)
            assert read.wanted[mine].tolist() == turn.ids[turn.asked :]
            torch.testing.assert_close(logits[mine], expected[-mine.sum() - 1 : -1], rtol=1e-4, atol=1e-4)


def test_a_folded_first_layer_is_the_same_function(reader):
    picture = torch.rand(3, 112, 112, generator=torch.Generator().manual_seed(0))
    weight = reader.tower.patch_embed.proj.weight.requires_grad_()
    results = []
    for _ in range(2):
        seen = reader.see([picture])
        results.append((seen, *torch.autograd.grad(seen.square().sum(), weight)))
        reader.fold_patches()
    for folded, plain in zip(*reversed(results), strict=True):
        assert (folded - plain).norm() < 1e-4 * plain.norm()


@torch.no_grad()
def test_what_lies_under_the_tokens_is_in_their_order(reader):
    """The tower works window by window; a spot in one corner must show in that corner, at every size."""
    for side in (112, 168, 224, 448):
        spot = torch.full((3, side, side), 0.5)
        spot[:, :28, -28:] = 1.0
        plain, marked = reader.look([torch.full((3, side, side), 0.5), spot])[1].double()
        change = (marked - plain).norm(dim=1)
        assert int(change.argmax()) == side // 28 - 1, side


@torch.no_grad()
def test_without_a_picture_it_is_the_text_model(reader):
    turn = reader.turn("Two and two?", "4")
    read = reader.read(None, [[turn]], everywhere=True)
    conversation = [{"role": "user", "content": "Two and two?"}]
    text = reader.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    whole = reader.tokenizer(text, add_special_tokens=False)["input_ids"] + turn.ids[turn.asked :]
    expected = reader.model(input_ids=torch.tensor([whole])).logits[0, -len(turn.ids) : -1]
    torch.testing.assert_close(reader.logits(read.hidden), expected, rtol=1e-4, atol=1e-4)
    assert read.wanted.tolist() == turn.ids[1:]
