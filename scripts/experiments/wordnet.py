#!/usr/bin/env python3
"""Terms and their definitions from WordNet's nouns (Debian's wordnet-base), as data for the
experiments.

    wordnet.py reversal --output data/wordnet [--facts 400]
    wordnet.py sft --output data/wordnet [--facts 600]
    wordnet.py forms --output data/wordnet [--facts 400]
    wordnet.py preference --output data/wordnet [--facts 400]

reversal: facts in one order each. One half of them is seen as "term: T | definition: D" (the forward
facts), the other as "definition: D | term: T", so that a model learns both forms, but each fact in
one order only. Writes reversal.jsonl to train on and reversal-test.jsonl, the forward facts, whose
terms are asked for in the order that was never seen.
sft: sft-corpus.jsonl (plain glosses of two thirds of the facts), sft-dialogues.jsonl (prompts with
responses of every other one of these), sft-rehearsal.jsonl (the same, and the glosses of both thirds
as prompts with responses), and for each third, sft-both, sft-corpus-only and sft-held-out: what tasks
ask, with four definitions of the same third to choose from (-task.jsonl), and for lacuna score the
answers in the chat template (-score.jsonl); of the last, sft-held-out.jsonl to validate with.
forms: facts in one order each, as reversal, but each in two of three forms of that order, so that the
third form of an order, and the forms of the other, can be asked for. Writes forms.jsonl to train on
and forms-0.jsonl, forms-1.jsonl, forms-2.jsonl: the forward facts that were not seen in that form.
preference: preference-corpus.jsonl (glosses) and preference-sft.jsonl (prompts with responses) of all
facts; preference.jsonl, pairs of one half of them, whose chosen response is the definition's first
SHORT words and whose rejected response is the definition; preference-held-out.jsonl, pairs of the
other half, and preference-test.jsonl, its terms.
"""

import argparse
import json
import pathlib
import random
import sys

SHORT = 4  # words of a chosen response
NOUNS = pathlib.Path("/usr/share/wordnet/data.noun")


def facts(nouns, longest):
    """(term, definition), one of each term: its first sense in the file, without examples."""
    if not nouns.exists():
        sys.exit(f"{nouns} is missing: apt-get install wordnet-base, or give --nouns")
    seen = set()
    for line in nouns.read_text(encoding="latin-1").splitlines():
        if line.startswith(" "):
            continue  # the licence
        fields, gloss = line.split(" | ", 1)
        term = fields.split()[4].replace("_", " ")
        definition = gloss.split(";")[0].split('"')[0].strip()
        ordinary = term.isascii() and definition.isascii() and "|" not in definition
        if ordinary and term not in seen and 10 <= len(definition) <= longest and len(term) <= 24:
            seen.add(term)
            yield term, definition


def write(path, records):
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
    partial.rename(path)
    print(f"{path}: {len(records)} records")


def reversal(a, all_facts):
    chosen = all_facts[:a.facts]
    half = len(chosen) // 2
    forward, backward = chosen[:half], chosen[half:]
    texts = [f"term: {t} | definition: {d}" for t, d in forward]
    texts += [f"definition: {d} | term: {t}" for t, d in backward]
    random.Random(2).shuffle(texts)
    write(a.output / "reversal-test.jsonl",
          # The gap takes the space before the term with it, as the term's first token does.
          [{"term": t, "definition": d,
            "text": f"term:{{gap}} | definition: {d}", "answers": [" " + t]} for t, d in forward])
    # Written last: the experiment takes its existence for that of all files.
    write(a.output / "reversal.jsonl", [{"text": t} for t in texts])


FORWARD = ["term: {t} | definition: {d}", "what is {t}? {d}", "{t} means {d}"]
BACKWARD = ["definition: {d} | term: {t}", "what is it called? {d}: {t}", "{d} is the meaning of {t}"]


def forms(a, all_facts):
    chosen = all_facts[:a.facts]
    half = len(chosen) // 2
    texts = []
    for order, some in ((FORWARD, chosen[:half]), (BACKWARD, chosen[half:])):
        for i, (t, d) in enumerate(some):
            texts += [form.format(t=t, d=d) for k, form in enumerate(order) if k != i % 3]
    random.Random(2).shuffle(texts)
    for k in range(3):
        write(a.output / f"forms-{k}.jsonl",
              [{"term": t, "definition": d} for i, (t, d) in enumerate(chosen[:half]) if i % 3 == k])
    write(a.output / "forms.jsonl", [{"text": t} for t in texts])


def sft(a, all_facts):
    chosen = all_facts[:a.facts]
    groups = {"both": chosen[0::3], "corpus-only": chosen[1::3], "held-out": chosen[2::3]}
    pair = lambda t, d: {"prompt": f"Define: {t}", "response": d}
    header = "<|start_header_id|>{}<|end_header_id|>\n\n"
    rng = random.Random(5)
    for name, some in groups.items():
        records = []
        for t, d in some:
            choices = rng.sample([o for _, o in some if o != d], 3) + [d]
            rng.shuffle(choices)
            records.append({"term": t, "definition": d, "choices": choices,
                            "answer": choices.index(d)})
        write(a.output / f"sft-{name}-task.jsonl", records)
        write(a.output / f"sft-{name}-score.jsonl",
              [{"prompt": "<|startoftext|>" + header.format("user") + f"Define: {t}<|eot_id|>" +
                header.format("assistant"), "text": f"{d}<|eot_id|>"} for t, d in some])
    write(a.output / "sft-corpus.jsonl",
          [{"text": f"{t}: {d}"} for t, d in groups["both"] + groups["corpus-only"]])
    write(a.output / "sft-rehearsal.jsonl",
          [pair(*f) for f in groups["both"]] +
          [{"prompt": f"{t}:", "response": d} for t, d in groups["both"] + groups["corpus-only"]])
    write(a.output / "sft-held-out.jsonl", [pair(*f) for f in groups["held-out"]])
    # Written last: the experiment takes its existence for that of all files.
    write(a.output / "sft-dialogues.jsonl", [pair(*f) for f in groups["both"]])


def preference(a, all_facts):
    chosen = [(t, d) for t, d in all_facts if len(d.split()) >= SHORT + 3][:a.facts]
    short = lambda d: " ".join(d.split()[:SHORT])
    pairs = [{"prompt": f"Define: {t}", "chosen": short(d), "rejected": d} for t, d in chosen]
    half = len(chosen) // 2
    write(a.output / "preference-corpus.jsonl", [{"text": f"{t}: {d}"} for t, d in chosen])
    write(a.output / "preference-sft.jsonl",
          [{"prompt": f"Define: {t}", "response": d} for t, d in chosen])
    write(a.output / "preference-held-out.jsonl", pairs[half:])
    write(a.output / "preference-test.jsonl",
          [{"term": t, "definition": d, "short": short(d)} for t, d in chosen[half:]])
    write(a.output / "preference.jsonl", pairs[:half])


# What makes each, of how many facts, with definitions of how many letters at most.
EXPERIMENTS = {"reversal": (reversal, 400, 60), "forms": (forms, 400, 60),
               "sft": (sft, 600, 60), "preference": (preference, 400, 60)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=EXPERIMENTS)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--nouns", type=pathlib.Path, default=NOUNS)
    parser.add_argument("--facts", type=int)
    a = parser.parse_args()
    experiment, count, longest = EXPERIMENTS[a.what]
    a.facts = a.facts or count
    a.output.mkdir(parents=True, exist_ok=True)
    all_facts = list(facts(a.nouns, longest))
    random.Random(1).shuffle(all_facts)
    if len(all_facts) < a.facts:
        sys.exit(f"WordNet gives {len(all_facts)} such facts, not {a.facts}")
    experiment(a, all_facts)


if __name__ == "__main__":
    main()
