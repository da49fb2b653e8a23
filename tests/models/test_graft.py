"""The graft: text logits are the text model's own, bit for bit, and the folder is a complete checkpoint."""

from __future__ import annotations

import json
from copy import copy

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import zoo
from arttune.errors import BadInput
from arttune.families import detect
from arttune.models.graft import graft, save, save_tower
from arttune.models.text import read_text_model
from arttune.prompts import PAD, placeholder

SIZES = {
    "vocab_size": 263,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 257,
    "eos_token_id": 258,
}


@pytest.fixture(params=["llama-tied", "qwen2-untied"])
def text_folder(request, tmp_path):
    """A small random text model folder with a tokenizer that knows no vision tokens."""
    torch.manual_seed(0)
    if request.param == "llama-tied":
        model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True, rope_theta=1e5))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=False))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "text")
    tokenizer = zoo.plain_tokenizer()
    tokenizer.save_pretrained(tmp_path / "text")
    return tmp_path / "text"


def test_text_logits_are_bit_identical(text_folder, tmp_path):
    text = read_text_model(text_folder)
    model, tokenizer = graft(text, seed=1)
    save(model, tokenizer, tmp_path / "grafted")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "grafted", dtype=torch.float32)
    ids = torch.randint(0, SIZES["vocab_size"] - 4, (3, 40), generator=torch.Generator().manual_seed(0))
    reference = AutoModelForCausalLM.from_pretrained(text_folder, dtype=torch.float32)
    with torch.no_grad():
        theirs = reference(input_ids=ids).logits
        ours = loaded(input_ids=ids).logits[..., : theirs.shape[-1]]
    assert torch.equal(ours, theirs)
    again, _ = graft(read_text_model(text_folder), seed=1)
    for (name, one), two in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two), f"{name} depends on more than the seed"


def test_the_folder_is_a_checkpoint_of_the_family(text_folder, tmp_path):
    save(*graft(read_text_model(text_folder)), tmp_path / "grafted")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "grafted")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "grafted")
    assert detect(model.config).name == "qwen2_5_vl"
    assert tokenizer(PAD, add_special_tokens=False)["input_ids"] == [model.config.image_token_id]
    assert model.config.image_token_id < model.config.text_config.vocab_size
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
    shown = tokenizer.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    plain = tokenizer.apply_chat_template([{"role": "user", "content": placeholder(1) + "What?"}], tokenize=False)
    assert shown == plain
    settings = json.loads((tmp_path / "grafted" / "preprocessor_config.json").read_text())
    assert (settings["patch_size"], settings["merge_size"]) == (14, 2)


@torch.no_grad()
def test_tower_tokens_have_the_norm_of_text_embeddings(text_folder):
    model, _ = graft(read_text_model(text_folder))
    family = detect(model.config)
    noise = torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(5))
    grid = torch.tensor([family.grid((224, 224))])
    tokens = model.model.get_image_features(family.patches(noise), grid, return_dict=True).pooler_output[0]
    wish = model.get_input_embeddings().weight.norm(dim=1).mean()
    assert tokens.norm(dim=1).mean().item() == pytest.approx(wish.item(), rel=0.05)


def test_a_saved_tower_is_taken_with_its_own_shape(text_folder, tmp_path):
    text = read_text_model(text_folder)
    source, _ = graft(text, seed=3)
    config = copy(source.model.visual.config)
    config.depth, config.num_heads = 2, 6
    tower = type(source.model.visual)(config)
    save_tower(tower, tmp_path / "tower.safetensors", {"seed": "3"})
    model, tokenizer = graft(text, tower=tmp_path / "tower.safetensors")
    save(model, tokenizer, tmp_path / "grafted")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "grafted", dtype=torch.float32)
    assert (loaded.config.vision_config.depth, loaded.config.vision_config.num_heads) == (2, 6)
    expected = tower.state_dict()
    for name, weight in loaded.model.visual.state_dict().items():
        assert torch.equal(weight, expected[name].half().float()), name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, r"positions \(linear\)"),
        ({"attention_bias": True}, r"no place for the text model's .*o_proj\.bias"),
    ],
)
def test_what_would_change_the_text_is_refused(tmp_path, change, complaint):
    LlamaForCausalLM(LlamaConfig(**SIZES, **change)).save_pretrained(tmp_path)
    zoo.plain_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=complaint):
        graft(read_text_model(tmp_path))


def test_a_tokenizer_without_a_chat_template_is_refused(text_folder):
    tokenizer = AutoTokenizer.from_pretrained(text_folder)
    tokenizer.chat_template = None
    (text_folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(text_folder)
    with pytest.raises(BadInput, match="no chat template"):
        read_text_model(text_folder)


def test_other_sources_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file or folder"):
        read_text_model(tmp_path / "nothing")
    (tmp_path / "bad.gguf").write_bytes(b"GGUFnot really")
    with pytest.raises(BadInput, match="no readable GGUF"):
        read_text_model(tmp_path / "bad.gguf")
