"""Settings: the same names in flags and YAML, checked before anything runs."""

from __future__ import annotations

import pytest
import yaml

from arttune.errors import BadInput
from arttune.settings import Settings


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("steps: 7\nseed: 3\nlearning_rate: 1e-3\n")
    found = Settings.read(tmp_path / "c.yaml", {"seed": 5})
    assert (found.steps, found.seed, found.learning_rate) == (7, 5, 1e-3)
    assert found.batch_size == Settings().batch_size


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
        ("learning_rate: fast", "must be a number"),
        ("warmup: -1", "cannot be negative"),
        ("dtype: float16", "auto, bfloat16, float32"),
        ("schedule: wobbly", "transformers knows linear, cosine"),
        ("report_to: crystal_ball", "trackers installed here"),
        ("seed: -1", "between 0 and"),
        ("- steps", "must hold `name: value` lines"),
        ("steps: [", "not readable YAML"),
    ],
)
def test_a_bad_file_is_named_with_its_setting(tmp_path, text, complaint):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(BadInput, match=complaint):
        Settings.read(tmp_path / "c.yaml", {})


def test_a_missing_file(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        Settings.read(tmp_path / "none.yaml", {})


def test_changed_by_names_only_what_differs():
    assert Settings(steps=5).changed_by({"steps": 5, "seed": 9}) == ["seed"]
