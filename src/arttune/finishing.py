"""The end of a run: the painting saved and scored, every answer, plots and the gallery's page; and what is next."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from arttune import adapters
from arttune.canvas import Painting, Provenance
from arttune.evaluate import Sample, Score
from arttune.given import named_values
from arttune.machine import precision
from arttune.objectives import Studio
from arttune.records import PICTURE, RESULTS, SAMPLES, read_samples, read_scores, write_lines, write_whole
from arttune.report import gallery, learning_curve, start_and_end
from arttune.settings import CONFIG, Settings
from arttune.style.looks import Looks
from arttune.tasks import get_task
from arttune.tuner import art_layer

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Exam:
    """What a run is scored on: the `split` test, or validation; then no test problem is looked at.

    `told` is a finished run of the same model whose text-only answers were made as this one's would be. They are taken
    from there if they are to the same problems.
    """

    split: str = "test"
    told: Path | None = None

    @classmethod
    def beside(cls, folder: Path, split: str = "test") -> Exam:
        """For the run in `folder`, told by any that is finished and lies beside it."""
        beside = sorted(path.parent for path in folder.parent.glob(f"*/{SAMPLES}"))
        return cls(split, next((run for run in beside if (run / RESULTS).is_file()), None))


def finish(studio: Studio, steps: int, exam: Exam) -> list[Score]:
    """Write what is left of the run folder; `steps` is when the painting is from. Returns both scores."""
    settings, out = studio.settings, studio.folder
    studio.model.save_pretrained(str(out), selected_adapters=["default"])
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    scores, lines = _hung(studio, steps, exam) if studio.paints else _before_and_after(studio, exam)
    write_lines(out / SAMPLES, lines)
    title = f"{studio.problems.task.name} · {settings.model} · {settings.objective}"
    learning_curve(studio.metrics.lines, out / "learning_curve.png", title)
    write_whole(out / RESULTS, json.dumps({"scores": [s.as_dict() for s in scores]}, indent=2) + "\n")
    if studio.paints:
        gallery.write([out], out / gallery.PAGE)
    return scores


def _hung(studio: Studio, steps: int, exam: Exam) -> tuple[list[Score], Lines]:
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
    scores, lines = _before_and_after(studio, exam)
    painting.provenance = replace(made, scores=[s.as_dict() for s in scores])
    painting.save(out / PICTURE)
    start_and_end(start, painting.pixels, out / "start_and_end.png")
    return scores, lines


def _before_and_after(studio: Studio, exam: Exam) -> tuple[list[Score], Lines]:
    """The text-only model and the model with the adapter as it was saved, on the same problems."""
    base, out, split = adapters.without(studio.model), studio.folder, exam.split
    problems = studio.problems.test if split == "test" else studio.problems.validation
    questions = [problem.question for problem in problems]
    before = _told(exam.told, questions) if exam.told else None
    what = "the painting" if studio.paints else studio.settings.adapter
    studio.say(f"scoring {len(problems)} {split} problems, {'' if before else 'text only and '}with {what}")
    with tqdm(total=(1 if before else 2) * len(problems), unit="problem", leave=False) as bar:
        if before is None:
            score, samples = studio.score(base, problems, split, lambda n: _at(bar, n))
            before = score, [_answer(sample) for sample in samples]
        model, done = adapters.reloaded(base, studio.settings.adapter, out), bar.n
        score, samples = studio.score(model, problems, split, lambda n: _at(bar, done + n))
    lines = [
        {"question": sample.question, "answer": sample.answer, "text_only": said, "trained": _answer(sample)}
        for said, sample in zip(before[1], samples, strict=True)
    ]
    return [replace(before[0], seed=score.seed), score], lines


def _answer(sample: Sample) -> dict[str, Any]:
    return {"completion": sample.completion, "correct": sample.correct}


def _told(run: Path, questions: list[str]) -> tuple[Score, Lines] | None:
    """The text-only score and answers of a finished run, if it was asked the same."""
    lines = read_samples(run)
    if [line["question"] for line in lines] != questions:
        return None
    score = read_scores(run)[0]
    return Score(**score | {"ci95": tuple(score["ci95"])}), [line["text_only"] for line in lines]


def _at(bar: Any, done: int) -> None:
    bar.n = done
    bar.refresh()


def next_command(out: Path) -> str:
    """The arguments to type next: the painting scored on its own, on the very problems of the run's table."""
    settings = Settings.read(out / CONFIG, {})
    words = ["eval", "--model", settings.model, "--task", settings.task, "--adapter", str(out)]
    one_file = settings.data is not None and get_task(settings.task).one_file
    options = {
        "--data": settings.test_data or (settings.data if one_file else None),
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
