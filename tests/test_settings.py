"""Settings: the same names in flags and YAML, checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from transformers import get_scheduler

from arttune import training
from arttune.errors import BadInput
from arttune.settings import SCHEDULES, Settings, named_values
from arttune.tasks import get_task

RECIPES = Path(__file__).parent.parent / "recipes"


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("steps: 7\nseed: 3\nlearning_rate: 1e-3\n")
    found = Settings.read(tmp_path / "c.yaml", {"seed": 5})
    assert (found.steps, found.seed, found.learning_rate) == (7, 5, 1e-3)
    assert found.batch_size == Settings().batch_size


def test_a_rate_is_not_taken_for_another_adapter(tmp_path):
    (tmp_path / "c.yaml").write_text("learning_rate: 0.03\n")
    with pytest.raises(BadInput, match="its learning_rate is for another adapter than lora"):
        Settings.read(tmp_path / "c.yaml", {"adapter": "lora"})
    assert Settings.read(tmp_path / "c.yaml", {"adapter": "lora", "learning_rate": 1e-4}).rate == 1e-4
    assert (Settings().rate, Settings(adapter="lora").rate) == (0.02, 1e-3)
    assert Settings(adapter="lora", objective="dpo").rate == 1e-4


def test_a_file_may_write_names_as_the_flags_do(tmp_path):
    (tmp_path / "c.yaml").write_text("batch-size: 3\nmax_new_tokens: 9\n")
    found = Settings.read(tmp_path / "c.yaml", {})
    assert (found.batch_size, found.max_new_tokens) == (3, 9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_needs_nothing_more(name):
    """The reference is transformers' own maker of schedules, called as its trainer calls it."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=10)
    for _ in range(10):
        optimizer.step()
        schedule.step()


def test_what_is_written_reads_back_the_same(tmp_path):
    settings = Settings(task="own.jsonl", start="#c08040", size=112, reward="m:f", threads=1)
    settings.write(tmp_path / "c.yaml")
    assert Settings.read(tmp_path / "c.yaml", {}) == settings
    assert set(yaml.safe_load((tmp_path / "c.yaml").read_text())) == set(vars(settings))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stepz: 3", r"c\.yaml: unknown setting stepz"),
        ("steps: many", r"c\.yaml: steps is 'many'; it must be a whole number"),
        ("steps: 0", "at least 1"),
        ("steps: true", "steps is True"),
        ("learning_rate: -1", "above 0"),
        ("trust: -1", "trust is -1.0; it cannot be negative"),
        ("trust: .nan", "trust is nan; .* finite"),
        ("learning_rate: fast", "must be a number"),
        ("learning_rate: .nan", "learning_rate is nan; it must be above 0 and finite"),
        ("learning_rate: .inf", "learning_rate is inf; it must be above 0 and finite"),
        ("temperature: 0", "temperature is 0.0; it must be above 0"),
        ("generations: 1", "compares at least 2"),
        ("warmup: -1", "cannot be negative"),
        ("dtype: float16", "auto, bfloat16, float32"),
        ("schedule: wobbly", "use linear, cosine"),
        ("schedule: cosine_with_min_lr", "use linear, cosine"),
        ("max_new_tokens: 0", "at least 1"),
        ("threads: -1", "at least 1"),
        ("seed: -1", "between 0 and"),
        ("trl: loss_type", "trl: 'loss_type' has no value"),
        ("trl: 'reward_weights=[1'", r"trl: 'reward_weights=\[1' is not readable"),
        ("template: enable_thinking", "template: 'enable_thinking' has no value"),
        ("- steps", "must hold `name: value` lines"),
        ("steps: [", "not readable YAML"),
    ],
)
def test_a_bad_file_is_named_with_its_setting(tmp_path, text, complaint):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(BadInput, match=complaint):
        Settings.read(tmp_path / "c.yaml", {})


def test_a_tracker_is_needed_to_train_but_not_to_read_the_run(tmp_path):
    (tmp_path / "c.yaml").write_text("report_to: crystal_ball")
    settings = Settings.read(tmp_path / "c.yaml", {})
    with pytest.raises(BadInput, match="'crystal_ball', but the trackers installed here"):
        settings.check_tracker()
    with pytest.raises(BadInput, match="trackers installed here"):
        training.train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_named_values_are_yaml_and_may_be_lists():
    text = "loss_type=dr_grpo, reward_weights=[1, 0.5],chat_template_kwargs={enable_thinking: false, x: 1} ,beta=0.1,"
    assert named_values("trl", "epsilon=2e-1,delta=-1.5E+3") == {"epsilon": 0.2, "delta": -1500.0}
    assert named_values("trl", text) == {
        "loss_type": "dr_grpo",
        "reward_weights": [1, 0.5],
        "chat_template_kwargs": {"enable_thinking": False, "x": 1},
        "beta": 0.1,
    }
    assert named_values("trl", None) == {}


def test_a_file_is_not_blamed_for_a_flag(tmp_path):
    (tmp_path / "c.yaml").write_text("steps: 3\n")
    with pytest.raises(BadInput, match=r"^steps is 0"):
        Settings.read(tmp_path / "c.yaml", {"steps": 0})


def test_what_a_flag_may_say_depends_on_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text("batch_size: 32\n")
    flags = {"objective": "grpo", "generations": 16}
    assert Settings.read(tmp_path / "c.yaml", flags).rows == 32
    with pytest.raises(BadInput, match=r"^batch_size times accumulate is 8"):
        Settings.read(None, flags)
    (tmp_path / "c.yaml").write_text("batch_size: 24\n")
    with pytest.raises(BadInput, match=r"c\.yaml: batch_size times accumulate is 24"):
        Settings.read(tmp_path / "c.yaml", flags)


def test_a_missing_file(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        Settings.read(tmp_path / "none.yaml", {})


def test_changed_by_names_only_what_differs():
    assert Settings(steps=5).changed_by({"steps": 5, "seed": 9}) == ["seed"]


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_holds_settings(recipe):
    found = Settings.read(recipe, {})
    assert found.changed_by(yaml.safe_load(recipe.read_text())) == []
    assert get_task(found.task).name == found.task
