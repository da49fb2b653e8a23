"""A plain TRL run for `test_parallel.py`: `parallel.py FILE BATCH ACCUMULATE` writes the painted pixels to FILE.

Four rows a step (or two), however many processes they are spread over.
"""

from __future__ import annotations

import sys
import tempfile

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

import zoo
from arttune import ArtConfig, prepare
from arttune.tuner import art_layer

ROWS = [
    {"prompt": [{"role": "user", "content": f"say {word}"}], "completion": [{"role": "assistant", "content": word}]}
    for word in ("red", "sky", "oak", "ink")
]


def main(file: str, batch: int, accumulate: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = ArtConfig(start="noise", family="qwen2_5_vl")
        trainer = SFTTrainer(
            model=zoo.tiny("qwen2_5_vl"),
            args=SFTConfig(
                output_dir=folder,
                max_steps=3,
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulate,
                learning_rate=0.02,
                lr_scheduler_type="constant",
                max_length=None,
                report_to=[],
                save_strategy="no",
                use_cpu=True,
                bf16=False,
            ),
            train_dataset=prepare(Dataset.from_list(ROWS), zoo.tokenizer(), config),
            processing_class=zoo.tokenizer(),
            peft_config=config,
        )
        assert trainer.accelerator.num_processes * batch * accumulate in (len(ROWS), len(ROWS) // 2)
        trainer.train()
        if trainer.accelerator.is_main_process:
            torch.save(art_layer(trainer.model).painting("default").pixels, file)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
