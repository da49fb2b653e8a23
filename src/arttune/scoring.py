"""`arttune eval`: from names to one score."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from tqdm.auto import tqdm

from arttune import adapters
from arttune.canvas import Painting
from arttune.errors import BadInput
from arttune.evaluate import Decoding, Sample, Score, evaluate
from arttune.given import named_values
from arttune.loading import load
from arttune.machine import PRECISIONS
from arttune.models import Loaded, load_model, untrained
from arttune.prompts import fix_template, with_instruction, worded
from arttune.records import WEIGHTS, damaged, resume_command
from arttune.settings import CONFIG, Settings
from arttune.tasks import Problem, Task, get_task
from arttune.tuner import art_layer


@dataclass(frozen=True)
class Request:
    """What is to be scored: names and limits as a user gives them."""

    model: str
    task: str
    adapter: str
    data: Path | None = None
    split: str = "test"
    limit: int | None = None
    batch_size: int = 150
    max_new_tokens: int | None = None
    presence_penalty: float = 0.0
    max_prompt: int | None = None
    grader: str | None = None
    reward: str | None = None
    instruction: str | None = None
    template: str | None = None
    dtype: str = "auto"
    threads: int | None = None
    seed: int = 0


@dataclass
class Ready:
    """A request whose every name was found.

    `art` is the painting's file, `template` what the chat template was given, `warnings` are for the user to read.
    """

    request: Request
    task: Task
    problems: list[Problem]
    loaded: Loaded
    model: Any
    picture_tokens: int = 0
    art: Path | None = None
    template: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def adapter(self) -> str:
        """What is scored, in a word."""
        if isinstance(self.model, PeftModel):
            return adapters.named(self.model)
        return "instruction" if self.request.instruction else "none"

    def run(self) -> tuple[Score, list[Sample]]:
        """Answer and grade, with a progress bar on stderr."""
        with tqdm(total=len(self.problems), unit="problem", leave=False) as bar:
            return evaluate(
                self.model,
                self.loaded.tokenizer,
                self.task,
                self.problems,
                split=self.request.split,
                model_name=self.request.model,
                adapter=self.adapter,
                seed=self.request.seed,
                picture_tokens=self.picture_tokens,
                decoding=Decoding(
                    self.request.max_new_tokens or self.task.max_new_tokens,
                    self.request.batch_size,
                    self.request.presence_penalty,
                ),
                progress=lambda done: bar.update(done - bar.n),
            )


def open_request(request: Request) -> Ready:
    """Find task, painting and model. Raises `BadInput` for anything that is not there or does not fit."""
    if request.split not in ("train", "test"):
        raise BadInput(f"split is {request.split!r}; use train or test")
    if request.dtype not in PRECISIONS:
        raise BadInput(f"dtype is {request.dtype!r}; use {', '.join(PRECISIONS)}")
    if request.threads:
        torch.set_num_threads(request.threads)
    task = get_task(request.task, request.data, request.grader, request.reward)
    problems = task.load(request.split)
    weights = weights_folder(request.adapter)
    art = None if request.adapter == "none" or weights else painting_file(request.adapter)
    # Read before the model is loaded, so that an unreadable picture is found at once.
    made = None if art is None else Painting.load(art).provenance
    kept = Settings.read(weights / CONFIG, {}) if weights and (weights / CONFIG).is_file() else None
    told = request.template or (kept.template if kept else None)
    template = named_values("template", told) or (made.template if made else {})
    loaded = load_model(request.model, request.dtype)
    fix_template(loaded.tokenizer, template)
    problems = worded(problems, loaded.tokenizer, request.max_prompt, request.limit)
    if not problems:
        limit = f" with a prompt of at most {request.max_prompt} tokens" if request.max_prompt else ""
        raise BadInput(f"{request.task} has no {request.split} problem{limit}")
    if request.instruction:
        problems = [replace(one, prompt=with_instruction(one.prompt, request.instruction)) for one in problems]
    warnings = untrained(loaded, (one.completion for one in problems))
    if weights:
        trained_on = kept.model if kept else PeftConfig.from_pretrained(str(weights)).base_model_name_or_path
        try:
            seeing = PeftModel.from_pretrained(loaded.model, str(weights))
        except SafetensorError as error:
            raise damaged(weights / WEIGHTS, error) from None
        except (RuntimeError, ValueError) as error:  # other shapes, or no module of that name
            raise BadInput(
                f"{weights} was trained for {trained_on} and does not fit {request.model}; name its model with --model"
            ) from error
        warnings += of_another(weights, "trained", trained_on, request.model, loaded)
        return Ready(request, task, problems, loaded, seeing, template=template, warnings=warnings)
    if art is None:
        return Ready(request, task, problems, loaded, loaded.model, template=template, warnings=warnings)
    model = load(loaded.model, art)
    warnings += of_another(art, "painted", made.model if made else None, request.model, loaded)
    tokens = art_layer(model).configs["default"].tokens
    return Ready(request, task, problems, loaded, model, tokens, art, template, warnings)


def of_another(adapter: Path, made: str, model: str | None, asked: str, loaded: Loaded) -> list[str]:
    """A warning where an adapter was `made` ("painted", "trained") for a model other than the `asked` one."""
    if model in (None, asked, loaded.model.name_or_path):
        return []
    return [f"{adapter} was {made} for {model}, not for {asked}; it may do nothing here"]


def weights_folder(adapter: str | Path) -> Path | None:
    """`adapter` as a folder if it is that of another adapter than a canvas, with PEFT's weights. Raises `BadInput`."""
    config = Path(adapter) / "adapter_config.json"
    if not config.is_file():
        return None
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("peft_type")
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(config, error) from None
    return Path(adapter) if kind != "ART" else None


def painted_for(adapter: Path) -> str:
    """The model that a painting says it was made for. Raises `BadInput` if it does not say."""
    path = painting_file(str(adapter))
    made = Painting.load(path).provenance
    if made is None or made.model is None:
        raise BadInput(f"{path} does not say which model it was painted for; name it with --model")
    return made.model


def painting_file(adapter: str) -> Path:
    """The PNG that `adapter` names: itself, or that of a run folder. Raises `BadInput`."""
    path = Path(adapter)
    if weights_folder(path):
        raise BadInput(f"{path} holds another adapter than a painting: there is no picture to show")
    if path.is_dir():
        if not (path / "art.png").is_file():
            raise BadInput(f"{path} has no art.png; is the run finished? arttune {resume_command(path)}")
        return path / "art.png"
    if not path.is_file():
        raise BadInput(f"adapter {adapter!r}: no such run folder or picture; give one, or none for the text alone")
    return path
