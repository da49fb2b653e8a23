"""Where a built-in task's rows come from: a file, a folder of files (`ARTTUNE_DATA`), or the Hugging Face hub."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from arttune.errors import BadInput


def rows(
    folder: str, hub: tuple[str, str | None], split: str, needed: Iterable[str], data: Path | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """The rows of one split, in order, each with the `needed` fields and the words for where it stands.

    `data` is a file that stands in for this split. Otherwise `$ARTTUNE_DATA/<folder>/<split>.jsonl[.gz]`, and where
    there is no such folder the hub data set `hub` = (id, config). Raises `BadInput` naming file and line.
    """
    path = data or local_file(folder, split)
    if path is not None:
        return read_jsonl(path, needed)
    from datasets import load_dataset

    try:
        fetched = load_dataset(hub[0], hub[1], split=split)
        return [(f"{hub[0]}, {split} problem {i}", row) for i, row in enumerate(fetched, start=1)]
    except Exception as error:
        raise _unfetched(hub[0], error) from None


def problems_of(
    found: Iterable[tuple[str, dict[str, Any]]], make: Callable[[dict[str, Any], str], Any], source: str
) -> list[Any]:
    """What `make` makes of each row and the words for where it stands.

    Raises `BadInput` naming the row, if it is none such as `source` publishes.
    """
    made = []
    for where, row in found:
        try:
            made.append(make(row, where))
        except BadInput:
            raise
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            said = f"{type(error).__name__}: {error}"
            raise BadInput(f"{where}: not as {source} publishes its rows ({said})") from None
    return made


def local_file(folder: str, name: str) -> Path | None:
    """`$ARTTUNE_DATA/<folder>/<name>.jsonl[.gz]`; None without that variable or folder.

    Raises `BadInput` if `ARTTUNE_DATA` is no folder, or the file is missing in one that is there.
    """
    root = os.environ.get("ARTTUNE_DATA")
    if not root:
        return None
    if not Path(root).is_dir():
        raise BadInput(f"ARTTUNE_DATA is {root}, which is no folder; unset it to use the Hugging Face hub")
    if not (Path(root) / folder.split("/")[0]).is_dir():
        return None
    for ending in (".jsonl", ".jsonl.gz"):
        path = Path(root) / folder / f"{name}{ending}"
        if path.is_file():
            return path
    raise BadInput(
        f"ARTTUNE_DATA is {root}, but {root}/{folder}/{name}.jsonl(.gz) is not there; put it there, or take the folder "
        "away to use the Hugging Face hub"
    )


def own_file(folder: str, name: str) -> Path:
    """`local_file` of a data set that the hub does not have in this form. Raises `BadInput` if there is none."""
    path = local_file(folder, name)
    if path is None:
        raise BadInput(
            f"{folder} is not on the Hugging Face hub in this form; make its files by scripts/tool_use_data.py and set "
            "ARTTUNE_DATA to their folder, or give a file with --data"
        )
    return path


def hub_file(repository: str, name: str) -> Path:
    """One file of a data set on the Hugging Face hub, for those whose rows are too unlike for `datasets`."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name, repo_type="dataset"))
    except Exception as error:
        raise _unfetched(repository, error) from None


def _unfetched(name: str, error: Exception) -> BadInput:
    return BadInput(
        f"data set {name} could not be fetched from the Hugging Face hub ({type(error).__name__}); give a file of it "
        "(--data; in training --test-data too), or set ARTTUNE_DATA to a folder that has its folder in it"
    )


def read_jsonl(path: Path, needed: Iterable[str] = ()) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSON Lines file, gzip-compressed or not, each with its place ("FILE, line 3").

    Raises `BadInput` with file and line number.
    """
    needed = tuple(needed)
    opened = gzip.open if path.suffix == ".gz" else open
    found: list[tuple[str, dict[str, Any]]] = []
    try:
        with opened(path, "rt", encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    found.append((where, _row(line, where, needed)))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise BadInput(f"{path} cannot be read as UTF-8 JSON Lines: {error}") from None
    if not found:
        raise BadInput(f"{path} has no problems in it; write one JSON object a line")
    return found


def _row(line: str, where: str, needed: tuple[str, ...]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: not JSON ({error.msg}); write one JSON object a line") from None
    if not isinstance(row, dict):
        raise BadInput(f"{where}: a {type(row).__name__}, not a JSON object; write one object a line")
    missing = [name for name in needed if name not in row]
    if missing:
        raise BadInput(f"{where}: no field {', '.join(missing)}; it has {', '.join(row) or 'none'}")
    return row
