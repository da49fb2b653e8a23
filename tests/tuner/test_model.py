"""The tuner on all four families: the text path with a canvas equals the pixel path with the PNG."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from PIL import Image

import zoo
from arttune import ArtConfig, load
from arttune.families import FAMILIES
from arttune.prompts import with_picture
from arttune.tuner import art_layer

QUESTIONS = ["What is 2 + 2?", "Name a colour, any colour at all.", "Why?"]


def painted(name: str, dtype: torch.dtype = torch.float32, **config: Any) -> PeftModel:
    return get_peft_model(zoo.tiny(name, dtype), ArtConfig(start="noise", seed=3, **config))


def batch(name: str, side: str = "right", completion: str = "") -> dict[str, torch.Tensor]:
    """Padded token ids of the questions with the picture's placeholders."""
    tokens = ArtConfig(family=name).tokens
    texts = []
    for question in QUESTIONS:
        turns = with_picture([{"role": "user", "content": question}], tokens)
        texts.append(
            zoo.tokenizer().apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + completion
        )
    made = zoo.tokenizer()(texts, return_tensors="pt", padding=True, padding_side=side)
    return {"input_ids": made["input_ids"], "attention_mask": made["attention_mask"]}


def with_labels(made: dict[str, torch.Tensor], tail: int) -> dict[str, torch.Tensor]:
    """The last `tail` real tokens of every row as labels (right padding)."""
    labels = torch.full_like(made["input_ids"], -100)
    for row, length in enumerate(made["attention_mask"].sum(dim=1).tolist()):
        labels[row, length - tail : length] = made["input_ids"][row, length - tail : length]
    return made | {"labels": labels}


def pixel_inputs(name: str, model: PeftModel, side: str) -> dict[str, torch.Tensor]:
    """What transformers' own processor makes of the saved picture and the same questions."""
    pixels = art_layer(model).painting("default").pixels
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    processor = zoo.processor(name)
    turns = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q}]}] for q in QUESTIONS]
    texts = [processor.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in turns]
    return dict(processor(text=texts, images=[picture] * 3, return_tensors="pt", padding=True, padding_side=side))


class Positions:
    """Records the position ids that the text model works with."""

    def __init__(self, model: Any) -> None:
        self.seen: list[torch.Tensor] = []
        model.model.language_model.rotary_emb.register_forward_hook(lambda _, args, __: self.seen.append(args[1]))


@pytest.mark.parametrize("side", ["left", "right"])
def test_forward_equals_the_pixel_path(family_name, side):
    model = painted(family_name)
    inputs = pixel_inputs(family_name, model, side)
    ours = batch(family_name, side)
    assert torch.equal(inputs["input_ids"], ours["input_ids"])
    positions = Positions(model.get_base_model())
    with torch.no_grad():
        text_path = model(**ours).logits
    base = model.unload()
    with torch.no_grad():
        pixel_path = base(**inputs).logits
    real = ours["attention_mask"].bool()
    assert torch.equal(positions.seen[0][:, real], positions.seen[1][:, real])
    assert (text_path - pixel_path)[real].abs().max() <= 1e-6


def test_generate_equals_the_pixel_path(family_name):
    model = painted(family_name)
    inputs = pixel_inputs(family_name, model, "left")
    asked = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    ours = model.generate(**batch(family_name, "left"), **asked)
    vision = [zoo.tokenizer().convert_tokens_to_ids(t) for t in zoo.SPECIALS[3:]]
    theirs = model.unload().generate(**inputs, **asked, suppress_tokens=vision)
    assert torch.equal(ours, theirs)


def test_positions_are_multidimensional(family_name):
    """Fails if token types or grid are lost and positions silently fall back to one dimension."""
    model = painted(family_name)
    positions = Positions(model.get_base_model())
    with torch.no_grad():
        model(**batch(family_name))
    time, height, width = positions.seen[0][:, 0][-3:]
    assert not torch.equal(height, width)
    assert len(set(time.tolist())) < len(time), "the picture's tokens share one point in time"
    flat = torch.arange(time.shape[0])
    assert int(time.max()) < int(flat.max()), "after the picture, text goes on from the picture's side, not its area"


def test_the_shown_picture_matters(family_name):
    made = batch(family_name)
    with torch.no_grad():
        one = painted(family_name)(**made).logits
        other = get_peft_model(zoo.tiny(family_name), ArtConfig(start="noise", seed=4))(**made).logits
    assert (one - other).abs().max() > 1e-2


def test_only_the_canvas_is_trainable_and_the_tower_runs_once(family_name):
    model = painted(family_name)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trainable) == 1
    assert trainable[0].endswith("art_canvas.default.weight")
    calls = []
    tower = model.get_base_model().model.visual
    tower.register_forward_hook(lambda _, args, __: calls.append(args[0].shape[0]))
    model(**with_labels(batch(family_name), 5)).loss.backward()
    side = FAMILIES[family_name].default_side // FAMILIES[family_name].patch
    assert calls == [side * side]
    assert all(p.grad is None for n, p in model.named_parameters() if n != trainable[0])
    assert art_layer(model).canvas().weight.grad.abs().sum() > 0


def test_pixel_gradient_against_finite_differences(family_name, monkeypatch):
    """Central differences in float64, with the rounding taken out (it has no derivative to compare with)."""
    monkeypatch.setattr("arttune.style.gamut.quantize", lambda master: master)
    model = painted(family_name, torch.float64)
    canvas = art_layer(model).canvas().weight
    canvas.data = canvas.data.double() * 0.8 + 0.1
    made = with_labels(batch(family_name), 6)

    def loss() -> torch.Tensor:
        """The model's own loss, but summed in float64: it casts its logits to float32."""
        logits = model(input_ids=made["input_ids"], attention_mask=made["attention_mask"]).logits.double()
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), made["labels"][:, 1:].flatten())

    loss().backward()
    generator = torch.Generator().manual_seed(0)
    step = 1e-4  # shorter, and the float32 noise of the models' norms shows on some processors
    unit = FAMILIES[family_name].unit
    windows = canvas.grad.unfold(1, unit, unit).unfold(2, unit, unit).square().sum(dim=(0, 3, 4))
    strongest = divmod(int(windows.argmax()), windows.shape[1])
    weakest = divmod(int(windows.argmin()), windows.shape[1])
    assert windows.min() > 0, "every merge window matters to the loss"
    for trial in range(4):
        # Along the gradient: whole, over a random half of the pixels, and in one merge window alone. An arbitrary
        # direction's slope would drown in the float32 noise of the models' own norms.
        chosen = torch.rand(canvas.shape, generator=generator) < (0.5 if trial == 1 else 1.0)
        if trial > 1:
            row, column = (strongest, weakest)[trial - 2]
            chosen = torch.zeros(canvas.shape, dtype=torch.bool)
            chosen[:, row * unit : (row + 1) * unit, column * unit : (column + 1) * unit] = True
        direction = canvas.grad * chosen
        direction /= direction.abs().max()
        with torch.no_grad():
            losses = []
            for sign in (1, -1):
                canvas.add_(direction, alpha=sign * step)
                losses.append(loss())
                canvas.sub_(direction, alpha=sign * step)
        measured = float(losses[0] - losses[1]) / (2 * step)
        expected = float((canvas.grad * direction).sum())
        # The weakest window alone moves the loss so little that float32 noise shows.
        assert measured == pytest.approx(expected, rel=5e-3 if trial == 3 else 1e-3), trial


def test_the_canvas_is_seen_at_uint8_levels_and_inside_its_limits():
    model = painted("qwen2_5_vl")
    layer = art_layer(model)
    with torch.no_grad():
        layer.canvas().weight.add_(torch.randn(3, 224, 224))
    seen = layer.pixels()
    master = layer.canvas().weight.detach()
    assert float(master.min()) >= 0
    assert float(master.max()) <= 1
    assert torch.equal((seen * 255).round().to(torch.uint8), layer.painting("default").pixels)
    assert (seen * 255 - (seen * 255).round()).abs().max() < 1e-4


def test_the_canvas_stays_float32_on_a_bfloat16_model():
    model = painted("qwen2_5_vl", torch.bfloat16)
    assert art_layer(model).canvas().weight.dtype == torch.float32
    made = with_labels(batch("qwen2_5_vl"), 5)
    model(**made).loss.backward()
    assert art_layer(model).canvas().weight.grad.dtype == torch.float32


def test_disabled_shows_the_start_and_plain_text_reaches_the_base_model():
    model = painted("qwen2_5_vl")
    made = batch("qwen2_5_vl")
    plain = zoo.tokenizer()(["Just text."], return_tensors="pt")
    with torch.no_grad():
        start = model(**made).logits
        art_layer(model).canvas().weight.fill_(0.2)
        moved = model(**made).logits
        with model.disable_adapter():
            shown = model(**made).logits
            text = model(input_ids=plain["input_ids"]).logits
        base = zoo.tiny("qwen2_5_vl")(input_ids=plain["input_ids"]).logits
    assert torch.equal(shown, start)
    assert not torch.equal(moved, start)
    assert torch.equal(text, base)


def test_what_cannot_be_shown_is_refused():
    """Two pictures at once, and rows of embeddings, in which the picture's place cannot be found."""
    model, made = painted("qwen2_5_vl"), batch("qwen2_5_vl")
    embedded = model.get_input_embeddings()(made["input_ids"])
    with pytest.raises(ValueError, match="ART needs input_ids"):
        model(inputs_embeds=embedded, attention_mask=made["attention_mask"])
    model.add_adapter("second", ArtConfig(start="#ff0000"))
    model.base_model.set_adapter(["default", "second"])
    with pytest.raises(ValueError, match=r"one picture at a time, but the active adapters are .*default.*second"):
        model(**made)


def test_two_adapters_in_one_model_each_show_their_own():
    model = painted("qwen2_5_vl")
    model.add_adapter("second", ArtConfig(start="#ff0000", size=(112, 168)))
    made = batch("qwen2_5_vl")
    with torch.no_grad():
        first = model(**made).logits
        model.set_adapter("second")
        with pytest.raises(ValueError, match="canvas needs 24"):
            model(**made)
        model.set_adapter("default")
        assert torch.equal(model(**made).logits, first)
    layer = art_layer(model)
    assert layer.painting("second").size == (112, 168)
    assert layer.canvas().weight.requires_grad
    assert not layer.canvas("second").weight.requires_grad


def test_save_and_load_through_peft_and_from_the_picture_alone(tmp_path, family_name):
    model = painted(family_name)
    canvas = art_layer(model).canvas().weight
    with torch.no_grad():
        canvas.mul_(0.7).add_(0.1)
    made = batch(family_name)
    with torch.no_grad():
        expected = model(**made).logits
    model.save_pretrained(str(tmp_path))
    assert {"adapter_config.json", "adapter_model.safetensors", "art.png"} <= {p.name for p in tmp_path.iterdir()}
    through_peft = PeftModel.from_pretrained(zoo.tiny(family_name), str(tmp_path))
    alone = load(zoo.tiny(family_name), tmp_path / "art.png")
    with torch.no_grad():
        assert torch.equal(through_peft(**made).logits, expected)
        assert torch.equal(alone(**made).logits, expected)
        with through_peft.disable_adapter(), model.disable_adapter():
            assert torch.equal(through_peft(**made).logits, model(**made).logits), "the start is saved, too"
    assert torch.equal(art_layer(through_peft).canvas().weight, canvas), "the float master, not the picture"
    assert not art_layer(alone).canvas().weight.requires_grad


def test_training_leaves_every_weight_of_the_model_as_it_was(family_name):
    def fingerprint(module: torch.nn.Module) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(module.state_dict().items()):
            if "art_" not in name:
                digest.update(name.replace("base_layer.", "").encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    untouched = fingerprint(zoo.tiny(family_name))
    model = painted(family_name)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    made = with_labels(batch(family_name), 6)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = model(**made).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert fingerprint(model.get_base_model()) == untouched


def test_generate_never_samples_a_vision_token():
    model = painted("qwen2_5_vl")
    vision = {zoo.tokenizer().convert_tokens_to_ids(t) for t in zoo.SPECIALS[3:]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = batch("qwen2_5_vl", "left")
        output = model.generate(**made, do_sample=True, temperature=50.0, max_new_tokens=200)
    fresh = set(output[:, made["input_ids"].shape[1] :].flatten().tolist())
    assert len(fresh) > 100, "hot enough to try them all"
    assert not fresh & vision


@pytest.mark.parametrize("lost", [0, 63])
def test_missing_or_truncated_placeholders_are_an_error_not_a_silent_text_model(lost):
    model = painted("qwen2_5_vl")
    made = batch("qwen2_5_vl")
    pad = model.config.image_token_id
    where = (made["input_ids"][1] == pad).nonzero().flatten()[lost:]
    made["input_ids"][1, where] = 5
    with pytest.raises(ValueError, match=f"row 1 of the batch has {lost} picture placeholders, the canvas needs 64"):
        model(**made)


def test_a_batch_with_pictures_of_its_own_is_refused():
    model = painted("qwen2_5_vl")
    with pytest.raises(ValueError, match="the canvas is the picture"):
        model(**pixel_inputs("qwen2_5_vl", model, "right"))


def test_where_all_tokens_have_labels_the_picture_is_not_for_the_model_to_say(family_name):
    """As in TRL's data sets of whole conversations."""
    model = painted(family_name).train()
    made = batch(family_name)
    labels = made["input_ids"].masked_fill(made["attention_mask"] == 0, -100)
    loss = model(**made, labels=labels).loss.detach()
    with torch.no_grad():
        logits = model(**made).logits[:, :-1]
    config, said = model.config, labels[:, 1:].clone()
    for one in (config.image_token_id, config.vision_start_token_id, config.vision_end_token_id):
        said[said == one] = -100
    assert (labels[:, 1:] != -100).sum() - (said != -100).sum() == 3 * 66
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), said.flatten())
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    with torch.no_grad():
        assert float(model.eval()(**made, labels=labels).loss) == pytest.approx(float(expected), rel=1e-4)


def test_positions_of_one_dimension_are_refused():
    model, made = painted("qwen2_5_vl"), batch("qwen2_5_vl")
    with pytest.raises(ValueError, match=r"position_ids \(3, .*no padding_free"):
        model(**made, position_ids=torch.arange(made["input_ids"].shape[1]).expand(3, -1))


def test_generate_takes_a_processors_token_types():
    model = painted("qwen2_5_vl")
    made = {name: one[:1] for name, one in batch("qwen2_5_vl", "left").items()}
    found = model.generate(**made, max_new_tokens=2, num_beams=2)
    types = torch.zeros_like(made["input_ids"])
    assert torch.equal(model.generate(**made, mm_token_type_ids=types, max_new_tokens=2, num_beams=2), found)


def test_cudnns_attention_is_off_with_a_picture():
    """Its backward pass gives NaN; what torch says it would use is all that can be seen without a GPU."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    painted("qwen2_5_vl")
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of NVIDIA's")
def test_attention_to_scores_far_below_zero_has_a_finite_gradient():
    """The case of pytorch/pytorch#196678: a mask, a length of 64 more than a multiple of 128, every score near -120."""
    painted("qwen2_5_vl")
    shape, length = (1, 1, 704, 64), 704
    query, key, value = (0.1 * torch.randn(shape, dtype=torch.bfloat16, device="cuda") for _ in range(3))
    query[..., 0], key[..., 0] = 1.0, -120 * 8
    query.requires_grad_()
    mask = torch.ones(length, length, dtype=torch.bool, device="cuda").tril()[None, None]
    torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).sum().backward()
    assert query.grad.isfinite().all()
