"""One self-contained HTML page of paintings: how each came to be, what it does, and what it was made with.

Nothing on the page comes from anywhere else: pictures are data URIs, charts are inline SVG, and what moves is a few
lines of script. The painting on it is the file itself, to be saved from there.
"""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from arttune.canvas import Painting, open_picture, to_uint8
from arttune.errors import BadInput
from arttune.records import (
    METRICS,
    PICTURE,
    RESULTS,
    SAMPLES,
    WEIGHTS,
    damaged,
    read_metrics,
    read_samples,
    read_scores,
    resume_command,
    write_whole,
)
from arttune.report.before_after import sorted_out, told_apart
from arttune.report.charts import Axis, Series, chart
from arttune.report.frames import kept
from arttune.report.plots import LABELS, course, learned_by, running_mean, stretched
from arttune.settings import CONFIG, Settings
from arttune.style.likeness import alike

PAGE = "gallery.html"


@dataclass
class Exhibit:
    """A finished run, read from its folder."""

    folder: Path
    settings: Settings
    scores: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    painting: Painting
    frames: dict[int, Path]

    @classmethod
    def read(cls, folder: Path) -> Exhibit:
        """Raises `BadInput` for a folder that is no finished run, or one without a painting."""
        if not (folder / CONFIG).is_file():
            raise BadInput(f"{folder} is no run folder: it has no {CONFIG}")
        if not (folder / RESULTS).is_file():
            raise BadInput(f"{folder} has no {RESULTS}; is the run finished? arttune {resume_command(folder)}")
        if not (folder / PICTURE).is_file():
            raise BadInput(f"{folder} has no {PICTURE}: what it trained is no picture")
        if not (folder / SAMPLES).is_file():
            raise BadInput(f"{folder} has no {SAMPLES}, which has the answers; copy the whole folder of the run")
        if not (folder / WEIGHTS).is_file():
            raise BadInput(f"{folder} has no {WEIGHTS}, which has its start; copy the whole folder of the run")
        return cls(
            folder,
            Settings.read(folder / CONFIG, {}),
            read_scores(folder),
            read_samples(folder),
            read_metrics(folder / METRICS),
            Painting.load(folder / PICTURE),
            kept(folder),
        )

    @property
    def name(self) -> str:
        """What the page calls it."""
        return self.folder.resolve().name

    @cached_property
    def start(self) -> torch.Tensor:
        """The uint8 pixels it started from, before any brush."""
        path = self.folder / WEIGHTS
        try:
            held = load_file(path)
        except (OSError, SafetensorError) as error:
            raise damaged(path, error) from None
        found = [tensor for name, tensor in held.items() if name.endswith(".start")]
        if not found:
            raise BadInput(f"{path} holds no canvas: it is not of the run that painted {self.folder / PICTURE}")
        return found[0]

    @cached_property
    def likeness(self) -> float | None:
        """MS-SSIM of the painting to its start, where there is room for it."""
        return alike(self.painting.pixels, self.start)


def page(exhibits: Sequence[Exhibit]) -> str:
    """The HTML of a gallery of one or more paintings."""
    source = (Path(__file__).parent / "gallery.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    shown = [_shown(one, number) for number, one in enumerate(exhibits)]
    return template.render(exhibits=shown, overviews=_overviews(exhibits) if len(exhibits) > 1 else [])


def write(folders: Sequence[Path], path: Path) -> None:
    """A gallery of the runs in `folders` as the file `path`. Raises `BadInput` for one that is no finished run."""
    html = page([Exhibit.read(folder) for folder in folders])
    if path.is_dir():
        raise BadInput(f"{path} is a folder; name the page, such as {path / PAGE}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, html)


def _shown(one: Exhibit, number: int) -> dict[str, Any]:
    """What the template says of a run."""
    settings, (before, after) = one.settings, (one.scores[0], one.scores[-1])
    made = one.painting.provenance
    frames = _frames(one, made.steps if made is not None else None)
    common, samples = told_apart(one.samples)
    held = {} if made is None else {item.name: getattr(made, item.name) for item in fields(made)}
    told = {name: value for name, value in held.items() if value not in (None, [], {}) and name != "scores"}
    return {
        "id": f"run-{number}",
        "name": one.name,
        "task": after["task"],
        "model": after["model"],
        "objective": f"{settings.objective}, {settings.steps} steps of {settings.rows}",
        "scores": [_scored("text only", before), _scored("with the painting", after)],
        "painting": _uri((one.folder / PICTURE).read_bytes(), "png"),
        "thumbnail": _small(one.painting.picture),  # for the list that opens a page of several
        "start": _exact(Painting(one.start).picture),
        "change": _change(one.start, one.painting.pixels),
        "facts": _facts(one),
        "likeness": one.likeness,
        "frames": frames,
        "at": next((at for at, frame in enumerate(frames) if frame["picture"] is None), len(frames) - 1),
        "charts": _charts(one),
        "common": common,
        "examples": sorted_out(samples),
        "provenance": {name: str(value) for name, value in told.items()},
        "command": _command(settings),
    }


def _scored(name: str, score: dict[str, Any]) -> dict[str, Any]:
    low, high = score["ci95"]
    return {
        "name": name,
        "share": 100 * score["accuracy"],
        "low": 100 * low,
        "high": 100 * high,
        "told": f"{score['correct']} of {score['n']} {score['split']} problems",
    }


def _frames(one: Exhibit, painted: int | None) -> list[dict[str, Any]]:
    """The moments of training; the picture of the one that became the painting is the painting, and left out here."""
    return [
        {"step": step, "picture": None if step == painted else _small(open_picture(one.frames[step]))}
        for step in sorted({*one.frames, *([] if painted is None else [painted])})
    ]


def _facts(one: Exhibit) -> list[str]:
    height, width = one.painting.size
    away = (one.painting.pixels.int() - one.start.int()).abs().float()
    found = [f"{width} x {height} pixels", f"mean change {away.mean():.1f} levels of 255, largest {int(away.max())}"]
    if one.likeness is not None:
        found.append(f"likeness to its start {one.likeness:.3f} (MS-SSIM)")
    return found


def _command(settings: Settings) -> str:
    """The command that paints it again: every setting that is not the default."""
    words = ["arttune", "train"]
    for item in Settings.listed():
        value = getattr(settings, item.name)
        if value is True:
            words.append(f"--{item.name.replace('_', '-')}")
        elif value != item.default and value is not None:
            words += [f"--{item.name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--out", "RUN"])


def _charts(one: Exhibit) -> list[dict[str, str]]:
    lines, shown = one.lines, learned_by(one.lines)
    steps, values = course(lines, shown)
    x = Axis.over("optimiser step", [0, one.settings.steps])
    found = []
    if values:
        smooth = running_mean(values)
        y = Axis.over(LABELS[shown], values, floor=0 if min(values) >= 0 else None)
        raw, mean = ([*zip(steps, run, strict=True)] for run in (values, smooth))
        drawn = chart(f"{LABELS[shown]} by step", x, y, [Series(raw, "line faint"), Series(mean)], marker=True)
        found.append({"title": f"How it learned: {LABELS[shown]}", "svg": drawn})
    judged = [line for line in lines if "eval_accuracy" in line]
    if judged:
        points = [(line["step"], line["eval_accuracy"]) for line in judged]
        spans = [(line["eval_accuracy_low"], line["eval_accuracy_high"]) for line in judged]
        y = Axis.over("validation, strict", [edge for span in spans for edge in span], percent=True, floor=0)
        titles = [f"step {step}: {share:.1%}" for step, share in points]
        series = [Series(points, "line accent"), Series(points, "accent", spans, titles)]
        drawn = chart("Validation accuracy by step", x, y, series, marker=True)
        found.append({"title": "Problems kept out of training", "svg": drawn})
    traced = [line for line in judged if "eval_likeness" in line]
    if traced and one.likeness is not None:
        path = [(line["eval_likeness"], line["eval_accuracy"]) for line in traced]
        titles = [
            f"step {line['step']}: {share:.1%} at {near:.3f}" for line, (near, share) in zip(traced, path, strict=True)
        ]
        found.append({"title": "Likeness against accuracy, while it was painted", "svg": _traded(path, titles, one)})
    return found


def _traded(path: list[tuple[float, float]], titles: list[str], one: Exhibit) -> str:
    """Where a run went between looking like its start and being right; its reported score at the end."""
    score, alike = one.scores[-1], one.likeness or 0.0
    (low, high), end = score["ci95"], (alike, score["accuracy"])
    series = [
        Series(path, "line faint"),
        Series(path, "ink", titles=titles),
        Series([end], "accent", [(low, high)], [f"{score['split']} problems: {end[1]:.1%}"], ["painting"]),
    ]
    return _by_likeness("Accuracy by likeness", series)


def _overviews(exhibits: Sequence[Exhibit]) -> list[dict[str, str]]:
    """Runs by likeness and accuracy, under their numbers on the page: a chart for each model's runs of a task."""
    dots: dict[tuple[str, str], list[Series]] = {}
    for number, one in enumerate(exhibits, 1):
        score, alike = one.scores[-1], one.likeness
        if alike is not None:
            (low, high), share = score["ci95"], score["accuracy"]
            title = f"{number}, {one.name}: {share:.1%} at {alike:.3f}"
            dot = Series([(alike, share)], "accent", [(low, high)], [title], [str(number)])
            dots.setdefault((score["task"], score["model"]), []).append(dot)
    return [
        {
            "title": f"Likeness against accuracy, with 95 % intervals: {task}, {model}",
            "svg": _by_likeness("Accuracy by likeness", series),
        }
        for (task, model), series in dots.items()
        if len(series) > 1
    ]


def _by_likeness(name: str, series: Sequence[Series]) -> str:
    """A chart of accuracies by likeness, with room for all points and their intervals."""
    points = [point for one in series for point in one.points]
    highest = [high for one in series for _, high in one.spans]
    x = Axis.over("likeness to the start (MS-SSIM)", [*(alike for alike, _ in points), 1.0])
    y = Axis.over("accuracy", [*(share for _, share in points), *highest], percent=True, floor=0)
    return chart(name, x, y, series)


def _change(start: torch.Tensor, end: torch.Tensor) -> dict[str, str]:
    shown, times = stretched(start, end)
    return {"picture": _exact(Painting(to_uint8(shown)).picture), "times": f"{times:.1f}"}


def _exact(picture: Image.Image) -> str:
    return _uri(_encoded(picture, "WEBP", lossless=True, quality=75), "webp")


def _small(picture: Image.Image) -> str:
    """Exact where that takes least, else a JPEG with colours at full size, for colours are what a change is made of.

    WebP would halve their size, and show half of the change.
    """
    exact = _encoded(picture, "WEBP", lossless=True, quality=75)
    near = _encoded(picture, "JPEG", quality=85, subsampling=0)
    return _uri(exact, "webp") if len(exact) <= len(near) else _uri(near, "jpeg")


def _encoded(picture: Image.Image, kind: str, **how: Any) -> bytes:
    data = io.BytesIO()
    picture.convert("RGB").save(data, kind, **how)
    return data.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
