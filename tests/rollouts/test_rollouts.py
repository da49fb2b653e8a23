"""What is asked of the servers: no two completions share their chance, and the log tells each rollout once."""

from __future__ import annotations

import json
from types import SimpleNamespace

import zoo
from arttune.prompts import placeholder
from arttune.records import read_metrics
from arttune.rollouts.rollouts import LOG, Rollouts

PAD = 151655


def trainer(rank: int = 0) -> SimpleNamespace:
    """What `Rollouts` reads of TRL's trainer when it makes its requests."""
    return SimpleNamespace(
        processing_class=zoo.tokenizer(),
        chat_template=None,
        chat_template_kwargs={},
        model=SimpleNamespace(config=SimpleNamespace(image_token_id=PAD)),
        accelerator=SimpleNamespace(process_index=rank),
    )


def test_no_two_completions_have_the_same_seed(tmp_path):
    """vLLM samples the k-th of n completions with the request's seed plus k."""
    prompts = [[{"role": "user", "content": placeholder(4) + f"say {i}"}] for i in range(4) for _ in range(8)]
    seeds: list[int] = []
    for seed in (0, 1, 2**32 - 1):
        for step, rank in ((0, 0), (1, 0), (1, 1)):
            asked = Rollouts(None, tmp_path, seed)._asked(prompts, trainer(rank), "data:", step)
            told = [[{"role": "user", "content": f"say {i}"}] for i in range(4)]
            assert [one.messages for one in asked] == told, "the server puts the picture's place in itself"
            for one in asked:
                assert one.n == 8
                seeds += range(one.seed, one.seed + one.n)
    assert len(set(seeds)) == 3 * 3 * 32
    assert max(seeds) < 2**63


def test_what_an_interruption_undid_leaves_the_log_and_nothing_else_does(tmp_path):
    first = Rollouts(None, tmp_path, 0)
    for step in (0, 1, 2, 2):
        first._record(step, {"painting": f"{step}"})
    assert [line["step"] for line in read_metrics(tmp_path / LOG)] == [0, 1, 2, 2], "a doubled rollout would be seen"
    with (tmp_path / LOG).open("a") as log:
        log.write(json.dumps({"step": 3})[:-3])  # killed while it wrote
    again = Rollouts(None, tmp_path, 0)
    again._record(1, {"painting": "again"})
    again._record(2, {"painting": "again"})
    assert [line["painting"] for line in read_metrics(tmp_path / LOG)] == ["0", "again", "again"]
