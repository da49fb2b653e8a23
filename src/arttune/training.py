"""A training run from start to finish: settings in, one folder with a painting and its scores out.

Everything that can be wrong with the input is found before the folder is made. A run that is interrupted goes on from
its last checkpoint and ends with the same painting.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from transformers import Trainer, TrainerState

from arttune import adapters
from arttune.errors import BadInput
from arttune.evaluate import Score
from arttune.finishing import Exam, finish
from arttune.given import named_values
from arttune.machine import device, hand_back, keep_freed_memory, precision
from arttune.models import Loaded, load_model, untrained
from arttune.objectives import OBJECTIVES, Problems, Studio
from arttune.prompts import fix_template, worded
from arttune.records import (
    METRICS,
    RESULTS,
    Metrics,
    held,
    last_checkpoint,
    read_scores,
    resume_command,
)
from arttune.rollouts import NoServer
from arttune.settings import CONFIG, Settings
from arttune.style.atelier import tools
from arttune.style.looks import Looks
from arttune.style.starts import POSTER, start_pixels
from arttune.tasks import get_task, hold_out
from arttune.tuner import ArtConfig

MOVABLE = ("rollouts", "patience")
TEST = Exam()


def train(
    settings: Settings, out: Path, say: Callable[[str], None] = lambda line: None, exam: Exam = TEST
) -> list[Score]:
    """Paint. Writes the run folder `out`, which must not exist, and returns the untrained and the trained score.

    `say` is called with a line of progress now and then. Raises `BadInput` for anything wrong with the input, and then
    leaves nothing behind.
    """
    if out.exists():
        raise BadInput(f"{out} exists; choose another folder, or go on with it: arttune {resume_command(out)}")
    settings = _written(settings)
    problems, loaded = opened(settings)
    config = canvas_config(settings, problems, loaded)
    scratch = out.with_name(f".{out.name}.new")  # renamed once it holds what resuming needs
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    settings.write(scratch / CONFIG)
    scratch.rename(out)
    with held(out):
        try:
            ready = _set_up(settings, config, out, problems, loaded, say)
        except BaseException:
            shutil.rmtree(out)
            raise
        return _paint(*ready, None, exam)


def resume(
    out: Path, flags: dict[str, Any], say: Callable[[str], None] = lambda line: None, exam: Exam = TEST
) -> list[Score]:
    """Go on with the run in `out` from its last complete checkpoint, or from its start if it had none.

    `flags` may repeat the run's settings, but change only where completions are sampled (`MOVABLE`). Raises `BadInput`
    otherwise, or if there is no run, or if it is still going.
    """
    if not (out / CONFIG).is_file():
        raise BadInput(f"{out} is no run folder: it has no {CONFIG}. Start one with arttune train --out {out}")
    with held(out):
        return _resume(out, flags, say, exam)


def _resume(out: Path, flags: dict[str, Any], say: Callable[[str], None], exam: Exam) -> list[Score]:
    settings = Settings.read(out / CONFIG, {})
    asked = flags | ({"dtype": precision(flags["dtype"])} if "dtype" in flags else {})
    changed = settings.changed_by(asked)
    fixed = [name for name in changed if name not in MOVABLE]
    if fixed:
        raise BadInput(
            f"{', '.join(fixed)} cannot change when resuming; {out / CONFIG} says what the run was started with"
        )
    if (out / RESULTS).is_file():
        raise BadInput(f"{out} is finished; its scores are in {out / RESULTS}")
    if changed:
        settings = replace(settings, **{name: asked[name] for name in changed})
    problems, loaded = opened(settings)
    ready = _set_up(settings, canvas_config(settings, problems, loaded), out, problems, loaded, say)
    if changed:
        settings.write(out / CONFIG)
    return _paint(*ready, last_checkpoint(out), exam)


def complete(
    settings: Settings, out: Path, say: Callable[[str], None] = lambda line: None, exam: Exam = TEST
) -> list[dict[str, Any]]:
    """The scores of the run in `out`, which is begun, gone on with, or there already.

    Raises `BadInput` if what is there is a run of other settings.
    """
    begun = (out / CONFIG).is_file()
    if begun:
        other = Settings.read(out / CONFIG, {}).changed_by(asdict(_written(settings)))
        other = [name for name in other if name not in MOVABLE]
        if other:
            raise BadInput(f"{out} is a run of another {', '.join(other)}, see {out / CONFIG}; choose another folder")
    if not (out / RESULTS).is_file():
        hand_back()  # what a run before had: two may be too many
        if begun:
            resume(out, {name: getattr(settings, name) for name in MOVABLE}, say, exam)
        else:
            shutil.rmtree(out, ignore_errors=True)
            train(settings, out, say, exam)
    return read_scores(out)


def _written(settings: Settings) -> Settings:
    """Settings with what was left to the machine filled in, so that the run can be repeated elsewhere, and later."""
    return replace(settings, dtype=precision(settings.dtype), learning_rate=settings.rate)


def opened(settings: Settings, weightless: bool = False) -> tuple[Problems, Loaded]:
    """Problems and model of a run, everything checked; see `load_model`. Raises `BadInput`."""
    settings.check_tracker()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadInput("a run has one process, and this launcher starts several; start arttune without it")
    if settings.objective not in OBJECTIVES:
        raise BadInput(f"unknown objective {settings.objective!r}; there are {', '.join(OBJECTIVES)}")
    find = partial(get_task, settings.task, grader=settings.grader, reward=settings.reward)
    data = Path(settings.data) if settings.data else None
    test_data = Path(settings.test_data) if settings.test_data else None
    own = Path(settings.task).is_file()
    if own and data is not None:
        raise BadInput("data is for built-in tasks; your own training file is the task itself")
    task = find(data=test_data if own else data)
    if task.one_file:
        if test_data not in (None, data):
            raise BadInput(f"test_data is for tasks with a file for each split; {settings.task} has one for both, data")
        test_data = data
    everything = task.load("train")
    # One task serves both splits unless they come from different files: a generated one is made only once.
    test = (task if own or data == test_data else find(data=test_data)).load("test")
    if settings.objective == "sft":
        for problem in everything:
            if not problem.completion:
                raise BadInput(f"{problem.where}: no completion; sft needs one for each training problem")
    if settings.objective == "dpo":
        for problem in everything:
            if not problem.columns.get("chosen"):
                raise BadInput(f"{problem.where}: no chosen and rejected; dpo needs both for each training problem")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    keep_freed_memory()
    loaded = load_model(settings.model, settings.dtype, weightless)
    fix_template(loaded.tokenizer, named_values("template", settings.template))
    asked = worded(everything, loaded.tokenizer, settings.max_prompt)
    train_set, validation = hold_out(asked, settings.validation, settings.seed)
    test = worded(test, loaded.tokenizer, settings.max_prompt, settings.test_limit or None)
    if not train_set or not test:
        limit = f" with a prompt of at most {settings.max_prompt} tokens" if settings.max_prompt else ""
        raise BadInput(
            f"{settings.task} has {len(train_set)} training and {len(test)} test problems{limit}; both need some"
        )
    problems = Problems(task, train_set, validation, test)
    OBJECTIVES[settings.objective].check(settings, problems, Path(), torch.device(device()))
    return problems, loaded


def canvas_config(settings: Settings, problems: Problems, loaded: Loaded) -> ArtConfig:
    """The canvas of a run, with what it needs to look as it should; all checked. Raises `BadInput`."""
    config = ArtConfig(
        size=settings.size,
        seed=settings.seed,
        **{item.name: getattr(settings, item.name) for item in fields(Looks)},
        family=loaded.family.name,
        base_model_name_or_path=loaded.model.name_or_path,
        revision=loaded.revision,
    )
    if settings.start == POSTER:
        config.start = f"{POSTER}:{problems.poster()}"
    start = start_pixels(config.start, config.canvas_size, config.ground, config.seed)
    tools(config, start, config.seed)
    return config


def _set_up(
    settings: Settings,
    config: ArtConfig,
    out: Path,
    problems: Problems,
    loaded: Loaded,
    say: Callable[[str], None],
) -> tuple[Studio, Trainer]:
    for line in untrained(loaded, (one.reply for one in problems.train)):
        say(line)
    torch.manual_seed(settings.seed)  # of what PEFT draws
    model = get_peft_model(loaded.model, adapters.configured(settings.adapter, config, settings.rank))
    studio = Studio(settings, loaded, model, config, problems, Metrics(out / METRICS), out, say)
    return studio, OBJECTIVES[settings.objective].trainer(studio)


def _paint(studio: Studio, trainer: Trainer, checkpoint: Path | None, exam: Exam) -> list[Score]:
    settings, config = studio.settings, studio.config
    height, width = config.canvas_size
    what = f"painting {height}x{width} pixels ({config.tokens} tokens)" if studio.paints else f"{settings.adapter}"
    studio.say(
        f"{what} for {settings.task}: "
        f"{len(studio.problems.train)} problems, {settings.steps} steps of "
        f"{settings.rows}, {settings.dtype}" + (f", going on from {checkpoint.name}" if checkpoint else "")
    )
    return finish(studio, _run(studio, trainer, checkpoint), exam)


def _run(studio: Studio, trainer: Trainer, checkpoint: Path | None) -> int:
    """Train to the end; the canvas then holds the best validated picture. Returns the step it is from."""
    if checkpoint is None:
        studio.metrics.clear()
        state = _train(trainer)
    else:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step < studio.settings.steps:
            state = _train(trainer, resume_from_checkpoint=str(checkpoint))
        else:  # stopped between the last step and the scores: one more step would change the picture
            best = checkpoint.parent / Path(state.best_model_checkpoint or checkpoint).name
            studio.model.load_adapter(str(best), "default", is_trainable=True)
    return int(state.best_global_step or state.global_step)


def _train(trainer: Trainer, **how: Any) -> TrainerState:
    """Train; when no server is left to sample from, the steps done so far are saved before `NoServer` is passed on."""
    try:
        trainer.train(**how)
    except NoServer:
        if trainer.state.global_step:
            trainer._save_checkpoint(trainer.model, trial=None)
        raise
    return trainer.state
