#!/usr/bin/env python3
"""Makes a task of `lacuna evaluate` (docs/evaluation.md) from the files of a public benchmark.

    scripts/convert_task.py arc ARC-Challenge-Test.jsonl --output tasks/arc
    scripts/convert_task.py mmlu test/*.csv --shots-input dev/*.csv --output tasks/mmlu

writes tasks/arc/arc.toml and tasks/arc/arc.jsonl. Benchmarks and the files they come as:

    mmlu                 CSV without a header: question, four choices, the answer's letter
    arc                  JSONL: {"question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}
                         or, as on Hugging Face, {"question", "choices": {"text", "label"}, …}
    hellaswag            JSONL: {"activity_label", "ctx_a", "ctx_b", "endings", "label"}
    gsm8k                JSONL: {"question", "answer"}
    humaneval-infilling  JSONL: {"prompt", "suffix", "canonical_solution"}

Prompts, shots and likelihood or sampler settings are those of LLaDA's base model evaluation.
"""

import argparse
import csv
import json
import pathlib
import re
import sys


def lines(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                sys.exit(f"{path}:{number}: malformed JSON: {error}")


def mmlu(path):
    subject = re.sub(r"_(test|dev|val)$", "", path.stem).replace("_", " ")
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if len(row) != 6:
                sys.exit(f"{path}:{number}: has {len(row)} columns; MMLU's files have 6")
            question, *choices, answer = row
            options = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", choices))
            yield {"subject": subject, "question": f"{question.strip()}\n{options}",
                   "choices": list("ABCD"), "answer": answer.strip()}


def arc(path):
    for item in lines(path):
        question = item["question"]
        choices = item.get("choices") or question["choices"]
        if isinstance(choices, dict):
            texts, labels = choices["text"], choices["label"]
        else:
            texts, labels = [c["text"] for c in choices], [c["label"] for c in choices]
        yield {"question": question if isinstance(question, str) else question["stem"],
               "choices": texts, "answer": labels.index(item["answerKey"])}


def hellaswag(path):
    def clean(text):
        """As lm-evaluation-harness prepares it."""
        text = text.strip().replace(" [title]", ". ")
        return re.sub(r"\[.*?\]", "", text).replace("  ", " ")

    for item in lines(path):
        context = f"{item['ctx_a']} {item['ctx_b'].capitalize()}"
        yield {"query": clean(f"{item['activity_label']}: {context}"),
               "choices": [clean(e) for e in item["endings"]], "answer": int(item["label"])}


def gsm8k(path):
    for item in lines(path):
        yield {"question": item["question"], "answer": item["answer"],
               "number": item["answer"].split("####")[-1].strip()}


def humaneval_infilling(path):
    for item in lines(path):
        yield {"text": f"{item['prompt']}{{gap}}{item['suffix']}",
               "answers": [item["canonical_solution"]]}


BENCHMARKS = {
    "mmlu": (mmlu, """type = "multiple_choice"
prompt = "{question}\\nAnswer:"
""", 5, "[likelihood]\nsamples = 1   # answers of one token: one mask is exact\n"),
    "arc": (arc, """type = "multiple_choice"
prompt = "Question: {question}\\nAnswer:"
""", 0, "[likelihood]\nsamples = 128\n"),
    "hellaswag": (hellaswag, """type = "multiple_choice"
prompt = "{query}"
""", 0, "[likelihood]\nsamples = 128\n"),
    "gsm8k": (gsm8k, """type = "generation"
prompt = "Question: {question}\\nAnswer:"
match = "number"
stop = "Question:"
""", 4, "[sampler]\ngen_length = 1024\n"),
    "humaneval-infilling": (humaneval_infilling, """type = "infilling"
prompt = "{text}"
match = "exact"
""", 0, ""),
}


def write(path, records):
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    if count == 0:
        sys.exit(f"{path}: no records")
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog=__doc__.split("\n\n", 1)[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("input", nargs="+", type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path, help="folder")
    parser.add_argument("--shots-input", nargs="+", type=pathlib.Path, default=[],
                        help="files that the solved examples come from")
    a = parser.parse_args()
    read, task, shots, rest = BENCHMARKS[a.benchmark]
    a.output.mkdir(parents=True, exist_ok=True)
    name = a.benchmark
    count = write(a.output / f"{name}.jsonl", (r for path in a.input for r in read(path)))
    text = f'[task]\nname = "{name}"\ndata = "{name}.jsonl"\n{task}'
    if a.shots_input:
        write(a.output / f"{name}-shots.jsonl", (r for path in a.shots_input for r in read(path)))
        text += f'shots = {shots}\nshots_data = "{name}-shots.jsonl"\n'
    elif shots:
        print(f"{name} is measured with {shots} solved examples: give --shots-input",
              file=sys.stderr)
    (a.output / f"{name}.toml").write_text(text + rest, encoding="utf-8")
    print(f"{a.output / name}.toml: {count} records")


if __name__ == "__main__":
    main()
