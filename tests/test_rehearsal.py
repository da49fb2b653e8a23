"""What a dry run says of tokens and memory, against tokenizer and autograd, and that it leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import get_peft_model

import zoo
from arttune import ArtConfig, adapters, rehearsal, training
from arttune.errors import BadInput
from arttune.models import load_model
from arttune.prompts import with_picture, worded
from arttune.rehearsal import ROOM, kept_a_token, rehearse
from arttune.tasks import get_task
from test_training import problems, settings

__all__ = ["problems"]


@zoo.REAL
@pytest.mark.parametrize("name", ["art", "lora"])
@pytest.mark.parametrize(("task", "rows"), [("svamp", 24), ("sgd", 2)])  # short prompts, and long ones
def test_a_backward_pass_keeps_about_what_it_says(name, task, rows):
    loaded = load_model("smol", "bfloat16")
    canvas = ArtConfig(family=loaded.family.name)
    asked = worded(get_task(task).load("train"), loaded.tokenizer, limit=rows)
    shown = [with_picture(one.prompt, canvas.tokens) if name == "art" else one.prompt for one in asked]
    texts = loaded.tokenizer.apply_chat_template(shown, tokenize=False, add_generation_prompt=True)
    texts = [text + str(one.completion) for text, one in zip(texts, asked, strict=True)]
    batch = loaded.tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    at, ends = torch.arange(batch["input_ids"].shape[1]), batch["attention_mask"].sum(dim=1)[:, None]
    labels = torch.where((at < ends) & (at >= ends - 16), batch["input_ids"], -100)
    model = get_peft_model(loaded.model, adapters.configured(name, canvas, 16)).train()
    if name == "lora":
        adapters.project_labels_alone(model)
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def keep(one: torch.Tensor) -> torch.Tensor:
        storage = one.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return one

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    tokens = int(batch["attention_mask"].sum()) - ((rows - 1) * canvas.tokens if name == "art" else 0)
    assert torch.isfinite(loss)
    assert tokens * kept_a_token(loaded, name, 2, len(at)) == pytest.approx(sum(kept.values()), rel=0.35)


@pytest.mark.parametrize("name", ["art", "lora", "soft-prompt"])
def test_it_counts_what_the_run_trains_on(name, tiny_folder, problems, tmp_path):
    run = settings(tiny_folder, problems, adapter=name, steps=2)
    (tiny_folder / "model.safetensors").unlink()  # it needs no weights
    found = rehearse(run)
    tokenizer = training.opened(run, weightless=True)[1].tokenizer
    one = "<|im_start|>user\n21: say green<|im_end|>\n<|im_start|>assistant\n"
    assert found.prompt.longest == len(tokenizer(one, add_special_tokens=False)["input_ids"])
    assert found.problems == {"training": 28, "validation": 4, "test problems": 8}
    assert found.answer.longest == len("Answer: green")  # a token a byte
    assert found.graded == (28, 28)
    assert found.canvas == (224, 224)
    assert found.picture == (0 if name == "lora" else 64)
    assert sum(name == "first prompt" for name, _ in found.lines()) == 1
    shown = "<|vision_start|>(64 x <|image_pad|>)<|vision_end|>" in found.first
    assert shown == (name == "art")


def test_what_it_says_is_trained_is(tiny_folder, problems, tmp_path):
    for name in ("art", "lora", "soft-prompt"):
        run = settings(tiny_folder, problems, adapter=name, steps=1)
        training.train(run, tmp_path / name)
        assert rehearse(run).trained == adapters.trained_parameters(tmp_path / name)


def test_it_says_when_the_machine_is_too_small_and_what_to_do(tiny_folder, problems, monkeypatch):
    run = settings(tiny_folder, problems)
    at_once, in_parts = (rehearse(replace(run, batch_size=8 // n, accumulate=n)) for n in (1, 8))
    between = int((at_once.memory.peak + in_parts.memory.peak) / 2 / ROOM)
    monkeypatch.setattr(rehearsal, "total_memory", lambda: between)
    assert "smaller batch_size with a larger accumulate" in dict(at_once.lines())["memory"]
    assert "too much" not in dict(in_parts.lines())["memory"]


def test_it_finds_what_a_run_would(tiny_folder, problems):
    with pytest.raises(BadInput, match="unknown objective"):
        rehearse(replace(settings(tiny_folder, problems), objective="ppo"))
    with pytest.raises(BadInput, match="not legal"):
        rehearse(settings(tiny_folder, problems, size=100))
    for objective in ("sft", "grpo"):
        with pytest.raises(BadInput, match=r"trl: .*epoch_count"):
            rehearse(settings(tiny_folder, problems, objective=objective, trl="epoch_count=3"))
    for trl, complaint in (
        ("max_steps=9", "a setting of the run; use --steps"),
        ("per_device_train_batch_size=9", "use --batch-size"),
        ("weight_decay=0.1", "would do nothing, for the optimiser is arttune's"),
    ):
        with pytest.raises(BadInput, match=complaint):
            rehearse(settings(tiny_folder, problems, trl=trl))
    many = {"objective": "grpo", "batch_size": 8, "generations": 4, "trl": "steps_per_generation=64"}
    with pytest.raises(BadInput, match=r"a step takes .* problems .* if trl does not say otherwise"):
        rehearse(settings(tiny_folder, problems, **many))
    with pytest.raises(BadInput, match=r"nowhere.*cannot be imported"):
        rehearse(settings(tiny_folder, problems, objective="grpo", rewards="nowhere:points"))
    with pytest.raises(BadInput, match=r"rewards: json:loads failed on"):
        rehearse(settings(tiny_folder, problems, objective="grpo", rewards="json:loads"))
