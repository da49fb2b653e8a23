"""`sft` through TRL: the loss falls on the completion alone, and a step runs the shared prefix once."""

from __future__ import annotations

import torch
from peft import get_peft_model
from transformers.trainer_pt_utils import get_length_grouped_indices

import zoo
from arttune import ArtConfig
from arttune.adapters import configured
from arttune.families import QWEN2_5_VL
from arttune.models import Loaded
from arttune.objectives import Problems, Studio
from arttune.objectives.sft import ByLength, sft
from arttune.records import Metrics
from arttune.settings import Settings
from arttune.tasks import Grade, Problem, Task
from arttune.tuner import art_layer
from test_tree import count_backbone_tokens

WORDS = ("red", "green", "blue", "ultramarine")
PROBLEMS = [Problem([{"role": "user", "content": f"say {w}"}], f"Answer: {w}") for w in WORDS]


TASK = Task("words", "", lambda split: PROBLEMS, lambda p, t: Grade(t == p.completion, True), lambda p, t: 0.0, 8)


def studio(tmp_path, problems=PROBLEMS, task=TASK, **changes) -> Studio:
    tokenizer = zoo.tokenizer()
    base = zoo.tiny("qwen2_5_vl")
    loaded = Loaded(None, base, tokenizer, QWEN2_5_VL)
    settings = Settings(
        **({"steps": 2, "batch_size": 4, "warmup": 0, "validation": 0, "schedule": "constant"} | changes)
    )
    config = ArtConfig(start="noise", family="qwen2_5_vl")
    model = get_peft_model(base, configured(settings.adapter, config, 4))
    tmp_path.mkdir(exist_ok=True)
    sets = Problems(task, problems, [], [])
    return Studio(settings, loaded, model, config, sets, Metrics(tmp_path / "metrics.jsonl"), tmp_path, print)


def test_labels_are_the_completion_and_its_end(tmp_path):
    batch = next(iter(sft(studio(tmp_path)).get_train_dataloader()))
    told = set()
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        kept = labels != -100
        assert torch.equal(labels[kept], ids[kept])
        told.add(zoo.tokenizer().decode(labels[kept]))
    assert told == {f"Answer: {w}<|im_end|>\n" for w in WORDS}


def test_a_step_shares_its_prefix_and_moves_the_canvas(tmp_path):
    made = studio(tmp_path)
    before = art_layer(made.model).painting().pixels.float()
    runs = count_backbone_tokens(made.model)
    sft(made).train()
    assert len(runs) == 4, "two steps of one prefix and one suffix each"
    assert runs[0] < 100, "the prefix is one row"
    moved = (art_layer(made.model).painting().pixels.float() - before).abs()
    assert moved.mean() > 5, "two steps of 0.02 are ten levels"


def test_accumulation_is_one_larger_batch(tmp_path):
    """The gradient of two half batches is the gradient of the whole.

    The completions have one length: for this family transformers averages the batches' means, not their tokens.
    """
    problems = [
        Problem([{"role": "user", "content": f"say {w}"}], f"Answer: {w}") for w in ("red", "sky", "oak", "ink")
    ]
    pictures = []
    for shape in ({"batch_size": 4}, {"batch_size": 2, "accumulate": 2}):
        made = studio(tmp_path / str(len(pictures)), steps=1, learning_rate=0.3, **shape)
        made.problems.train = problems
        sft(made).train()
        pictures.append(art_layer(made.model).painting().pixels.int())
    same = (pictures[0] - pictures[1]).abs() <= 1
    assert same.float().mean() > 0.999, "the same gradient makes the same first step, but for rounding"


def test_batches_hold_rows_of_similar_length_in_an_order_known_from_seed_and_epoch():
    lengths = [int(n) for n in torch.randint(20, 200, (640,), generator=torch.Generator().manual_seed(0))]

    def epoch(number: int, seed: int = 0) -> list[int]:
        sampler = ByLength(lengths, 16, seed)
        sampler.set_epoch(number)
        torch.rand(number + 1)  # whatever else draws from the global generator
        return list(sampler)

    first = epoch(0)
    assert sorted(first) == list(range(640))
    assert first == epoch(0)
    assert epoch(1) not in (first, epoch(1, seed=1))

    def padding(order: list[int]) -> float:
        batches = [[lengths[i] for i in order[k : k + 16]] for k in range(0, 640, 16)]
        return sum(max(b) * 16 - sum(b) for b in batches) / sum(lengths)

    assert padding(first) < 0.1 < 0.5 < padding(list(range(640)))
    longest = torch.tensor([max(lengths[i] for i in first[k : k + 16]) for k in range(0, 640, 16)], dtype=torch.float)
    neighbours = torch.corrcoef(torch.stack([longest[:-1], longest[1:]]))[0, 1]
    assert neighbours < 0.5, "long and short batches take turns"


def test_the_batches_are_transformers_grouping_and_a_smaller_last_one_stays_last():
    lengths = [int(n) for n in torch.randint(20, 200, (130,), generator=torch.Generator().manual_seed(0))]
    reference = get_length_grouped_indices(lengths, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs = ([rows[k : k + 4] for k in range(0, 130, 4)] for rows in (list(ByLength(lengths, 4, 0)), reference))
    assert ours[-1] == theirs[-1]
    assert len(ours[-1]) == 2
    assert sorted(ours) == sorted(theirs)
    assert ours != theirs
