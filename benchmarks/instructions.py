"""What can be had of a model by words alone? The best of several instructions, beside the task's own prompt.

    scripts/vllm_cpu.sh serve MODEL --port 8000 &
    python benchmarks/instructions.py --task gsm8k --json instructions.json runs/mine/art.png

Every instruction is tried, greedily and without a picture, on the same `--tried` training problems. The task's own
prompt, the instruction that did best there, and the task's own prompt beside each of the paintings that are named are
then scored on `--limit` test problems, which chose nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from arttune.evaluate import Score, graded, scored
from arttune.rollouts import Server
from arttune.rollouts.server import data_uri, with_uri
from arttune.tasks import Message, Problem, Task, get_task, hold_out
from arttune.tasks.answers import NUMBER_SUFFIX

ENDING = 'On the last line write "Answer: " and then the number alone.'
Wording = Callable[[Problem, list[Problem]], Any]  # a problem and worked ones, as the server's messages


def instead(suffix: str) -> Wording:
    """The question with `suffix` in the place of the task's own."""

    def asked(problem: Problem, _: list[Problem]) -> list[Message]:
        return [{"role": "user", "content": problem.question.removesuffix(NUMBER_SUFFIX) + suffix}]

    return asked


def before(text: str) -> Wording:
    """The task's prompt under a system message."""
    return lambda problem, _: [{"role": "system", "content": text}, *problem.prompt]


def shown(count: int) -> Wording:
    """The task's prompt after `count` worked examples, as earlier turns of the conversation."""

    def asked(problem: Problem, worked: list[Problem]) -> list[Message]:
        turns: list[Message] = []
        for one in worked[:count]:
            turns += [*one.prompt, {"role": "assistant", "content": str(one.completion)}]
        return [*turns, *problem.prompt]

    return asked


def beside(painting: Path) -> Wording:
    """The task's prompt with a picture."""
    uri = data_uri(painting.read_bytes())
    return lambda problem, _: with_uri(problem.prompt, uri)


OWN = "the task's own prompt"
INSTRUCTIONS: dict[str, Wording] = {
    OWN: lambda problem, _: problem.prompt,
    "step by step, reason first": instead(
        "\n\nLet's think step by step. Reason first, then end your response with: Answer: <number>"
    ),
    "step by step, one a line": instead(f"\n\nSolve this step by step, with one calculation on each line. {ENDING}"),
    "do not answer at once": instead(
        f"\n\nDo not answer at once. First explain every step of the calculation in words and numbers. {ENDING}"
    ),
    "first all calculations": instead(
        "\n\nWrite down all calculations first, each as an equation. End your response with: Answer: <number>"
    ),
    "system: a careful teacher": before(
        "You are a careful teacher of mathematics. You always show every step of your work before you give the answer."
    ),
    "system: think step by step": before("Think step by step and write your reasoning down before the final answer."),
    "one worked example": shown(1),
    "two worked examples": shown(2),
    "four worked examples": shown(4),
    "eight worked examples": shown(8),
}


def score(
    args: argparse.Namespace,
    server: Server,
    model: str,
    task: Task,
    way: tuple[str, Wording],
    problems: list[Problem],
    worked: list[Problem],
    split: str,
) -> Score:
    """Greedy answers of the server, strictly graded."""
    name, asked = way
    limit = args.max_new_tokens or task.max_new_tokens

    def answered(problem: Problem) -> tuple[str, int]:
        turns = asked(problem, worked)
        reply = server.client.chat.completions.create(model=model, messages=turns, max_tokens=limit, temperature=0.0)
        assert reply.usage is not None
        return (reply.choices[0].message.content or "").strip(), reply.usage.total_tokens

    begun = time.perf_counter()
    with ThreadPoolExecutor(args.concurrency) as threads:
        replies = list(tqdm(threads.map(answered, problems), total=len(problems), desc=name, leave=False))
    samples = [graded(task, problem, text) for problem, (text, _) in zip(problems, replies, strict=True)]
    return scored(
        task,
        samples,
        split=split,
        model_name=model,
        adapter=name,
        seed=args.seed,
        seconds=time.perf_counter() - begun,
        tokens=sum(tokens for _, tokens in replies),
    )


def line(found: Score) -> str:
    low, high = found.ci95
    right = f"{found.correct:4}/{found.n:<4} {found.accuracy:6.1%} [{low:5.1%}, {high:5.1%}]"
    more = f"{found.format_rate:4.0%} in form   {found.tokens / found.n:5.0f} tokens a problem, read and written"
    return f"{found.adapter:28} {found.split:5} {right}   {more}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", type=Path, nargs="*", metavar="PNG")
    parser.add_argument("--task", default="gsm8k", choices=("gsm8k", "svamp"))  # whose instructions those are
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--tried", type=int, default=100, help="training problems that choose the instruction")
    parser.add_argument("--limit", type=int, default=330, help="test problems")
    parser.add_argument("--max-new-tokens", type=int, help="default: the task's own")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    server, task = Server(args.base_url, timeout=1800), get_task(args.task)
    model = server.client.models.list().data[0].id
    worked, tried = hold_out(task.load("train"), args.tried, args.seed)
    pictures = [(str(png), beside(png)) for png in args.paintings]
    found = []
    for way in INSTRUCTIONS.items():
        found.append(score(args, server, model, task, way, tried, worked, "train"))
        print(line(found[-1]), flush=True)
    best = max(found[1:], key=lambda one: one.correct).adapter
    test = task.load("test")[: args.limit]
    scores = []
    for way in [(name, INSTRUCTIONS[name]) for name in (OWN, best)] + pictures:
        scores.append(score(args, server, model, task, way, test, worked, "test"))
        print(line(scores[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"scores": [one.as_dict() for one in scores]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
