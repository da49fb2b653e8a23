"""Models by name, and what is said of a name that is none."""

from __future__ import annotations

import json

import pytest

import zoo
from arttune.errors import BadInput
from arttune.models import load_model


def test_a_local_folder(tiny_folder):
    loaded = load_model(str(tiny_folder), "float32")
    assert loaded.family.name == "qwen2_5_vl"
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert not loaded.model.training


@pytest.mark.parametrize("name", ["smoll", "./nowhere", "/nowhere/at/all", "a/b/c"])
def test_an_unknown_name(name):
    with pytest.raises(BadInput, match="Embedded: smol"):
        load_model(name)


def test_a_hub_id_that_cannot_be_reached():
    with pytest.raises(BadInput, match="cannot be loaded"):
        load_model("nobody/nothing-at-all")


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(BadInput, match=r"no config\.json"):
        load_model(str(tmp_path))


def test_a_model_of_another_family_lists_the_known_ones(tmp_path):
    zoo.tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(BadInput, match="arttune paints for: qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_5"):
        load_model(str(tmp_path))
