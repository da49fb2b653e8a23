"""ART with the plain transformers Trainer; nothing of TRL, nothing of arttune's own command line.

    python examples/transformers_trainer.py MODEL PROBLEMS.jsonl OUT

MODEL is a folder or hub id of a Qwen-VL family; each line of PROBLEMS.jsonl has a `prompt` and a `completion`. What is
different from a LoRA script is marked; OUT/art.png is the result.
"""

import sys

from datasets import load_dataset
from peft import get_peft_model
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

from arttune import ArtConfig, CanvasMuon, prepare  # 1: instead of LoraConfig


def main(source: str, problems: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForImageTextToText.from_pretrained(source)
    model = get_peft_model(model, ArtConfig(start="noise"))  # 2: instead of LoraConfig(r=16, ...)

    dataset = load_dataset("json", data_files=problems, split="train")
    dataset = dataset.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
    dataset = prepare(dataset, tokenizer, model.peft_config["default"])  # 3: the picture's place in the prompt

    def tokenize(row: dict) -> dict:
        prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        told = tokenizer(row["completion"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        return {
            "input_ids": asked + told,
            "attention_mask": [1] * len(asked + told),
            "labels": [-100] * len(asked) + told,
        }

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=out,
            max_steps=20,
            per_device_train_batch_size=8,
            logging_steps=5,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=dataset.map(tokenize, remove_columns=dataset.column_names),
        optimizer_cls_and_kwargs=(CanvasMuon, {"lr": 0.02, "unit": model.peft_config["default"].unit}),
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
    )
    trainer.train()
    model.save_pretrained(out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/transformers_trainer.py MODEL PROBLEMS.jsonl OUT")
    main(*sys.argv[1:])
