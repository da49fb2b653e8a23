"""Lets a CUDA build of torchvision be imported beside a CPU build of torch; see `vllm_cpu.sh`, which installs it.

Imported at every start of that environment's Python, so it only leaves word of what is to be done when torchvision is
first imported.
"""

import sys
from importlib.abc import MetaPathFinder

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class Operators(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for name in ("nms", "qnms"):
                torch.library.define(f"torchvision::{name}", SCHEMA)
        return


sys.meta_path.insert(0, Operators())
