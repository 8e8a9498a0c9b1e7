#!/usr/bin/env python3
"""Multiple-choice questions from the held-out end of a text.

    passages.py kjv.txt --output data/experiments [--questions 400]

passages-continuations.jsonl: twenty words of a passage, and four continuations of eight words: its own
and those of three other passages. passages-words.jsonl: the same with continuations of one word, the
others being words of the same frequency class, so that frequency says little.
"""

import argparse
import collections
import json
import pathlib
import random

GIVEN, ASKED, CHOICES = 20, 8, 4
HELD_OUT = 0.05  # of the text: prepare's --validation-fraction with --validation-parts 1


def questions(words, count, rng):
    starts = rng.sample(range(0, len(words) - GIVEN - ASKED, GIVEN + ASKED), count)
    return [(words[s:s + GIVEN], words[s + GIVEN:s + GIVEN + ASKED]) for s in starts]


def record(given, right, others, rng):
    choices = [right, *others]
    rng.shuffle(choices)
    return {"text": " ".join(given), "choices": [" " + c for c in choices],
            "answer": choices.index(right)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--questions", type=int, default=400)
    a = parser.parse_args()
    text = a.text.read_text(encoding="utf-8")
    words = text[int(len(text) * (1 - HELD_OUT)):].split()[1:]
    frequency = collections.Counter(text.split())
    common = sorted(frequency, key=lambda w: (-frequency[w], w))
    rank = {w: i for i, w in enumerate(common)}
    rng = random.Random(4)
    asked = questions(words, a.questions, rng)
    ends = [" ".join(end) for _, end in asked]
    continuations, single = [], []
    for (given, end), right in zip(asked, ends):
        others = rng.sample([e for e in ends if e != right], CHOICES - 1)
        continuations.append(record(given, right, others, rng))
        word = end[0]
        near = common[max(0, rank[word] - 10):rank[word] + 11]
        single.append(record(given, word, rng.sample([w for w in near if w != word], CHOICES - 1), rng))
    for name, records in (("continuations", continuations), ("words", single)):
        path = a.output / f"passages-{name}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
        print(f"{path}: {len(records)} records")


if __name__ == "__main__":
    main()
