"""A gallery's page says what the run's files say, and needs nothing but itself."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shlex
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from arttune import Painting, training
from arttune.canvas import pixels_of, to_uint8
from arttune.errors import BadInput
from arttune.report import gallery
from arttune.report.plots import stretched
from arttune.settings import Settings
from arttune.style.starts import start_pixels
from test_cli import run as command
from test_training import problems, settings

__all__ = ["command", "problems"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs of a tiny model; the second has hostile text in its problems."""
    import zoo

    folder = tmp_path_factory.mktemp("gallery")
    zoo.tiny("qwen2_5_vl").save_pretrained(folder / "tiny")
    zoo.tokenizer().save_pretrained(folder / "tiny")
    rows = [
        {"prompt": f'{i}: <script>alert({i})</script> & "say" red', "completion": "red", "answer": "<b>red</b>"}
        for i in range(40)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = settings(folder / "tiny", folder / "own.jsonl", steps=6, eval_every=2, test_limit=6)
    plain = replace(plain, start="recipes/compare/orchard.png")
    training.train(plain, folder / "free")
    training.train(replace(plain, likeness=0.9), folder / "held")
    return folder


def test_train_writes_the_page_of_its_run(runs):
    page = (runs / "free" / gallery.PAGE).read_text()
    assert page == gallery.page([gallery.Exhibit.read(runs / "free")])
    assert page.count("<article") == 1


def test_the_page_needs_nothing_from_anywhere(runs):
    page = gallery.page([gallery.Exhibit.read(runs / name) for name in ("free", "held")])
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', markup)
    assert len(sources) > 4
    assert all(source.startswith(("data:", "#run-")) for source in sources)
    assert "http" not in re.sub(r"data:[^\"']+", "", page).replace("http-equiv", "")
    assert not re.search(r"@import|fetch\(|XMLHttpRequest|import\(", page)


def test_what_problems_say_is_text_and_nothing_more(runs):
    named = runs / '<i a="b">free'
    shutil.copytree(runs / "free", named, dirs_exist_ok=True)
    page = gallery.page([gallery.Exhibit.read(named)])
    for text in ("<script>alert(", "<b>red</b>", '<i a="b">free'):
        assert text not in page
        assert html.escape(text).replace("&quot;", "&#34;") in page


def test_the_commands_write_a_page_and_a_film(command, runs, tmp_path):
    out = tmp_path / "both.html"
    assert command("gallery", runs / "free", runs / "held", "--out", out)[0] == 0
    assert out.read_text() == gallery.page([gallery.Exhibit.read(runs / name) for name in ("free", "held")])
    assert command("film", runs / "free", "--out", tmp_path / "film.gif", "--side", 224)[0] == 0
    with Image.open(tmp_path / "film.gif") as shown:
        assert shown.size == (224, 224)
        assert 1 < shown.n_frames <= len(gallery.Exhibit.read(runs / "free").frames)  # those alike are one
    for arguments in (("gallery", tmp_path), ("film", tmp_path)):
        code, said, complaint = command(*arguments)
        assert (code, said) == (2, "")
        assert str(tmp_path) in complaint.replace("\n", "")


def seen(uri: str) -> torch.Tensor:
    """The uint8 pixels `(3, H, W)` of a picture on a page."""
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as picture:
        return pixels_of(picture.convert("RGB"))


def test_start_and_change_are_shown_to_the_bit(runs):
    exhibit = gallery.Exhibit.read(runs / "free")
    page = (runs / "free" / gallery.PAGE).read_text()
    start, change = (re.search(rf'data-{name}="([^"]+)"', page)[1] for name in ("start", "change"))
    assert torch.equal(seen(start), exhibit.start)
    expected, times = stretched(exhibit.start, exhibit.painting.pixels)
    assert torch.equal(seen(change), to_uint8(expected))
    assert re.search(rf"Change . {times:.1f}</button>", page)


def test_a_frame_shows_as_much_change_as_there_is(runs):
    exhibit = gallery.Exhibit.read(runs / "free")
    page = (runs / "free" / gallery.PAGE).read_text()
    for frame in json.loads(re.search(r'class="frames">(.*?)</script>', page, re.S)[1]):
        if frame["picture"] is not None:
            kept = Painting.load(exhibit.frames[frame["step"]]).pixels
            assert float((seen(frame["picture"]).int() - kept.int()).abs().float().mean()) < 10
    start = exhibit.start.int()
    grain = torch.randint(-60, 61, start.shape, generator=torch.Generator().manual_seed(0))
    grainy = (start + grain).clamp(0, 255).to(torch.uint8)
    changes = [
        (one.int() - start).abs().float().mean() for one in (grainy, seen(gallery._small(Painting(grainy).picture)))
    ]
    assert float(changes[1] / changes[0]) == pytest.approx(1, abs=0.1)


def test_noise_can_be_shown():
    """Of all pictures that take the most bytes: more than one a pixel, for which a library may have no room."""
    noise = start_pixels("noise", (224, 224))
    assert float((seen(gallery._small(Painting(noise).picture)).int() - noise.int()).abs().float().mean()) < 20


def test_the_painting_on_the_page_is_the_file(runs):
    page = (runs / "held" / gallery.PAGE).read_text()
    held = re.search(r'class="save" href="data:image/png;base64,([^"]+)"', page)[1]
    assert base64.b64decode(held) == (runs / "held" / "art.png").read_bytes()


def test_it_says_what_the_run_says(runs):
    exhibit = gallery.Exhibit.read(runs / "held")
    page = gallery.page([exhibit])
    for score in json.loads((runs / "held" / "results.json").read_text())["scores"]:
        assert f"{score['correct']} of {score['n']}" in page
        assert f"[{100 * score['ci95'][0]:.1f}, {100 * score['ci95'][1]:.1f}]" in page
    start = Painting.load(runs / "held" / "frames" / "000000.png").pixels
    change = (exhibit.painting.pixels.int() - start.int()).abs().float()
    assert f"mean change {change.mean():.1f} levels of 255, largest {int(change.max())}" in page
    assert exhibit.likeness >= 0.9
    assert f"likeness to its start {exhibit.likeness:.3f}" in page
    assert torch.equal(exhibit.start, start)
    frames = json.loads(re.search(r'class="frames">(.*?)</script>', page, re.S)[1])
    assert [one["step"] for one in frames] == [0, 1, 2, 3, 4, 5, 6]
    assert [one["step"] for one in frames if one["picture"] is None] == [exhibit.painting.provenance.steps]


def test_the_command_on_the_page_paints_it_again(runs):
    exhibit = gallery.Exhibit.read(runs / "held")
    words = shlex.split(gallery._command(exhibit.settings))
    assert words[:2] == ["arttune", "train"]
    given = dict(zip(words[2::2], words[3::2], strict=True))
    flags = {name.removeprefix("--").replace("-", "_"): value for name, value in given.items() if name != "--out"}
    types = {"int": int, "float": float}
    made = Settings(
        **{name: types.get(Settings.__dataclass_fields__[name].type.split(" ")[0], str)(v) for name, v in flags.items()}
    )
    assert made == exhibit.settings


def test_a_gallery_of_several_has_a_way_to_each(runs):
    gallery.write([runs / "free", runs / "held"], runs / "both.html")
    page = (runs / "both.html").read_text()
    assert re.findall(r'<article id="([^"]+)"', page) == re.findall(r'<a href="#([^"]+)"', page) == ["run-0", "run-1"]
    assert "Likeness against accuracy, with 95 % intervals: own, " in page
    assert re.findall(r'<text class="mark"[^>]*>([^<]+)<', page)[:2] == ["1", "2"]
    exhibits = [gallery.Exhibit.read(runs / name) for name in ("free", "held")]
    for one, label in zip(exhibits, ("1, free", "2, held"), strict=True):
        told = f"{label}: {one.scores[-1]['accuracy']:.1%} at {one.likeness:.3f}"
        assert told in re.search(r'aria-label="(Accuracy by likeness[^"]*)"', page)[1]


def test_only_runs_of_the_same_task_and_model_share_a_chart(runs):
    free, held = (gallery.Exhibit.read(runs / name) for name in ("free", "held"))
    other = replace(held, scores=[score | {"task": "another"} for score in held.scores])
    assert gallery._overviews([free, other]) == []
    (chart,) = gallery._overviews([other, free, held])
    assert re.findall(r'<text class="mark"[^>]*>([^<]+)<', chart["svg"]) == ["2", "3"]


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ("config.yaml", "is no run folder"),
        ("results.json", "arttune train --resume --out"),
        ("art.png", "what it trained is no picture"),
        ("samples.jsonl", "which has the answers; copy the whole folder"),
        ("adapter_model.safetensors", "which has its start; copy the whole folder"),
    ],
)
def test_what_is_no_finished_painting_is_said(runs, tmp_path, lacks, says):
    copied(runs / "free", tmp_path)
    (tmp_path / lacks).unlink()
    with pytest.raises(BadInput, match=says):
        gallery.Exhibit.read(tmp_path)


@pytest.mark.parametrize(
    "damaged", ["results.json", "samples.jsonl", "art.png", "adapter_model.safetensors", "frames/000001.png"]
)
def test_a_damaged_file_is_named(runs, tmp_path, damaged):
    copied(runs / "free", tmp_path)
    (tmp_path / damaged).write_bytes((tmp_path / damaged).read_bytes()[:40])
    with pytest.raises(BadInput, match=damaged.replace(".", r"\.")):
        gallery.write([tmp_path], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_slider_has_the_painting_even_where_no_frame_was_kept(runs, tmp_path):
    copied(runs / "free", tmp_path)
    painted = Painting.load(tmp_path / "art.png").provenance.steps
    (tmp_path / "frames" / f"{painted:06d}.png").unlink()
    shown = gallery._shown(gallery.Exhibit.read(tmp_path), 0)
    assert [one["step"] for one in shown["frames"]] == [0, 1, 2, 3, 4, 5, 6]
    assert shown["frames"][shown["at"]] == {"step": painted, "picture": None}


def copied(run, folder) -> None:
    """A run without what it needs to go on."""
    shutil.copytree(run, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints"))
