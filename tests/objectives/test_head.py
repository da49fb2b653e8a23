"""TRL's head multiplies in the model's precision on a CPU, and the gradient stays what it is."""

from __future__ import annotations

import pytest
import torch
import trl.trainer.utils
from trl.kernels import chunked_logprob

from arttune.objectives import head


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 6e-3)])
def test_the_gradient_is_the_one_in_float32(dtype, off, monkeypatch):
    monkeypatch.setattr(trl.trainer.utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 32768)
    monkeypatch.setattr(chunked_logprob, "_addmm_fp32", head._gpu)
    torch.manual_seed(0)
    hidden = torch.randn(40, 64).to(dtype).requires_grad_()
    weight, targets = torch.randn(9000, 64).to(dtype), torch.randint(0, 9000, (40,))

    def pulled() -> torch.Tensor:
        score = trl.trainer.utils._ChunkedLogProbFunction.apply
        given = hidden, weight, None, targets, 1.0, trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0, ()
        return torch.autograd.grad(score(*given)[0].mean(), hidden)[0].float()

    theirs, calls, ours = pulled(), [], head._added
    monkeypatch.setattr(head, "_added", lambda *given: (calls.append(given[1].dtype), ours(*given))[1])
    head.suit_cpu()
    found = pulled()
    assert calls == [dtype] * 3, "a product for each tile, in the model's precision"
    assert (found - theirs).norm() <= off * theirs.norm()


def test_what_lies_beside_a_tile_does_not_count():
    """As in TRL's last one, 263 columns of a wider buffer, whose others hold anything."""
    generator = torch.Generator().manual_seed(0)
    buffer = torch.full((40, 4096), float("nan"), dtype=torch.bfloat16)
    tile, right = buffer[:, :263], torch.randn(263, 64, generator=generator).bfloat16()
    tile.copy_(torch.randn(40, 263, generator=generator))
    total = torch.zeros(40, 64)
    head._added(total, tile, right)
    expected = tile.float() @ right.float()
    assert (total - expected).norm() <= 6e-3 * expected.norm()
