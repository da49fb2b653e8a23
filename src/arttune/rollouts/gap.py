"""How far a server's log-probabilities are from the model's here: the evidence that both see the same."""

from __future__ import annotations

from typing import Any

import torch

from arttune.rollouts.server import Asked, Reply
from arttune.tuner import vision_tokens

# Nats a token. Two programs in bfloat16 differ by some 0.05; a model of another size, or a picture not shown, by more.
FAR = 0.5


@torch.no_grad()
def logprob_gap(model: Any, asked: list[Asked], replies: list[Reply], temperature: float = 1.0) -> float:
    """Mean distance, in nats a token, of the log-probabilities of `replies` from those of `model`, shown its canvas.

    One reply for each of `asked`. The vision tokens, which a server may not sample, have no share here either.
    """
    banned, off, count = vision_tokens(model.config), 0.0, 0
    for one, reply in zip(asked, replies, strict=True):
        ids = torch.tensor([one.prompt_ids + reply.ids], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(one.prompt_ids) - 1 : -1].float() / temperature
        logits[:, banned] = -torch.inf
        ours = logits.log_softmax(-1).gather(1, ids[0, len(one.prompt_ids) :, None])[:, 0]
        off += float((ours.cpu() - torch.tensor(reply.logprobs)).abs().sum())
        count += len(reply.ids)
    return off / count
