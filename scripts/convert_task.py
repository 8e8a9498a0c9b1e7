#!/usr/bin/env python3
"""Makes a task of `lacuna evaluate` (docs/evaluation.md) from the files of a public benchmark.

    scripts/convert_task.py arc ARC-Challenge-Test.jsonl --output tasks/arc
    scripts/convert_task.py mmlu test/*.csv --shots-input dev/*.csv --output tasks/mmlu

The first writes tasks/arc/arc.toml and tasks/arc/arc.jsonl. The second writes a task for each
subject (mmlu_anatomy.toml …), asked after the subject's own examples; `lacuna evaluate
tasks/mmlu/*.toml` prints each and the mean of all. Benchmarks and the files they come as:

    mmlu                 SUBJECT_test.csv, SUBJECT_dev.csv …, without a header: question, four
                         choices, the answer's letter
    arc                  JSONL: {"question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}
                         or, as on Hugging Face, {"question", "choices": {"text", "label"}, …}
    hellaswag            JSONL: {"activity_label", "ctx_a", "ctx_b", "endings", "label"}
    gsm8k                JSONL: {"question", "answer"}
    humaneval            HumanEval.jsonl.gz of OpenAI's human-eval: {"task_id", "prompt",
                         "canonical_solution", …}
    mbpp                 mbpp.jsonl: {"task_id", "text", "code", "test_list", …}; or the sanitized
                         JSON array, with "prompt" for "text"
    humaneval-infilling  JSONL: {"prompt", "suffix", "canonical_solution"}

Whether code is right, other programs say, which execute it: they read the lines that
`lacuna evaluate --outcomes` writes, as {"task_id", "completion"}.

Prompts are those of lm-evaluation-harness; shots and likelihood or sampler settings are those of
LLaDA's base model evaluation.
"""

import argparse
import csv
import dataclasses
import gzip
import io
import json
import pathlib
import re
import sys
import zlib
from typing import Callable


# Reading. Each gives (place, item): "file:line", and what stands there.


def text_of(path):
    """The file's text, line ends as they are, without a byte order mark."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        sys.exit(f"{path}: is damaged: {error}")
    except UnicodeDecodeError as error:
        line = error.object[:error.start].count(b"\n") + 1
        sys.exit(f"{path}:{line}: is not UTF-8")
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")


def jsonl(path):
    # Not splitlines(): U+2028 and its like may stand within a JSON string, and only \n ends a line.
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            sys.exit(f"{path}:{number}: malformed JSON: {error}")
        if not isinstance(item, dict):
            sys.exit(f"{path}:{number}: is not a JSON object")
        yield f"{path}:{number}", item


def jsonl_or_array(path):
    text = text_of(path)
    if not text.lstrip().startswith("["):
        yield from jsonl(path)
        return
    try:
        items = json.loads(text)
    except ValueError as error:
        sys.exit(f"{path}: malformed JSON: {error}")
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            sys.exit(f"{path}: element {number} is not a JSON object")
        yield f"{path}: element {number}", item


def mmlu_csv(path):
    subject = re.sub(r"_(test|dev|val)$", "", path.stem)
    reader = csv.reader(io.StringIO(text_of(path), newline=""))
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != 6:
                sys.exit(f"{path}:{reader.line_num}: has {len(row)} columns; MMLU's files have 6")
            yield f"{path}:{reader.line_num}", (subject, *row)
    except csv.Error as error:
        sys.exit(f"{path}:{reader.line_num}: malformed CSV: {error}")


# Converting one item to a record. What an item lacks is a KeyError or ValueError.


def mmlu(item):
    subject, question, *choices, answer = item
    options = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", choices))
    return {"subject": subject.replace("_", " "), "question": f"{question.strip()}\n{options}",
            "choices": list("ABCD"), "answer": list("ABCD").index(answer.strip())}


def arc(item):
    question = item["question"]
    choices = item.get("choices") or question["choices"]
    if isinstance(choices, dict):
        texts, labels = choices["text"], choices["label"]
    else:
        texts, labels = [c["text"] for c in choices], [c["label"] for c in choices]
    return {"question": question if isinstance(question, str) else question["stem"],
            "choices": texts, "answer": labels.index(item["answerKey"])}


def hellaswag(item):
    def clean(text):
        """As lm-evaluation-harness prepares it."""
        text = text.strip().replace(" [title]", ". ")
        return re.sub(r"\[.*?\]", "", text).replace("  ", " ")

    context = f"{item['ctx_a']} {item['ctx_b'].capitalize()}"
    return {"query": clean(f"{item['activity_label']}: {context}"),
            "choices": [clean(e) for e in item["endings"]], "answer": int(item["label"])}


def gsm8k(item):
    return {"question": item["question"], "answer": item["answer"],
            "number": item["answer"].split("####")[-1].strip()}


def humaneval(item):
    return {"task_id": item["task_id"], "prompt": item["prompt"],
            "canonical_solution": item["canonical_solution"]}


def mbpp(item):
    tests = item["test_list"]
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise ValueError('its "test_list" is no list of texts')
    setup = item.get("test_setup_code") or "\n".join(item.get("test_imports", []))
    return {"task_id": item["task_id"], "text": item["text"] if "text" in item else item["prompt"],
            "tests": "\n".join(tests), "code": item["code"].replace("\r\n", "\n"),
            "test_list": tests, "test_setup_code": setup}


def humaneval_infilling(item):
    return {"text": f"{item['prompt']}{{gap}}{item['suffix']}",
            "answers": [item["canonical_solution"]]}


@dataclasses.dataclass
class Benchmark:
    read: Callable
    convert: Callable
    task: str  # of [task], what all benchmarks do not share
    shots: int = 0
    rest: str = ""  # the other sections
    by: str = ""  # the field whose values are tasks of their own, in one group


BENCHMARKS = {
    "mmlu": Benchmark(mmlu_csv, mmlu, r"""type = "multiple_choice"
prompt = "The following are multiple choice questions (with answers) about {subject}.\n\n{shots}{question}\nAnswer:"
shot_prompt = "{question}\nAnswer:"
""", 5, "[likelihood]\nsamples = 1   # answers of one token: one mask is exact\n", by="subject"),
    "arc": Benchmark(jsonl, arc, r"""type = "multiple_choice"
prompt = "Question: {question}\nAnswer:"
""", rest="[likelihood]\nsamples = 128\n"),
    "hellaswag": Benchmark(jsonl, hellaswag, """type = "multiple_choice"
prompt = "{query}"
""", rest="[likelihood]\nsamples = 128\n"),
    "gsm8k": Benchmark(jsonl, gsm8k, r"""type = "generation"
prompt = "Question: {question}\nAnswer:"
match = "number"
stop = "Question:"
""", 4, "[sampler]\ngen_length = 1024\n"),
    "humaneval": Benchmark(jsonl, humaneval, r"""type = "generation"
prompt = "{prompt}"
answer = "{canonical_solution}"
stop = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
""", rest="[sampler]\ngen_length = 1024\n"),
    "mbpp": Benchmark(jsonl_or_array, mbpp, r"""type = "generation"
prompt = "You are an expert Python programmer, and here is your task: {text} Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
answer = "{code}"
choice_prefix = ""
shot_separator = "\n[DONE]\n\n"
stop = "[DONE]"
""", 4, "[sampler]\ngen_length = 1024\n"),
    "humaneval-infilling": Benchmark(jsonl, humaneval_infilling, """type = "infilling"
prompt = "{text}"
match = "exact"
"""),
}


def records_of(benchmark, paths):
    records = []
    for path in paths:
        for place, item in benchmark.read(path):
            try:
                record = benchmark.convert(item)
                # A surrogate alone, which JSON can spell, is no text.
                json.dumps(record, ensure_ascii=False).encode("utf-8")
            except KeyError as error:
                sys.exit(f"{place}: has no field {error}")
            except (ValueError, TypeError, AttributeError, IndexError) as error:
                sys.exit(f"{place}: is no record of this benchmark: {error}")
            records.append(record)
    return records


def by_task(name, benchmark, records):
    """The records of each task, by its name."""
    tasks = {}
    for record in records:
        task = f"{name}_{record[benchmark.by].replace(' ', '_')}" if benchmark.by else name
        tasks.setdefault(task, []).append(record)
    return tasks


def write_records(path, records):
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def write_task(folder, name, group, benchmark, records, shots):
    write_records(folder / f"{name}.jsonl", records)
    text = f"[task]\nname = {json.dumps(name)}\n"
    if group:
        text += f"group = {json.dumps(group)}\n"
    text += f"data = {json.dumps(name + '.jsonl')}\n{benchmark.task}"
    if shots:
        write_records(folder / f"{name}-shots.jsonl", shots)
        text += f"shots = {benchmark.shots}\nshots_data = {json.dumps(name + '-shots.jsonl')}\n"
    (folder / f"{name}.toml").write_text(text + benchmark.rest, encoding="utf-8", newline="\n")


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
    name, benchmark = a.benchmark, BENCHMARKS[a.benchmark]
    records = by_task(name, benchmark, records_of(benchmark, a.input))
    examples = by_task(name, benchmark, records_of(benchmark, a.shots_input))
    if not records:
        sys.exit(f"{', '.join(map(str, a.input))}: no records")
    if a.shots_input:
        for task in records:
            count = len(examples.get(task, []))
            if count < benchmark.shots:
                sys.exit(f"--shots-input has {count} records for {task}; {benchmark.shots} are needed")
    elif benchmark.shots:
        print(f"{name} is measured with {benchmark.shots} solved examples: give --shots-input",
              file=sys.stderr)
    a.output.mkdir(parents=True, exist_ok=True)
    for task, own in records.items():
        write_task(a.output, task, name if benchmark.by else "", benchmark, own,
                   examples.get(task, []))
        print(f"{a.output / task}.toml: {len(own)} records")


if __name__ == "__main__":
    main()
