#!/usr/bin/env python3
"""Tables (Markdown, on standard output) and plots of the experiments.

    report.py EXPERIMENT RUNS --output PLOT.png          # EXPERIMENT.sh prints and draws it
    report.py texts SAMPLES.txt --output TEXTS.jsonl     # `lacuna sample --num-samples` as JSONL
    report.py passages BOOK.txt --output TEXTS.jsonl     # 24 passages of its end, of a sample's length

The first error of a figure is over records or masks, the second one over runs of several seeds.
"""

import argparse
import pathlib

from reports import bounds, knowledge, texts

REPORTS = {report.__name__: report for report in (
    knowledge.reversal, knowledge.forms, knowledge.sft, knowledge.preference, knowledge.tasks,
    bounds.scaling, bounds.block, bounds.repetition, bounds.recipe, bounds.fp8,
    texts.sampler, texts.decoding, texts.texts, texts.passages)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=REPORTS)
    parser.add_argument("input", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    a = parser.parse_args()
    REPORTS[a.what](a.input, a.output)


if __name__ == "__main__":
    main()
