"""Every recipe is read; those of the paper are rehearsed on real shapes of Qwen3.5, and ask what its authors ask."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from PIL import Image
from transformers import Qwen3_5Config

import zoo
from arttune import ArtConfig, adapters, load, rehearsal
from arttune.canvas import Painting
from arttune.compare import Comparison
from arttune.compare.cells import check
from arttune.families import FAMILIES
from arttune.prompts import fix_template, with_picture
from arttune.rehearsal import ROOM, rehearse
from arttune.settings import Settings
from arttune.tasks import get_task

ROOT = Path(__file__).parent.parent
PAPER = sorted((ROOT / "recipes" / "paper").glob("*.yaml"))
AUTHORS = Path(os.environ.get("ARTTUNE_DATA", "")).parent / "reference" / "authors_images"
# hidden, intermediate, layers, heads, kv heads, recurrent value heads; tower: depth, hidden, intermediate, heads
SHAPES = {
    "0.8b": ((1024, 3584, 24, 8, 2, 16), (12, 768, 3072, 12)),
    "2b": ((2048, 6144, 24, 8, 2, 16), (24, 1024, 4096, 16)),
    "4b": ((2560, 9216, 32, 16, 4, 32), (24, 1024, 4096, 16)),
}
MILLIONS = {"0.8b": (800, 950), "2b": (2000, 2400), "4b": (4300, 4800)}


def template(size: str = "0.8b") -> str:
    """Qwen3.5's own chat template, as TRL keeps it; from 4B on it thinks unless it is told not to."""
    kind = "think" if size == "4b" else "nothink"
    return (files("trl") / "chat_templates" / f"qwen3_5_{kind}.jinja").read_text(encoding="utf-8")


def shapes(folder: Path, size: str) -> Path:
    """A checkpoint folder without weights, of a released model's shapes."""
    (hidden, inner, layers, heads, kv_heads, values), (depth, width, wide, vision_heads) = SHAPES[size]
    text = {
        "vocab_size": 248320,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 256,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": values,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": depth,
        "hidden_size": width,
        "intermediate_size": wide,
        "num_heads": vision_heads,
        "out_hidden_size": hidden,
    }
    tokenizer = zoo.tokenizer()
    marks = {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }
    config = Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=True, **marks)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template(size), encoding="utf-8")
    return folder


def toolmind(path: Path) -> Path:
    """A file of ToolMind's published format."""
    tool = {
        "type": "function",
        "function": {
            "name": "now",
            "description": "Time",
            "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
        },
    }
    call = {"function": {"name": "now", "arguments": {"zone": "Oslo"}}}
    reply = {"role": "assistant", "content": "", "tool_calls": [call]}
    ask = "Somebody in Oslo looked at a clock. " * 25  # about as long as the recipes allow
    turns = [[{"role": "user", "content": f"{ask}What time was it {i} hours ago?"}, reply] for i in range(200)]
    path.write_text("".join(json.dumps({"tools": [tool], "conversations": one}) + "\n" for one in turns))
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_read(path):
    name = path.relative_to(ROOT)
    if path.parent.name in ("compare", "paper"):
        plan = Comparison.read(path)
        for task in (plan.run.task, *plan.also):
            get_task(task)
        line = f"# arttune compare {name} --out runs/"
    else:
        get_task(Settings.read(path, {}).task)
        line = f"# arttune train --config {name} "
    assert any(one.startswith(line) for one in path.read_text(encoding="utf-8").splitlines())


def test_the_grid_of_the_paper_is_whole():
    grid = {f"qwen3.5-{size}_{task}" for size in SHAPES for task in ("gsm8k", "svamp", "toolmind")}
    assert {path.stem for path in PAPER} == grid
    plans = [Comparison.read(path) for path in PAPER]
    shared = {"model": "", "task": "", "max_prompt": None, "batch_size": 8, "accumulate": 8}
    assert len({json.dumps(vars(replace(plan.run, **shared)), sort_keys=True) for plan in plans}) == 1
    for plan in plans:
        run = plan.run
        assert (run.objective, run.presence_penalty, run.max_new_tokens) == ("grpo", 1.0, 512)
        assert run.rows == 64
        assert run.template == "enable_thinking=false"
        assert plan.adapters == ["art", "lora"]


@zoo.REAL
@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_recipes_of_the_paper_are_rehearsed(path, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "device", lambda: "cuda")  # what they are for
    plan = Comparison.read(path)
    size = plan.run.model.removeprefix("Qwen/Qwen3.5-").lower()
    changes = {"model": str(shapes(tmp_path, size)), "dtype": "bfloat16"}
    if plan.run.task == "toolmind":
        changes["data"] = str(toolmind(tmp_path / "t.jsonl"))
    plan = replace(plan, run=replace(plan.run, **changes))
    check(plan)
    for name in plan.adapters:
        cell = next(cell for cell in plan.cells() if cell.name == name)
        found = rehearse(plan.settings(cell, plan.rates[name][0]), crowded=True)
        low, high = MILLIONS[size]
        assert low < found.parameters / 1e6 < high
        assert found.picture == (64 if name == "art" else 0)
        assert found.memory.weights == 2 * found.parameters
        assert found.memory.peak < ROOM * 80 * 2**30
        assert found.sampled == 200 * 64 * 512
        assert found.first.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
        if plan.run.task == "toolmind":
            assert found.prompt.longest > 0.9 * plan.run.max_prompt
        else:
            assert "<|im_start|>system" not in found.first
            assert "\n\nEnd your response with: Answer: <number><|im_end|>\n" in found.first


@pytest.mark.parametrize("family", zoo.NAMES)
def test_lora_is_on_all_linear_layers_of_the_text_model(family):
    base = zoo.tiny(family)
    linear = {
        name for name, one in base.named_modules() if "language_model" in name and isinstance(one, torch.nn.Linear)
    }
    model = get_peft_model(base, adapters.configured("lora", ArtConfig(family=family), 4))
    found = {name.removeprefix("base_model.model.") for name in model.targeted_module_names}
    assert found == linear


@pytest.mark.skipif(not AUTHORS.is_dir(), reason="the authors' pictures are not beside the data")
@pytest.mark.parametrize("task", ["gsm8k", "svamp"])
def test_the_authors_paintings_are_seen_as_their_evaluation_shows_them(task, tmp_path):
    """Their picture, prompt and template through transformers' processor, and ours."""
    path = AUTHORS / f"grpo_image_qwen3.5-0.8b_{task}" / "best.png"
    painting, family = Painting.load(path), FAMILIES["qwen3_5"]
    assert family.size(painting.size) == (256, 256)
    assert family.tokens(painting.size) == 64
    problem = get_task(task).load("test")[0]
    row = json.loads((Path(os.environ["ARTTUNE_DATA"]) / task / "test.jsonl").read_text().splitlines()[0])
    question = row["question"] if task == "gsm8k" else row["Body"] + " " + row["Question"]
    with Image.open(path) as picture:
        parts = [{"type": "image"}, {"type": "text", "text": question + "\n\nEnd your response with: Answer: <number>"}]
        processor = zoo.processor("qwen3_5")
        worded = processor.apply_chat_template(
            [{"role": "user", "content": parts}],
            chat_template=template(),
            add_generation_prompt=True,
            enable_thinking=False,
        )
        theirs = processor(text=[worded], images=[picture.convert("RGB")], return_tensors="pt")
    tokenizer = zoo._bytes(zoo.SPECIALS, template())
    fix_template(tokenizer, {"enable_thinking": False})
    turns = with_picture(problem.prompt, 64)
    ours = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ours == theirs["input_ids"][0].tolist()
    model = load(zoo.tiny("qwen3_5"), path)
    patches = family.patches(painting.pixels.float() / 255)
    assert torch.allclose(patches, theirs["pixel_values"], atol=1e-6)
    with torch.no_grad():
        given = torch.tensor([ours])
        seen = model(input_ids=given, attention_mask=torch.ones_like(given)).logits
        shown = {name: theirs[name] for name in ("pixel_values", "image_grid_thw")}
        types = (given == model.config.image_token_id).long()
        own = model.get_base_model()(input_ids=given, mm_token_type_ids=types, **shown).logits
    assert torch.allclose(seen, own, atol=1e-4)
