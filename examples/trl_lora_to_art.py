"""A TRL fine-tuning script, LoRA or ART; the three lines that differ in kind say what they were.

    python examples/trl_lora_to_art.py MODEL PROBLEMS.jsonl OUT

MODEL is a folder or hub id of a Qwen-VL family; each line of PROBLEMS.jsonl has a `prompt` and a `completion`.
"""

import sys

from datasets import load_dataset
from transformers import AutoModelForImageTextToText, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from arttune import ArtConfig, CanvasMuon, prepare  # was: from peft import LoraConfig


def as_messages(row: dict) -> dict:
    """Messages go through the chat template, which is where a server will show the picture, too."""
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }


def main(source: str, problems: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForImageTextToText.from_pretrained(source)
    dataset = load_dataset("json", data_files=problems, split="train").map(as_messages)
    config = ArtConfig(family=model.config.model_type)  # was: LoraConfig(r=16, target_modules="all-linear")
    dataset = prepare(dataset, tokenizer, config)  # new: the picture's place in the prompt
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=out,
            max_steps=20,
            per_device_train_batch_size=8,
            max_length=None,  # a truncated picture is no picture
            gradient_checkpointing=False,  # lets the batch share its prefix
            bf16=False,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=config,
        # lr is of the pixel range [0, 1]: five levels of 255 a step.
        optimizer_cls_and_kwargs=(CanvasMuon, {"lr": 0.02, "unit": config.unit}),
    )
    trainer.train()
    trainer.save_model(out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/trl_lora_to_art.py MODEL PROBLEMS.jsonl OUT")
    main(*sys.argv[1:])
