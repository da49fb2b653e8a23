"""What survives of a painting that a service encodes anew, with and without `--robust` training.

    ARTTUNE_DATA=FOLDER python benchmarks/robust.py --start A.png --seeds 0 1 2 --json FILE

Each run is `arttune train --task TASK --start START [--robust]` and stays in its folder under `--out`, so that the
same command goes on where it was interrupted. Its painting is then scored as it is, after JPEG at several qualities
(colours at half the size, as encoders have it), after a resize there and back, and after a shift by a pixel or two; the
scores stay there too. The last four harms are stronger than what `--robust` trains through, or of another kind. The
last column is the difference, tested in pairs. Intervals and p cover the choice of problems, for these paintings; what
other seeds might give is seen from what each of these gave, in brackets. p is not corrected for the number of rows. The
last line is what always giving the commonest answer would get, which is no model: nothing below it has survived.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image

from arttune import Painting, training
from arttune.canvas import LEVELS, pixels_of, to_uint8
from arttune.compare.result import Answered
from arttune.compare.summary import paired, pooled, shares
from arttune.evaluate import Decoding, evaluate
from arttune.finishing import Exam
from arttune.loading import shown
from arttune.machine import describe
from arttune.models import Loaded, load_model
from arttune.records import PICTURE, write_whole
from arttune.settings import Settings
from arttune.style.robust import jpeg, resized, shifted
from arttune.tasks import Problem, Task, get_task
from arttune.tuner import art_layer


def webp(picture: torch.Tensor, quality: int) -> torch.Tensor:
    """A picture `(3, H, W)` in [0, 1] as it comes out of a WebP file."""
    data = io.BytesIO()
    Painting(to_uint8(picture)).picture.save(data, "WEBP", quality=quality)
    with Image.open(data) as read:
        return pixels_of(read.convert("RGB")).float() / LEVELS


def halved(picture: torch.Tensor) -> torch.Tensor:
    """A picture as it comes back from half its size, by the filter that most programs have."""
    whole = Painting(to_uint8(picture)).picture
    half = whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS)
    return pixels_of(half.resize(whole.size, Image.Resampling.LANCZOS)).float() / LEVELS


HARMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as it is": lambda picture: picture,
    "JPEG 90": lambda picture: jpeg(picture, 90),
    "JPEG 75": lambda picture: jpeg(picture, 75),
    "JPEG 50": lambda picture: jpeg(picture, 50),
    "resized to 0.8": lambda picture: resized(picture, 0.8),
    "resized to 1.25": lambda picture: resized(picture, 1.25),
    "shifted by 1, 2": lambda picture: shifted(picture, 1, 2),
    "JPEG 30": lambda picture: jpeg(picture, 30),
    "WebP 75": lambda picture: webp(picture, 75),
    "to half and back": halved,
    "to half, JPEG 75": lambda picture: jpeg(halved(picture), 75),
}


def run(robust: bool, seed: int, args: argparse.Namespace) -> Path:
    """One run, which is made, gone on with, or there already; its folder."""
    folder = Path(args.out) / f"{'robust' if robust else 'plain'}-{seed}"
    chosen = {"steps": args.steps, "validation": 0, "likeness": args.likeness, "test_limit": args.test}
    settings = Settings(task=args.task, start=args.start, robust=robust, seed=seed, **chosen)
    training.complete(settings, folder, print, Exam.beside(folder))
    return folder


def score(folder: Path, harm: str, loaded: Loaded, task: Task, problems: list[Problem]) -> Answered:
    """How the problems are answered with the painting of a run after a harm; kept in the run's folder."""
    kept = folder / f"after {harm}, {len(problems)}.json"
    if kept.is_file():
        return Answered(**json.loads(kept.read_text(encoding="utf-8")))
    painting = Painting(to_uint8(HARMS[harm](Painting.load(folder / PICTURE).pixels.float() / LEVELS)))
    model = shown(loaded.model, painting)
    tokens = art_layer(model).configs["default"].tokens
    how = {"split": "test", "model_name": "smol", "adapter": "art", "seed": 0, "picture_tokens": tokens}
    found, samples = evaluate(model, loaded.tokenizer, task, problems, decoding=Decoding(task.max_new_tokens), **how)
    model.unload()
    answered = Answered(found.as_dict(), [sample.correct for sample in samples])
    write_whole(kept, json.dumps(asdict(answered)) + "\n")
    return answered


def main() -> None:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("--task", default="svamp")
    reads.add_argument("--start", default="grey")
    reads.add_argument("--likeness", type=float)
    reads.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    reads.add_argument("--steps", type=int, default=450)
    reads.add_argument("--test", type=int, default=150, help="problems to score on; 0 for all")
    reads.add_argument("--out", default="runs/robust")
    reads.add_argument("--json", type=Path)
    args = reads.parse_args()
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
    folders = {robust: [run(robust, seed, args) for seed in args.seeds] for robust in (False, True)}
    loaded, task = load_model("smol", "auto"), get_task(args.task)
    problems = task.load("test")[: args.test or None]
    rows: dict[str, dict[bool, list[Answered]]] = {}
    for harm in HARMS:
        rows[harm] = {
            robust: [score(folder, harm, loaded, task, problems) for folder in each] for robust, each in folders.items()
        }
    print(f"smol, {args.task}, {args.steps} steps of 8 from {args.start}, seeds {args.seeds}; {describe()}")
    print("  after: plain (by seed), --robust (by seed), difference")
    for harm, right in rows.items():
        told = []
        for each in right.values():
            share, (low, high) = pooled(each)
            seeds = ", ".join(f"{one.score['accuracy']:.1%}" for one in each)
            told.append(f"{share:5.1%} [{low:5.1%}, {high:5.1%}] ({seeds})")
        mean, (low, high), p = paired(shares(right[True]), shares(right[False]))
        told.append(f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], p {p:.2g}")
        print(f"  {harm:18} {'   '.join(told)}")
    commonest = Counter(problem.answer for problem in problems).most_common(1)[0][1]
    print(f"  always the commonest answer: {commonest / len(problems):.1%}")
    if args.json:
        whole = {robust: pooled(right)[0] or 1 for robust, right in rows["as it is"].items()}
        ratios = {
            f"{'robust' if robust else 'plain'}: {harm}/as it is": pooled(right[robust])[0] / whole[robust]
            for harm, right in rows.items()
            for robust in (False, True)
        }
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
