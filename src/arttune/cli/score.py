"""`arttune eval | verify`: paintings scored, here and through a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from arttune.cli.base import app, defaults_from, err, out, say


@app.command("eval")
def evaluate(
    *,
    model: Annotated[str, typer.Option(help="Embedded model, local folder or hub id.")] = "smol",
    task: Annotated[str, typer.Option(help="One of `arttune tasks`, or your own FILE.jsonl.")] = "svamp",
    adapter: Annotated[str, typer.Option(help="A run folder, a painting (PNG), or none for the text alone.")] = "none",
    data: Annotated[Path | None, typer.Option(help="Test file that stands in for the task's own.")] = None,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Score only the first so many problems.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Problems answered at once; fewer if long.")] = 150,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer. Default: the task's own.")] = None,
    presence_penalty: Annotated[
        float,
        typer.Option(
            min=-2, max=2, help="Logits that a token loses once the answer has it. The ART authors score with 1."
        ),
    ] = 0.0,
    max_prompt: Annotated[
        int | None, typer.Option(min=1, help="Leave out problems whose prompt, without picture, has more tokens.")
    ] = None,
    grader: Annotated[str | None, typer.Option(help="Grade of your own task: number, exact or math.")] = None,
    reward: Annotated[str | None, typer.Option(help="Python grade of your own task, module:function.")] = None,
    instruction: Annotated[
        str | None, typer.Option(help="Words to add to each prompt: what a painting has to compete with.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Arguments of the chat template, name=value. Default: those of the painting.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="bfloat16, float32, or auto: the faster here.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: torch's own choice.")] = None,
    seed: Annotated[int, typer.Option(help="Recorded with the score; decoding is greedy.")] = 0,
    config: Annotated[
        Path | None,
        typer.Option(is_eager=True, callback=defaults_from, help="YAML file with any of these options; flags win."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Show so many right and so many wrong answers.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the score as JSON.")] = False,
) -> None:
    """Score a painting, or the text-only model, on a task's held-out problems."""
    from arttune import scoring
    from arttune.report import score_table

    with err.status("loading"):
        request = scoring.Request(
            model=model,
            task=task,
            adapter=adapter,
            data=data,
            split=split,
            limit=limit,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            presence_penalty=presence_penalty,
            max_prompt=max_prompt,
            grader=grader,
            reward=reward,
            instruction=instruction,
            template=template,
            dtype=dtype,
            threads=threads,
            seed=seed,
        )
        ready = scoring.open_request(request)
    for warning in ready.warnings:
        say(warning)
    score, graded = ready.run()
    if as_json:
        print(json.dumps({"scores": [score.as_dict()]}))
        return
    out.print(score_table([score]))
    for right in (True, False):
        for sample in [s for s in graded if s.correct is right][:samples]:
            mark = "[green]right[/]" if right else "[red]wrong[/]"
            err.print(f"\n{mark}  expected {escape(str(sample.answer))}", highlight=False)
            err.print(sample.question, style="dim", markup=False, highlight=False)
            err.print(sample.completion or "(nothing)", markup=False, highlight=False)


@app.command()
def verify(
    painting: Annotated[Path, typer.Argument(help="The PNG, or a run folder.")],
    *,
    base_url: Annotated[str, typer.Option(help="The server, http://HOST:PORT.")],
    model: Annotated[
        str | None, typer.Option(help="What the server serves. Default: the model the painting was made for.")
    ] = None,
    task: Annotated[str, typer.Option(help="One of `arttune tasks`, or your own FILE.jsonl.")] = "svamp",
    data: Annotated[Path | None, typer.Option(help="Test file that stands in for the task's own.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Ask only the first so many problems.")] = 50,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer. Default: the task's own.")] = None,
    presence_penalty: Annotated[
        float, typer.Option(min=-2, max=2, help="Logits that a token loses once the answer has it.")
    ] = 0.0,
    grader: Annotated[str | None, typer.Option(help="Grade of your own task: number, exact or math.")] = None,
    reward: Annotated[str | None, typer.Option(help="Python grade of your own task, module:function.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Arguments of the chat template, name=value. Default: those of the painting.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Precision here: bfloat16, float32, or auto: the faster.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Score a painting through a server and here, side by side, and check that the server sees it as it is.

    Exits with 1 if the picture is changed on its way, or the server has another model.
    """
    from arttune import scoring
    from arttune.report import score_table
    from arttune.verify import verify

    with err.status("loading"):
        ready = scoring.open_request(
            scoring.Request(
                model=model or scoring.painted_for(painting),
                task=task,
                adapter=str(painting),
                data=data,
                limit=limit,
                max_new_tokens=max_new_tokens,
                presence_penalty=presence_penalty,
                grader=grader,
                reward=reward,
                template=template,
                dtype=dtype,
            )
        )
    for warning in ready.warnings:
        say(warning)
    found = verify(ready, base_url)
    if as_json:
        print(json.dumps(found.as_dict()))
    else:
        table = score_table([found.local, found.server])
        out.print(table)
        out.print(f"the same answer, letter for letter: {found.agreement:.0%}")
        gaps = ", ".join(f"{gap:.4f} {name}" for name, gap in found.gaps.items())
        out.print(f"distance of the server's log-probabilities from those here, shown: {gaps}", soft_wrap=True)
    if found.fault:
        say(f"{base_url}: {found.fault}")
        raise typer.Exit(1)
