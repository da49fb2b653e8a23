"""TRL's fused head (`add_fused_lm_head`) as it suits a CPU. It was made for GPUs.

Its tiles of the vocabulary are larger than a CPU's cache, and its backward pass multiplies them in float32 whatever the
model's precision, which takes four times as long as in bfloat16. The tiles hold bfloat16 already; their products are
still added up in float32.
"""

from __future__ import annotations

import torch
import trl.trainer.utils
from trl.kernels import chunked_logprob

# Columns of the vocabulary: a grpo step of 64 completions on two cores takes a quarter less than with TRL's 32,768.
TILE = 4096

_gpu = chunked_logprob._addmm_fp32


def suit_cpu() -> None:
    """For good, in this process; tensors on a GPU are multiplied as before, in smaller tiles."""
    trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE = TILE
    chunked_logprob._addmm_fp32 = _added


def _added(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add the product to the float32 `total`."""
    if left.device.type == "cpu":
        # TRL's last tile is a view of a wider buffer that nothing has written. On CPUs with AMX, the oneDNN of torch
        # 2.13 reads on to 32 columns and multiplies what lies there by zero: NaN stays (uxlfoundation/oneDNN#5717).
        total += left.contiguous() @ right
    else:
        _gpu(total, left, right)
