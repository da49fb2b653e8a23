"""The seam to TRL: GRPO's prompts in, sampled tokens and their log-probabilities out, from servers.

The model on the servers never changes, only the picture does, so all there is to synchronise is one PNG. Each rollout
is logged with the hash of the picture it was sampled with.
"""

from __future__ import annotations

import json
import random
import time
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object

from arttune.canvas import sha256
from arttune.errors import BadInput
from arttune.prompts import without_picture
from arttune.records import read_metrics, write_whole
from arttune.rollouts.gap import FAR, logprob_gap
from arttune.rollouts.pool import Answer, Pool
from arttune.rollouts.server import Asked, Sampling, Unreachable, Unusable, data_uri
from arttune.tuner import art_layer, vision_tokens

LOG = "rollouts.jsonl"


class Rollouts:
    """A `rollout_func` for TRL's GRPOTrainer that samples from the servers of `pool`.

    `folder` gets a log, a line a step: which picture, and of each group which problem, server, lengths and failures.
    `template` are the arguments that the trainer's chat template has been given for good, which servers must be told.
    """

    def __init__(self, pool: Pool, folder: Path, seed: int, template: dict[str, Any] | None = None) -> None:
        self.pool, self.seed, self.path, self.template = pool, seed, folder / LOG, template or {}
        self.begun = False

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """`prompt_ids`, `completion_ids` and `logprobs` of each of `prompts`, whose repeats stand side by side."""
        begun, step = time.perf_counter(), trainer.state.global_step
        sampling, (uri, painting) = self._sampling(trainer), self._show(trainer)
        asked = self._asked(prompts, trainer, uri, step)
        answers = self.pool.sample(asked, sampling)
        seconds = time.perf_counter() - begun
        groups = gather_object(_groups(asked, answers))  # of all processes; the first keeps the log
        if trainer.accelerator.is_main_process:
            self._record(step, {"painting": painting, "seconds": round(seconds, 3), "groups": groups})
        logged, failures = trainer._metrics["train"], sum(answer.failures for answer in answers)
        logged["rollout/seconds"].append(seconds)
        logged["rollout/picture_bytes"].append(float(len(uri) * (len(asked) + failures)))
        logged["rollout/failures"].append(float(failures))
        replies = [reply for answer in answers for reply in answer.replies]
        return {
            "prompt_ids": [one.prompt_ids for one in asked for _ in range(one.n)],
            "completion_ids": [reply.ids for reply in replies],
            "logprobs": [reply.logprobs for reply in replies],
        }

    def check(self, trainer: Any) -> None:
        """Try every server with the longest problem.

        Raises `BadInput` for one that answers but cannot be used, or where none answers. Others may come later.
        """
        prompt = max(trainer.train_dataset["prompt"], key=lambda turns: sum(len(turn["content"]) for turn in turns))
        uri, _ = self._show(trainer)
        (asked,) = self._asked([prompt, prompt], trainer, uri, 0)
        sampling = self._sampling(trainer)
        silent = []
        for server in (seat.server for seat in self.pool.seats):
            try:
                replies = server.sample(asked, sampling)
            except Unreachable as error:
                silent.append(str(error))
                continue
            except Unusable as error:
                raise BadInput(f"cannot take rollouts from {error}") from error
            gap = logprob_gap(trainer.model, [asked] * len(replies), replies, sampling.temperature)
            if gap > FAR:
                raise BadInput(
                    f"cannot take rollouts from {server.url}: its log-probabilities are {gap:.2f} nats a token from "
                    "those here. It serves another model, or does not show it the picture, or reports them before "
                    "temperature (vLLM: --logprobs-mode processed_logprobs)"
                )
        if len(silent) == len(self.pool.seats):
            raise BadInput(f"cannot take rollouts from {'; '.join(silent)}. A slow server wants a larger patience")
        for failure in silent:
            self.pool.warn(f"{failure}; going on without it until it answers")

    def _show(self, trainer: Any) -> tuple[str, str]:
        """The current painting as a `data:` URI, and its hash."""
        painting = art_layer(trainer.model).painting("default")
        return data_uri(painting.png()), sha256(painting.pixels)

    def _sampling(self, trainer: Any) -> Sampling:
        return Sampling(
            max_tokens=trainer.max_completion_length,
            temperature=trainer.temperature,
            top_p=trainer.top_p,
            top_k=trainer.top_k,
            min_p=trainer.min_p or 0.0,
            repetition_penalty=trainer.repetition_penalty,
            forbidden=tuple(vision_tokens(trainer.model.config)),
            template=self.template | trainer.chat_template_kwargs,
        )

    def _asked(self, prompts: list[Any], trainer: Any, uri: str, step: int) -> list[Asked]:
        groups = [list(same) for _, same in groupby(prompts)]
        ids = trainer.processing_class.apply_chat_template(
            [group[0] for group in groups],
            chat_template=trainer.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **trainer.chat_template_kwargs,
        )["input_ids"]
        pad = trainer.model.config.image_token_id
        # vLLM gives the k-th of n completions the seed plus k, so the groups stand as far apart as they are large.
        first = random.Random(f"{self.seed} {step} {trainer.accelerator.process_index}").getrandbits(48)
        seeds = accumulate([first, *map(len, groups[:-1])])
        return [
            Asked(without_picture(group[0]), uri, list(read), pad, len(group), seed)
            for group, read, seed in zip(groups, ids, seeds, strict=True)
        ]

    def _record(self, step: int, line: dict[str, Any]) -> None:
        """Append to the log. At first, what an interrupted run did after the checkpoint that is gone on from goes."""
        if not self.begun:
            kept = [json.dumps(old) + "\n" for old in read_metrics(self.path) if old["step"] < step]
            write_whole(self.path, "".join(kept))
            self.begun = True
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step} | line) + "\n")


def _groups(asked: list[Asked], answers: list[Answer]) -> list[dict[str, Any]]:
    """What the log keeps of each group of completions."""
    return [
        {
            "question": one.messages[-1]["content"],
            "server": answer.url,
            "seed": one.seed,
            "lengths": [len(reply.ids) for reply in answer.replies],
            "failures": answer.failures,
        }
        for one, answer in zip(asked, answers, strict=True)
    ]


def urls(spec: str) -> list[str]:
    """The URLs in `URL[,URL...]`. Raises `BadInput`."""
    found = [url.strip() for url in spec.split(",") if url.strip()]
    wrong = [url for url in found if not url.startswith(("http://", "https://"))]
    if wrong or not found:
        raise BadInput(f"rollouts is {spec!r}; write model, or http://HOST:PORT[,http://HOST:PORT...]")
    return found
