#!/usr/bin/env python3
"""Times `lacuna prepare` beside Hugging Face's tokenizers on the same file, from JSONL to token ids on disk.

    cmake --workflow --preset cpu
    python3 scripts/bench_tokenizer.py --input texts.jsonl --tokenizer tokenizer.json

Needs the package tokenizers, for this comparison alone. Both read the lines, take "text", encode it with
the same tokenizer.json and write the ids; tokenizers by encode_batch_fast, its fastest way, in batches of
1,000 texts. Each run is a process of its own, and both take turns for several rounds, so that other load
on the machine meets both alike. MB are 10^6 bytes of text, and "per core" is per second of CPU time of
all threads. The numbers of tokens must agree.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH = 1000


def encode(path, tokenizer, output):
    """The side of tokenizers, in a process of its own; prints the number of tokens."""
    import array

    import tokenizers

    encoder = tokenizers.Tokenizer.from_file(tokenizer)
    count = 0
    with open(path, encoding="utf-8") as lines, open(output, "wb") as file:
        def flush(texts):
            nonlocal count
            for encoding in encoder.encode_batch_fast(texts, add_special_tokens=False):
                count += len(encoding.ids)
                array.array("I", encoding.ids).tofile(file)
        texts = []
        for line in lines:
            texts.append(json.loads(line)["text"])
            if len(texts) == BATCH:
                flush(texts)
                texts = []
        flush(texts)
    print(count)


def timed(command, environment):
    """Wall and CPU seconds, and what it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr.strip()}")
    return (wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            done.stdout + done.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=pathlib.Path, required=True, help='JSONL of {"text": ...}')
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="tokenizer.json")
    parser.add_argument("--lacuna", default=str(ROOT / "build/cpu/bin/lacuna"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--encode", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.encode:
        return encode(a.input, str(a.tokenizer), a.encode)
    texts = documents = 0
    with a.input.open(encoding="utf-8") as lines:
        for line in lines:
            texts += len(json.loads(line)["text"].encode())
            documents += 1
    found = {"lacuna": [], "tokenizers": []}
    with tempfile.TemporaryDirectory() as folder:
        h5, ids = f"{folder}/tokens.h5", f"{folder}/tokens.bin"
        counts = {}
        for _ in range(a.rounds):
            for side, command in (
                    ("lacuna", [a.lacuna, "prepare", "--tokenizer", a.tokenizer, "--format", "jsonl",
                                "--input", a.input, "--output", h5]),
                    ("tokenizers", [sys.executable, __file__, "--input", a.input, "--tokenizer",
                                    a.tokenizer, "--encode", ids])):
                pathlib.Path(h5 if side == "lacuna" else ids).unlink(missing_ok=True)
                wall, cpu, out = timed([str(c) for c in command], {"TOKENIZERS_PARALLELISM": "true"})
                found[side].append((texts / 1e6 / wall, texts / 1e6 / cpu))
                if side == "lacuna":  # an end token follows each document
                    counts[side] = int(re.search(r"([\d,]+) tokens", out)[1].replace(",", "")) - documents
                else:
                    counts[side] = int(out)
        if len(set(counts.values())) > 1:
            sys.exit(f"the numbers of tokens differ: {counts}")
    print(f"{documents:,} texts, {texts / 1e6:.1f} MB, {counts['lacuna']:,} tokens, {os.cpu_count()} cores, "
          f"median of {a.rounds} rounds")
    medians = {side: [statistics.median(x) for x in zip(*runs)] for side, runs in found.items()}
    for side, (wall, cpu) in medians.items():
        print(f"{side:<12} {wall:8.1f} MB/s  {cpu:8.1f} MB/s per core")
    ratios = [l[1] / t[1] for l, t in zip(*found.values())]
    print(f"per core {statistics.median(ratios):.1f} x ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
