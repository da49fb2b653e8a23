"""Runs a comparison cell by cell. What is finished is kept, so an interrupted comparison goes on where it stopped."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from arttune import adapters, training
from arttune.compare import controls
from arttune.compare.origin import fingerprints, hold_to
from arttune.compare.plan import CONTROLS, Cell, Comparison
from arttune.compare.result import Answered, Result
from arttune.errors import BadInput, Failed
from arttune.evaluate import Z95, Decoding, evaluate
from arttune.finishing import Exam
from arttune.machine import circumstances, hand_back, precision
from arttune.models import Loaded
from arttune.objectives import Problems
from arttune.prompts import worded
from arttune.records import (
    METRICS,
    PICTURE,
    RESULTS,
    WEIGHTS,
    held,
    read_metrics,
    write_lines,
    write_whole,
)
from arttune.settings import Settings
from arttune.style.starts import start_pixels
from arttune.tasks import Problem, Task, get_task
from arttune.tuner import ArtConfig

CONFIG, DONE, ASTRAY = "comparison.yaml", "cell.json", "astray.txt"

Say = Callable[[str], None]


class Astray(Exception):
    """Numbers ran out at an adapter's rate, which is struck out; what was trained at it is made anew."""


def check(plan: Comparison) -> None:
    """Raises `BadInput` for what is wrong with a comparison's input, without the model's weights."""
    hall = Hall(plan, Path(), lambda line: None)
    hall.opened = training.opened(plan.run, weightless=True)
    hall.check()


def compare(
    plan: Comparison,
    out: Path,
    say: Say = lambda line: None,
    shown: Callable[[dict[Cell, Result]], None] = lambda found: None,
) -> dict[Cell, Result]:
    """Run all cells into the folder `out`, or what is missing of them there. `shown` is called after each.

    Raises `BadInput` for anything wrong with the input, and for a folder of another comparison.
    """
    plan = _same(plan, out)
    hall = Hall(plan, out, say)
    missing = not all(hall.file(cell).is_file() for cell in plan.cells())
    if missing:
        hall.check()
    out.mkdir(parents=True, exist_ok=True)
    with held(out):
        write_whole(out / CONFIG, plan.as_yaml())
        if missing:
            hold_to(out, hall.fingerprints())
        return hall.run(shown)


def _same(plan: Comparison, out: Path) -> Comparison:
    """`plan` in the precision of what is in `out` already. Raises `BadInput` if that is anything else."""
    if not (out / CONFIG).is_file():
        if out.exists() and any(out.iterdir()):
            raise BadInput(f"{out} exists and is no comparison; choose another folder")
        return replace(plan, run=replace(plan.run, dtype=precision(plan.run.dtype)))
    begun = Comparison.read(out / CONFIG)
    kept = {name: getattr(plan.run, name) for name in training.MOVABLE}
    dtype = begun.run.dtype if plan.run.dtype == "auto" else plan.run.dtype
    ours = replace(plan, run=replace(plan.run, dtype=dtype))
    if ours != replace(begun, run=replace(begun.run, **kept)):
        raise BadInput(f"{out} holds another comparison, see {out / CONFIG}; choose another folder")
    return ours


@dataclass
class Hall:
    """Where the cells of a comparison hang: the model, the problems, and the folder for what is found."""

    plan: Comparison
    out: Path
    say: Say
    rates: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Raises `BadInput` for what would be found wrong only after some cells."""
        tasks, problems = self.tasks, self.opened[0]
        names = [task.name for task, _ in tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadInput(f"also: {', '.join(twice)} is there already; name each task once")
        for task, asked in tasks:
            if not asked:
                raise BadInput(f"also: {task.name} has no test problem with a prompt this short; raise max_prompt")
        if self.plan.chooses and not problems.validation:
            raise BadInput("there are too few training problems to keep some for validation, which chooses; add some")
        if "few-shot" in self.plan.controls:
            controls.solved(self.plan, problems)
        if "artwork" in self.plan.controls:
            start_pixels(str(self.plan.artwork), self.canvas.canvas_size, self.canvas.ground)

    def fingerprints(self) -> dict[str, str]:
        """Of all that the cells have in common."""
        problems, loaded = self.opened
        asked = [one for _, several in self.tasks for one in several]
        return fingerprints(loaded, [*problems.train, *problems.validation, *asked], self.plan.artwork)

    @cached_property
    def opened(self) -> tuple[Problems, Loaded]:
        """The problems of the run that all have in common, and the model."""
        return training.opened(self.plan.run)

    @cached_property
    def canvas(self) -> ArtConfig:
        """The canvas of that run."""
        return training.canvas_config(self.plan.run, *self.opened)

    @cached_property
    def tasks(self) -> list[tuple[Task, list[Problem]]]:
        """The task and what else is asked, with the problems that are put to all."""
        (problems, loaded), run = self.opened, self.plan.run
        found = [(problems.task, problems.test)]
        for name in self.plan.also:
            task = get_task(name)
            asked = worded(task.load("test"), loaded.tokenizer, run.max_prompt, run.test_limit or None)
            found.append((task, asked))
        return found

    def file(self, cell: Cell) -> Path:
        """That of a cell, which is there once the cell is finished."""
        return self.out / cell.folder / DONE

    def run(self, shown: Callable[[dict[Cell, Result]], None]) -> dict[Cell, Result]:
        """All cells; see `compare`."""
        while True:
            found = {cell: Result.read(self.file(cell)) for cell in self.plan.cells() if self.file(cell).is_file()}
            if found:
                shown(found)  # once: what is written of them is never less than what there is
            try:
                for cell in self.plan.cells():
                    if cell not in found:
                        made = found | {cell: self.result(cell)}
                        found = {one: made[one] for one in self.plan.cells() if one in made}
                        shown(found)
                return found
            except Astray as error:
                self.say(str(error))
            except BadInput as error:
                if not found:
                    raise
                raise Failed(str(error)) from error  # as of a server that is gone since the first cell

    def result(self, cell: Cell) -> Result:
        """That of a cell, which is made. Raises `Astray` where it cannot be made like this."""
        path = self.file(cell)
        made = self.control(cell) if cell.name in CONTROLS else self.trained(cell)
        path.parent.mkdir(exist_ok=True)
        write_whole(path, json.dumps(asdict(replace(made, made=circumstances()))) + "\n")
        return Result.read(path)

    def control(self, cell: Cell) -> Result:
        """The scores of what is not trained."""
        self.say(f"{CONTROLS[cell.name]}, seed {cell.seed}")
        problems, loaded = self.opened
        with controls.seeing(self.plan, cell, loaded, self.canvas) as (model, tokens):

            def right(put: controls.Put) -> int:
                found = self._answered(model, tokens, cell, problems.task, problems.validation, put, "validation")
                return int(found.score["correct"])

            put = controls.wording(self.plan, cell, loaded, self.canvas, problems, right)
            answered = [self._answered(model, tokens, cell, *each, put) for each in self.tasks]
        plain, asked = problems.test[0].question, put(problems.test[0]).question
        return Result(answered, wording=asked.removeprefix(plain).strip() if cell.name == "instruction" else None)

    def trained(self, cell: Cell) -> Result:
        """The scores of an adapter, which is trained first."""
        rate = self._rate(cell.name)
        folder = self.out / cell.folder
        self.say(f"{cell.name}, seed {cell.seed}, at a rate of {rate:g}")
        try:
            self._run(self.plan.settings(cell, rate), folder, "test")
        except FloatingPointError as error:
            for other in self.plan.cells():  # before the rate is struck out: a kill in between must not leave one of it
                if other.name == cell.name:
                    shutil.rmtree(self.out / other.folder, ignore_errors=True)
            self._strike(cell.name, rate, str(error))
            raise Astray(f"{cell.name} went astray at {rate:g}; all its seeds are trained at another rate") from error
        answered = [Answered.of_run(folder)]
        if self.plan.also:
            hand_back()  # the run's model, before another is loaded
            model = adapters.reloaded(self.opened[1].model, cell.name, folder)
            tokens = self.canvas.tokens if cell.name == adapters.ART else 0
            answered += [self._answered(model, tokens, cell, *each) for each in self.tasks[1:]]
            adapters.without(model)
        file = folder / (PICTURE if cell.name == adapters.ART else WEIGHTS)
        took = [line["seconds"] for line in read_metrics(folder / METRICS) if "seconds" in line]
        seconds = len(took) * statistics.median(took)  # so what else the machine did now and then does not count
        return Result(answered, rate, adapters.trained_parameters(folder), file.stat().st_size, seconds)

    def _answered(
        self,
        model: Any,
        tokens: int,
        cell: Cell,
        task: Task,
        problems: list[Problem],
        put: controls.Put = lambda one: one,
        split: str = "test",
    ) -> Answered:
        run = self.plan.run
        longest = run.max_new_tokens if task.name == self.tasks[0][0].name else None  # other tasks say themselves
        score, samples = evaluate(
            model,
            self.opened[1].tokenizer,
            task,
            [put(one) for one in problems],
            split=split,
            model_name=run.model,
            adapter=cell.name,
            seed=cell.seed,
            picture_tokens=tokens,
            decoding=Decoding(longest or task.max_new_tokens, presence_penalty=run.presence_penalty),
        )
        if split == "test":
            said = [{"question": one.question, "answer": one.answer, "completion": one.completion} for one in samples]
            path = self.out / cell.folder / "answers" / f"{task.name.replace(':', '_')}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_lines(path, said)
        return Answered(score.as_dict(), [sample.correct for sample in samples])

    def _rate(self, name: str) -> float:
        """The rate that short runs with each of the adapter's rates speak for.

        Of those whose validation score is within a standard error of the best one's, it is the one that learned most,
        by the loss (or reward) of its last steps: of so few problems chance decides who comes first.
        """
        rates = self.plan.rates[name]
        sound = [rate for rate in rates if not (self._trial(name, rate) / ASTRAY).is_file()]
        if len(rates) == len(sound) == 1:
            return rates[0]
        if name not in self.rates:
            tried = [self._tried(name, rate) for rate in sound]
            if all(learned == -math.inf for *_, learned, _ in tried):
                told = ", ".join(f"{rate:g}" for rate in rates)
                raise BadInput(f"rates: {name} goes astray at all of {told}; name lower ones, in another folder")
            leader = max(share - error for share, error, *_ in tried)
            self.rates[name] = max((learned, rate) for share, _, learned, rate in tried if share >= leader)[1]
        return self.rates[name]

    def _trial(self, name: str, rate: float) -> Path:
        """The folder of the short run that tries a rate; `ASTRAY` in it strikes the rate out."""
        return self.out / "search" / f"{name}-{rate:g}"

    def _strike(self, name: str, rate: float, why: str) -> None:
        self.rates.pop(name, None)
        self._trial(name, rate).mkdir(parents=True, exist_ok=True)
        write_whole(self._trial(name, rate) / ASTRAY, why + "\n")

    def _tried(self, name: str, rate: float) -> tuple[float, float, float, float]:
        """Validation accuracy, its standard error, how well the last steps went, and the rate."""
        folder = self._trial(name, rate)
        if not (folder / RESULTS).is_file():
            self.say(f"trying {name} at a rate of {rate:g}")
        try:
            score = self._run(self.plan.search(name, rate), folder, "validation")[-1]
        except FloatingPointError as error:
            self.say(f"that rate is too high: {error}")
            self._strike(name, rate, str(error))
            return 0.0, 1.0, -math.inf, rate
        (low, high), share = score["ci95"], score["accuracy"]
        key, sign = ("reward", 1.0) if self.plan.run.objective == "grpo" else ("loss", -1.0)
        course = [sign * line[key] for line in read_metrics(folder / METRICS) if key in line]
        last = course[-max(1, len(course) // 5) :]
        learned = sum(last) / len(last)
        return share, (high - low) / (2 * Z95), learned if math.isfinite(learned) else -math.inf, rate

    def _run(self, settings: Settings, folder: Path, split: str) -> list[dict[str, Any]]:
        """The scores of a run, which is begun, gone on with, or already done."""
        if not (folder / RESULTS).is_file():
            self.__dict__.pop("opened", None)  # the run loads a model of its own, and two may be too many
        return training.complete(settings, folder, self.say, Exam.beside(folder, split))
