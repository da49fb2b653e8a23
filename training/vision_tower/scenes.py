"""The kinds of pictures that teach the tower to see.

A scene is drawn from its number alone, so training data needs no storage and a resumed run goes on where it stopped.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from PIL import Image

from painter import SHAPES, TRAINED, Box, Painter, characters, typeface
from parts import LETTERS, WORDS, Part, Scene


def _figures(p: Painter, scene: Scene, text: str, room: Box, kind: str) -> None:
    """Digits and signs, each a part that knows its place."""
    _, boxes = p.write(text, room)
    for place, (character, box) in enumerate(zip(text, boxes, strict=True)):
        scene.parts.append(Part(box, [f"char:{character}", f"at:{place}", f"long:{len(text)}", f"kind:{kind}"]))


def _number(rng: random.Random) -> str:
    return str(rng.randrange(10 ** rng.choice([1, 2, 3, 3])))


def word(p: Painter) -> Scene:
    """One word of the list."""
    meant = p.rng.choice(WORDS)
    scene = Scene("word", p.image)
    _word(p, scene, meant, (0, 0, p.side, p.side))
    scene.facts = [*[("word", meant)] * 5, ("caption", f"The word {meant}.")]
    return scene


def _word(p: Painter, scene: Scene, meant: str, room: Box) -> None:
    box, _ = p.write(meant, room)
    scene.parts.append(Part(box, [f"word:{meant}", "kind:word"]))


def phrase(p: Painter) -> Scene:
    """Two or three words, one above the other."""
    words = p.rng.sample(WORDS, p.rng.choice([2, 2, 3]))
    scene = Scene("phrase", p.image)
    step = p.side / len(words)
    for place, meant in enumerate(words):
        _word(p, scene, meant, (0, step * place, p.side, step * (place + 1)))
        scene.parts[-1].names = [f"word:{meant}", f"at:{place}", f"long:{len(words)}", "kind:phrase"]
    scene.facts = [("phrase", " ".join(words))]
    return scene


def number(p: Painter) -> Scene:
    """A number of up to three digits."""
    text = _number(p.rng)
    scene = Scene("number", p.image)
    _figures(p, scene, text, (0, 0, p.side, p.side), "number")
    scene.facts = [*[("number", text)] * 5, ("caption", f"The number {text}.")]
    return scene


def total(p: Painter) -> Scene:
    """A sum or difference of numbers of up to two digits."""
    text = f"{p.rng.randrange(100)}{p.rng.choice('+-')}{p.rng.randrange(100)}"
    scene = Scene("sum", p.image)
    _figures(p, scene, text, (0, 0, p.side, p.side), "sum")
    scene.facts = [("sum", text)]
    return scene


def single(p: Painter) -> Scene:
    """One shape in one colour."""
    scene = Scene("object", p.image)
    colour, shape = _object(p, scene, (0, 0, p.side, p.side), 0.25)
    scene.facts = [
        *[("object", f"{colour} {shape}")] * 3,
        ("colour", colour),
        ("shape", shape),
        ("caption", f"A {colour} {shape}."),
    ]
    return scene


def _object(p: Painter, scene: Scene, room: Box, least: float = 0.5, avoid: tuple[str, ...] = ()) -> tuple[str, str]:
    shape = p.rng.choice(SHAPES)
    colour, shade = p.named(avoid)
    box = p.shape(shape, shade, room, least)
    scene.parts.append(Part(box, [f"colour:{colour}", f"shape:{shape}", "kind:object"]))
    return colour, shape


def count(p: Painter) -> Scene:
    """One to five shapes of one kind."""
    scene = Scene("count", p.image)
    many, shape = p.rng.randint(1, 5), p.rng.choice(SHAPES)
    colour, shade = p.named()
    cells = 2 if many <= 4 and p.rng.random() < 0.5 else 3
    step = p.side / cells
    for cell in p.rng.sample(range(cells * cells), many):
        x, y = cell % cells * step, cell // cells * step
        box = p.shape(shape, shade, (x, y, x + step, y + step), 0.6)
        scene.parts.append(Part(box, [f"colour:{colour}", f"shape:{shape}", "kind:count"]))
    scene.whole = [f"count:{many}"]
    scene.facts = [("count", str(many)), ("count", str(many)), ("colour", colour), ("shape", shape)]
    return scene


def pair(p: Painter) -> Scene:
    """Two shapes, side by side or one above the other."""
    scene, half = Scene("pair", p.image), p.side / 2
    beside = p.rng.random() < 0.5
    ends = ("left", "right") if beside else ("top", "bottom")
    avoid: tuple[str, ...] = ()
    for i, end in enumerate(ends):
        room = (half * i, 0, half * (i + 1), p.side) if beside else (0, half * i, p.side, half * (i + 1))
        colour, shape = _object(p, scene, room, avoid=avoid)
        avoid = (colour,)
        scene.parts[-1].names[-1:] = [f"end:{end}", "kind:pair"]
        scene.facts.append((end, f"{colour} {shape}"))
    return scene


def chart(p: Painter) -> Scene:
    """A bar chart of two to four bars, each in its colour."""
    scene, r = Scene("chart", p.image), p.rng
    many, margin = r.randint(2, 4), p.side * 0.1
    heights = r.sample(range(2, 11), many)
    axis, step = p.ink(), (p.side - 2 * margin) / many
    seen: tuple[str, ...] = ()
    for i, height in enumerate(heights):
        colour, shade = p.named(seen)
        seen += (colour,)
        x = margin + step * (i + 0.15)
        box = (x, p.side - margin - height / 10 * (p.side - 2 * margin), x + step * 0.7, p.side - margin)
        p.draw.rectangle(box, fill=shade)
        rank = {max(heights): "tallest", min(heights): "shortest"}.get(height, "middle")
        scene.parts.append(Part(box, [f"colour:{colour}", f"rank:{rank}", "kind:chart"]))
        if rank != "middle":
            scene.facts.append((rank, colour))
    p.draw.line((margin, p.side - margin, p.side - margin, p.side - margin), fill=axis, width=2)
    p.draw.line((margin, margin, margin, p.side - margin), fill=axis, width=2)
    scene.whole = [f"count:{many}"]
    scene.facts.append(("bars", str(many)))
    return scene


def blank(p: Painter) -> Scene:
    """Nothing: one plain colour."""
    return Scene("blank", p.image, whole=["kind:blank"], facts=[("caption", "An empty picture.")])


def noise(p: Painter) -> Scene:
    """Nothing but noise, coarse or fine, grey or in colours."""
    r = p.rng
    grain, channels = r.choice([1, 1, 2, 4, 8, 14]), r.choice([1, 3])
    state = np.random.default_rng(r.randrange(2**32))
    spread = r.uniform(40, 255)
    low = r.uniform(0, 255 - spread)
    cells = low + spread * state.random((-(-p.side // grain), -(-p.side // grain), channels))
    large = cells.repeat(grain, 0).repeat(grain, 1)[: p.side, : p.side]
    image = Image.fromarray(np.broadcast_to(large, (p.side, p.side, 3)).astype(np.uint8))
    return Scene("noise", image, whole=["kind:noise"], facts=[("caption", "An empty picture, only noise.")])


def page(p: Painter) -> Scene:
    """Several unrelated things, for the stage without questions: much to read in one pass of the tower."""
    scene, r = Scene("page", p.image), p.rng
    rows = r.randint(1, max(1, p.side // 40))
    columns = 2 if p.side >= 168 and r.random() < 0.5 else 1
    high, wide = p.side / rows, p.side / columns
    for i in range(rows * columns):
        x, y = i % columns * wide, i // columns * high
        room = (x, y, x + wide, y + high)
        chosen = r.random()
        if chosen < 0.65:
            _word(p, scene, r.choice(WORDS), room)
        elif chosen < 0.85:
            _figures(p, scene, _number(r), room, "number")
        else:
            _object(p, scene, room)
    return scene


def lines(p: Painter) -> Scene:
    """Words from edge to edge, line by line."""
    scene, r, top = Scene("lines", p.image), p.rng, 0.0
    while top < p.side - 14:
        high = r.uniform(18, 42)
        font, ink = typeface(r.choice(p.fonts), int(high * 0.95)), p.ink()
        above, gap = font.getbbox("x0")[1], font.getlength(" ")
        left = r.uniform(0, gap)
        while True:
            meant = r.choice(WORDS)
            right = left + font.getlength(meant)
            if right > p.side:
                break
            p.draw.text((left, top - above), meant, font=font, fill=ink)
            scene.parts.append(Part((left, top, right, top + high * 0.75), [f"word:{meant}", "kind:word"]))
            left = right + gap
        top += high * 1.05
    return scene


def dense(p: Painter) -> Scene:
    """Rows of letters, digits and shapes from edge to edge, for learning to tell them apart."""
    scene, r, top = Scene("dense", p.image), p.rng, 0.0
    while top < p.side - 14:
        high = r.uniform(18, 46)
        left = -r.uniform(0, 12)
        if r.random() < 0.2:
            while left < p.side:
                shape = r.choice(SHAPES)
                box = p.shape(shape, p.named()[1], (left, top, left + high, top + high), 0.8)
                scene.marks.append((box, shape))
                left += high
        else:
            font = typeface(r.choice(p.fonts), int(high * 0.95))
            text = "".join(r.choice(LETTERS) for _ in range(int(p.side / (high * 0.25))))
            above = font.getbbox("x0")[1]
            p.draw.text((left, top - above), text, font=font, fill=p.ink())
            scene.marks += zip(characters(font, text, left, top, top + high * 0.75), text, strict=True)
        top += high * 1.05
    return scene


SIDES = (112, 168, 224, 448)
KINDS: dict[str, Callable[[Painter], Scene]] = {
    "word": word,
    "phrase": phrase,
    "number": number,
    "sum": total,
    "object": single,
    "count": count,
    "pair": pair,
    "chart": chart,
    "blank": blank,
    "noise": noise,
    "page": page,
    "dense": dense,
    "lines": lines,
}


def scene(seed: int | str, side: int, mix: dict[str, float], fonts: list[str] = TRAINED) -> Scene:
    """The scene with this seed: a square of `side` pixels, its kind drawn from `mix` (kind to weight)."""
    rng = random.Random(f"{seed}")
    kind = rng.choices(list(mix), list(mix.values()))[0]
    return KINDS[kind](Painter(rng, side, fonts))
