"""The end of a run: the painting saved and scored, every answer, plots and the gallery's page; and what is next."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from arttune import adapters
from arttune.canvas import Painting, Provenance
from arttune.evaluate import Sample, Score
from arttune.given import named_values
from arttune.machine import precision
from arttune.objectives import Studio
from arttune.records import PICTURE, RESULTS, SAMPLES, write_whole
from arttune.report import gallery, learning_curve, start_and_end
from arttune.settings import CONFIG, Settings
from arttune.style.looks import Looks
from arttune.tuner import art_layer


def finish(studio: Studio, steps: int, split: str) -> list[Score]:
    """Write what is left of the run folder; `steps` is when the painting is from. Returns both scores, on `split`."""
    settings, out = studio.settings, studio.folder
    studio.model.save_pretrained(str(out), selected_adapters=["default"])
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    scores, samples = _hung(studio, steps, split) if studio.paints else _before_and_after(studio, split)
    _write_samples(out / SAMPLES, samples)
    title = f"{studio.problems.task.name} · {settings.model} · {settings.objective}"
    learning_curve(studio.metrics.lines, out / "learning_curve.png", title)
    write_whole(out / RESULTS, json.dumps({"scores": [s.as_dict() for s in scores]}, indent=2) + "\n")
    if studio.paints:
        gallery.write([out], out / gallery.PAGE)
    return scores


def _hung(studio: Studio, steps: int, split: str) -> tuple[list[Score], list[list[Sample]]]:
    """The painting saved, with how it scores in its provenance."""
    settings, out, config = studio.settings, studio.folder, studio.config
    canvas = art_layer(studio.model).canvas()
    made = Provenance(
        model=settings.model,
        revision=studio.loaded.revision,
        family=studio.loaded.family.name,
        start=config.start,
        looks={
            item.name: getattr(settings, item.name)
            for item in fields(Looks)
            if item.name != "start" and getattr(settings, item.name) != item.default
        },
        task=studio.problems.task.name,
        objective=settings.objective,
        template=named_values("template", settings.template),
        steps=steps,
        seed=settings.seed,
    )
    start, painting = canvas.start.cpu(), Painting(art_layer(studio.model).painting().pixels, made)
    painting.save(out / PICTURE)
    scores, samples = _before_and_after(studio, split)
    painting.provenance = replace(made, scores=[s.as_dict() for s in scores])
    painting.save(out / PICTURE)
    start_and_end(start, painting.pixels, out / "start_and_end.png")
    return scores, samples


def _before_and_after(studio: Studio, split: str) -> tuple[list[Score], list[list[Sample]]]:
    """The text-only model and the model with the adapter as it was saved, on the same test problems."""
    base, out = adapters.without(studio.model), studio.folder
    judged = studio.problems.test if split == "test" else studio.problems.validation
    what = "the painting" if studio.paints else studio.settings.adapter
    studio.say(f"scoring {len(judged)} {split} problems, text only and with {what}")
    with tqdm(total=2 * len(judged), unit="problem", leave=False) as bar:
        before = studio.score(base, judged, split, lambda n: _at(bar, n))
        model = adapters.reloaded(base, studio.settings.adapter, out)
        after = studio.score(model, judged, split, lambda n: _at(bar, len(judged) + n))
    return [before[0], after[0]], [before[1], after[1]]


def _at(bar: Any, done: int) -> None:
    bar.n = done
    bar.refresh()


def _write_samples(path: Path, samples: list[list[Sample]]) -> None:
    """Every test problem with both answers, one JSON object a line."""
    before, after = samples
    with path.open("w", encoding="utf-8") as handle:
        for b, a in zip(before, after, strict=True):
            line = {
                "question": a.question,
                "answer": a.answer,
                "text_only": {"completion": b.completion, "correct": b.correct},
                "trained": {"completion": a.completion, "correct": a.correct},
            }
            handle.write(json.dumps(line, ensure_ascii=False) + "\n")


def next_command(out: Path) -> str:
    """The arguments to type next: the painting scored on its own, on the very problems of the run's table."""
    settings = Settings.read(out / CONFIG, {})
    words = ["eval", "--model", settings.model, "--task", settings.task, "--adapter", str(out)]
    options = {
        "--data": settings.test_data,
        "--grader": settings.grader,
        "--reward": settings.reward,
        "--limit": settings.test_limit or None,
        "--presence-penalty": settings.presence_penalty or None,
        "--max-prompt": settings.max_prompt,
        "--max-new-tokens": settings.max_new_tokens,
        "--dtype": None if settings.dtype == precision("auto") else settings.dtype,
    }
    for name, value in options.items():
        words += [name, str(value)] if value is not None else []
    return shlex.join(words)
