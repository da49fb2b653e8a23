"""A config is settled and checked before there is a canvas, and saved with one or without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from peft import PeftConfig, get_peft_model

import zoo
from arttune import ArtConfig
from arttune.errors import BadInput

ORCHARD = Path("recipes/compare/orchard.png")


def test_paths_are_kept_as_text(tmp_path):
    config = ArtConfig(start=ORCHARD, style="texture=1", style_picture=ORCHARD, size=(56, 56))
    get_peft_model(zoo.tiny("qwen2_5_vl"), config).save_pretrained(tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert told["start"] == told["style_picture"] == str(ORCHARD)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"limit": 8 / 255}, r"limit is 0\.03.*a whole number"),
        ({"likeness": "much"}, "likeness is 'much'; it must be a number"),
        ({"start": 7}, "start is 7; it must be text"),
        ({"robust": "yes"}, "robust is 'yes'; it must be true or false"),
    ],
)
def test_what_is_of_the_wrong_kind_is_said_at_once(given, says):
    with pytest.raises(BadInput, match=says):
        ArtConfig(**given)


def test_one_that_belongs_to_no_canvas_is_saved_as_it_is(tmp_path):
    ArtConfig(start="noise", seed=5).save_pretrained(tmp_path)
    assert not (tmp_path / "art.png").exists()
    again = PeftConfig.from_pretrained(tmp_path)
    assert (again.start, again.seed, again.start_saved) == ("noise", 5, False)
    get_peft_model(zoo.tiny("qwen2_5_vl"), again)


def test_a_save_that_fails_leaves_the_config_as_it_was(tmp_path):
    config = ArtConfig(start="noise")
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), config)
    (tmp_path / "file").write_text("")
    own = model.peft_config["default"]
    with pytest.raises(AssertionError):  # PEFT's own, of a path that is a file
        own.save_pretrained(tmp_path / "file")
    assert own.start_saved is False
