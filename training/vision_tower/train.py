"""Trains the vision tower of a test bed to see, while its language model stays as it is.

    python training/vision_tower/train.py --model smol --out runs/tower

Five stages, each from the one before:

spell   The lower half of the tower tells letters, digits and shapes apart, patch by patch.
codes   The alphabet (`codes.py`), through the frozen language model and without pictures.
see     The tower learns to tell, under each picture token (`scenes.py`), which name of its kind stands there:
        cross-entropy over the alphabet's vectors. No language model in the loop.
write   And then to write the vectors themselves.
read    Next-token loss on questions and answers through the frozen language model, back into the tower. In the same
        steps a picture must not hurt: with an empty, a noisy or an unrelated picture in front, the distribution on text
        problems is distilled from the model without one.

The finished tower is given the fine grain of pictures (`grain.py`), which takes no training.

Everything is drawn from the seed and the number of the step. Kill it at any time; the same command goes on from the
last checkpoint. `log.jsonl` gets a line every few steps. `--trunk FILE` takes the trunk of another bed's finished tower
as it is, and trains the merger alone. `--tower FILE` goes on from a finished tower with more of the last stage.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from arttune.errors import BadInput
from arttune.machine import PRECISIONS, precision
from arttune.models.graft import read_tower, save_tower
from codes import Codes
from grain import CHANNELS, with_grain, without_grain
from reader import Reader
from reading import Texts, learn_codes, learn_to_read
from run import Run
from seeing import learn_to_see, learn_to_spell, learn_to_write

# Reading a word means gathering its letters from several patches: many heads, and blocks above those that spell.
SHAPE = {
    "depth": 6,
    "hidden_size": 192,
    "num_heads": 6,
    "intermediate_size": 512,
    "fullatt_block_indexes": list(range(6)),
}


def begin(reader: Reader, args: argparse.Namespace) -> None:
    """Give the reader the tower to begin with: of this seed and untrained, or with the trunk of a finished tower.

    The grain of a finished tower is left behind; it is added again at the end.
    """
    reader.build(SHAPE, args.seed)
    if args.tower is not None:
        reader.tower.load_state_dict(without_grain(read_tower(args.tower)[1], reader.tower))
    elif args.trunk is not None:
        merger = {f"merger.{name}": weight for name, weight in reader.tower.merger.state_dict().items()}
        reader.tower.load_state_dict(without_grain(read_tower(args.trunk)[1] | merger, reader.tower))
        reader.tower.requires_grad_(False).merger.requires_grad_(True)
    reader.fold_patches()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smol", help="smol, or a folder that benchmarks/make_qwen.py made")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; goes on from what is in it")
    parser.add_argument(
        "--trunk",
        type=Path,
        help="tower.safetensors of another bed, whose trunk is taken as it is; only the merger is trained",
    )
    parser.add_argument("--tower", type=Path, help="tower.safetensors to go on from, with the stage read alone")
    parser.add_argument("--spell", type=int, default=3600, help="steps of spell")
    parser.add_argument("--codes", type=int, default=900, help="steps of codes")
    parser.add_argument("--see", type=int, default=12000, help="steps of see")
    parser.add_argument("--write", type=int, default=4000, help="steps of write")
    parser.add_argument("--read", type=int, default=600, help="steps of read")
    parser.add_argument("--grain", type=int, default=CHANNELS, help="channels of fine grain, whole heads of 32")
    parser.add_argument("--patches", type=int, default=768, help="patches in a step of all stages but codes and read")
    parser.add_argument("--rows", type=int, default=12, help="pictures in a step of read")
    parser.add_argument(
        "--sides", type=float, nargs=4, default=[0.48, 0.23, 0.23, 0.06], help="how often 112, 168, 224 and 448 pixels"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="peak rate of spell")
    parser.add_argument("--see-rate", type=float, default=6e-4, help="peak rate of see and write")
    parser.add_argument("--read-rate", type=float, default=3e-4, help="peak rate of read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--dtype", default="auto", choices=PRECISIONS, help="what is computed in; auto: the faster here"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--save-every", type=float, default=120, help="seconds between checkpoints")
    args = parser.parse_args()
    head = SHAPE["hidden_size"] // SHAPE["num_heads"]
    if args.grain < head or args.grain % head:
        parser.error(f"--grain: {args.grain} channels are not whole heads of {head}")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    decides = {name: value for name, value in vars(args).items() if name not in ("out", "threads", "save_every")}
    run = Run(args.out, args.save_every, decides)
    reader = Reader(args.model, dtype=getattr(torch, precision(args.dtype)))
    texts = Texts(reader, 80)
    begin(reader, args)
    if args.tower is None:
        if args.trunk is None:
            learn_to_spell(run, reader, args)
        codes = Codes(reader, args.seed).to(reader.device)
        learn_codes(run, reader, codes, texts, args)
        learn_to_see(run, reader, codes, args)
        learn_to_write(run, reader, codes, args)
    learn_to_read(run, reader, texts, args)
    grained = with_grain(reader.tower.cpu(), args.seed, args.grain)
    save_tower(grained, args.out / "tower.safetensors", {"seed": str(args.seed)})


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)
