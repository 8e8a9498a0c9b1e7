#!/usr/bin/env python3
"""Finds words that this project once had for what the field calls otherwise (docs/contributing.md).

Prints each with the field's term; exit code 1 if there is one. A line that must keep such a word, as
a file format or a message of another program does, ends with a comment: words: kept.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Where the old words are the subject: renamed keys and what was written with them.
SKIPPED = re.compile(r"scripts/check_words\.py|renamed_keys|earlier_keys|CHANGELOG\.md|tests/golden/")
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".inc", ".md", ".sh", ".py", ".toml", ".txt", ".in"}
TERMS = {
    r"shar(e|es|ed|ing) (a|the|one) (model|copy of the model)": "tensor parallel (TP) group",
    r"ModelShare|model shares?": "tensor-parallel shard",
    r"split[ _]rows": "sequence parallel",
    r"wanted[ _]rows|rows that ask": "query rows; logit rows",
    r"laid open": "trace written to",
    r"over the wires": "communication volume",
    r"lean low": "optimistic",
    r"matrix[- ]products?(?! *\()": "GEMM",
    r"dealt out": "sharded, permuted",
    r"learnt": "trained, learned",
    r"st(and|ood|ands) still": "stall",
    r"round[ _]master": "cast master weights",
    r"how manieth": "sequence number",
    r"whom (nobody|it) waits? for": "asynchronous",
    r"rounds?, in turns": "interleaved",
    r"tune[-_]products|use_product_algorithms": "tune_gemms, gemm_algorithms",
    r"random_remasking": 'remasking = "random"',
    r"(group|world|ranks_|grid|communicator)(\(\))?(\.|->)join\(\)": "wait()",
    r"double_attribute": "attribute",
    r"last_block_(forward|backward)|wanted_attention": "query rows of a block",
}
PATTERN = re.compile("|".join(f"(?P<t{i}>\\b(?:{p})\\b)" for i, p in enumerate(TERMS)), re.IGNORECASE)


def main():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    found = 0
    for name in names.decode().split("\0"):
        path = ROOT / name
        if not name or path.suffix not in SUFFIXES or SKIPPED.search(name) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for match in PATTERN.finditer(line):
                if "words: kept" in line:
                    continue
                term = list(TERMS.values())[int(match.lastgroup[1:])]
                print(f'{name}:{number}: "{match.group(0)}": the field says: {term}')
                found += 1
    print(f"{found} words")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
