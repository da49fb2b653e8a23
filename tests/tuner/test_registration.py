"""PEFT's tables, the public API of which has no place for a method of someone else's."""

from __future__ import annotations

import copy

import peft.mapping
import pytest
import torch
from peft import LoraConfig, LoraModel, PeftConfig, PeftModel, PeftType, get_peft_model

import zoo
from arttune import ArtConfig, ArtModel, BadInput, Painting
from arttune.tuner import art_layer


def test_peft_still_keeps_methods_in_three_plain_dictionaries():
    """If this fails, PEFT changed: arttune/tuner/registration.py is the one file to mend."""
    for table, ours, lora in (
        (peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING, ArtConfig, LoraConfig),
        (peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING, ArtModel, LoraModel),
        (peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING, "art_", "lora_"),
    ):
        assert type(table) is dict
        assert table["ART"] == ours
        assert table[PeftType.LORA] == lora


def test_a_saved_config_comes_back_through_peft(tmp_path):
    ArtConfig(size=(112, 168), start="#c08040", family="qwen2_5_vl").save_pretrained(tmp_path)
    found = PeftConfig.from_pretrained(str(tmp_path))
    assert isinstance(found, ArtConfig)
    assert (found.size, found.start, found.family, found.task_type) == (
        (112, 168),
        "#c08040",
        "qwen2_5_vl",
        "CAUSAL_LM",
    )


def test_saving_does_not_change_the_config_in_use(tmp_path):
    config = ArtConfig(start="#c08040")
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), config)
    model.save_pretrained(str(tmp_path))
    assert not config.start_saved
    assert not config.inference_mode


def test_the_config_of_a_painting_without_its_weights_is_no_canvas(tmp_path):
    get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start="noise")).save_pretrained(str(tmp_path))
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), PeftConfig.from_pretrained(str(tmp_path)))
    with pytest.raises(ValueError, match="its weights have not been loaded"):
        art_layer(model).pixels()
    loaded = PeftModel.from_pretrained(zoo.tiny("qwen2_5_vl"), str(tmp_path))
    assert art_layer(loaded).pixels().std() > 0.1


def test_get_peft_model_goes_through_the_tuner():
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig())
    assert isinstance(model, PeftModel)
    assert isinstance(model.base_model, ArtModel)
    trainable, everything = model.get_nb_trainable_parameters()
    assert trainable == 3 * 224 * 224
    assert everything > trainable


def test_a_painting_for_another_family_is_refused(tmp_path):
    get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig()).save_pretrained(str(tmp_path))
    with pytest.raises(BadInput, match="is for qwen2_5_vl, but the model is Qwen3-VL"):
        PeftModel.from_pretrained(zoo.tiny("qwen3_vl"), str(tmp_path))


def test_an_illegal_size_is_refused_before_anything_is_built():
    with pytest.raises(BadInput, match="Nearest: 224x224 or 252x252"):
        get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(size=230))


def test_a_picture_cannot_be_merged_but_unloads():
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig())
    with pytest.raises(ValueError, match="cannot be merged"):
        model.merge_and_unload()
    base = model.unload()
    assert base.state_dict().keys() == zoo.tiny("qwen2_5_vl").state_dict().keys()


def test_trls_reference_adapter_is_a_copy_of_the_canvas_and_leaves_it_alone(tmp_path):
    """The loop is TRL's own (dpo_trainer.py, grpo_trainer.py), which goes by parameter names."""
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start="noise"))
    layer = art_layer(model)
    layer.canvas().weight.data.fill_(0.25)
    model.add_adapter("ref", model.peft_config["default"])
    for name, param in model.named_parameters():
        if ".default." in name:
            model.get_parameter(name.replace(".default.", ".ref.")).data.copy_(param.data)
    assert torch.equal(layer.canvas("ref").weight, layer.canvas().weight)
    layer.canvas().weight.data.fill_(0.75)
    model.save_pretrained(str(tmp_path), selected_adapters=["default"])
    assert set(Painting.load(tmp_path / "art.png").pixels.unique().tolist()) == {191}


def test_one_config_for_two_models_and_a_copied_model_save_their_own_pictures(tmp_path):
    config = ArtConfig()
    models = [get_peft_model(zoo.tiny("qwen2_5_vl"), config) for _ in range(2)]
    models.append(copy.deepcopy(models[0]))
    for i, model in enumerate(models):
        art_layer(model).canvas().weight.data.fill_(i / 255)
    for i, model in enumerate(models):
        model.save_pretrained(str(tmp_path / str(i)))
        assert set(Painting.load(tmp_path / str(i) / "art.png").pixels.unique().tolist()) == {i}


def test_the_canvas_keeps_its_precision_when_the_model_changes_its_own():
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start="noise"))
    canvas = art_layer(model).canvas()
    before = canvas.weight.data.clone()
    model.to(torch.bfloat16)
    assert model.get_base_model().lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(canvas.weight, before)
    canvas.weight.data = canvas.weight.data.to(torch.bfloat16)
    assert canvas.pixels().dtype == torch.float32
    assert canvas.weight.dtype == torch.float32
