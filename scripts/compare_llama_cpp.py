#!/usr/bin/env python3
"""Compares Lacuna with llama.cpp.

    pip install llama-cpp-python h5py numpy
    scripts/compare_llama_cpp.py --checkpoint runs/kjv [--text FILE] [--lacuna build/cpu/bin/lacuna]
    scripts/compare_llama_cpp.py --speed model.gguf [--threads 2] [--rows 160 32]

The first compares a checkpoint with its GGUF export in llama.cpp: the logits of random tokens, some
of them masked, and the ids of a text. For each type of weights the file is exported, loaded by llama.cpp and run once over the whole
sequence, without flash attention. Relative differences are of the Euclidean norms over all logits.
The exit code is 1 when f32 differs by more than 1e-3, or the ids of the text are not the same.

The second computes the logits of one GGUF file on both sides and times forward passes of one
sequence (scripts/random_gguf.py makes such a file, without a tokenizer): so many rows, logits at 3/8 of them, which is what two steps
of sampling as many masked as given tokens compute. Both sides take turns; medians count, and the
range of the ratios of neighbouring measurements is printed. --cpu-time takes the processor time of
one thread instead, which other programs on the machine change little.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import llama_cpp.llama_cpp as llama
import numpy as np


def run(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True).stdout


@llama.llama_log_callback
def be_silent(level, text, data):
    pass


class LlamaCpp:
    def __init__(self, path):
        llama.llama_log_set(be_silent, None)
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            sys.exit(f"{path}: llama.cpp cannot load it")
        self.vocab = llama.llama_model_get_vocab(self.model)

    def context(self, n, threads=None, flash_attention=0, cache_type=None):
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = max(32, n)
        parameters.flash_attn_type = flash_attention
        if cache_type is not None:
            parameters.type_k = parameters.type_v = cache_type
        if threads:
            parameters.n_threads = parameters.n_threads_batch = threads
        return llama.llama_init_from_model(self.model, parameters)

    @staticmethod
    def fill(batch, tokens, wanted, begin=0):
        """Tokens at positions from `begin` on; logits of the rows `wanted`."""
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = int(token), begin + i, 0
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        for i in wanted:
            batch.logits[i] = 1

    def decode(self, context, batch, wanted):
        """The logits of the rows `wanted`, valid until the next call."""
        if llama.llama_decode(context, batch) != 0:
            sys.exit("llama.cpp cannot run the sequence")
        width = llama.llama_vocab_n_tokens(self.vocab)
        return [np.ctypeslib.as_array(llama.llama_get_logits_ith(context, int(i)), (width,))
                for i in wanted]

    def passes(self, n, logits, threads, clock):
        """A function that runs n rows once and returns the seconds."""
        context = self.context(n, threads)
        batch = llama.llama_batch_init(n, 0, 1)
        vocabulary = llama.llama_vocab_n_tokens(self.vocab)
        self.fill(batch, [i * 977 % vocabulary for i in range(n)], range(logits))

        def run_once():
            llama.llama_memory_clear(llama.llama_get_memory(context), True)
            start = clock()
            if llama.llama_decode(context, batch) != 0:
                sys.exit("llama.cpp cannot run the sequence")
            llama.llama_synchronize(context)
            return clock() - start

        run_once()
        return run_once

    def logits(self, tokens):
        n = len(tokens)
        context = self.context(n)
        batch = llama.llama_batch_init(n, 0, 1)
        self.fill(batch, tokens, range(n))
        rows = np.stack(self.decode(context, batch, range(n)))
        llama.llama_batch_free(batch)
        return rows

    def tokenize(self, text):
        ids = (llama.llama_token * (len(text) + 8))()
        n = llama.llama_tokenize(self.vocab, text, len(text), ids, len(ids), False, False)
        return list(ids[:n])


def compare_logits(a, model, checkpoint, folder):
    """The relative difference of llama.cpp's logits from Lacuna's, and the share of rows whose
    likeliest token is the same."""
    import h5py
    vocabulary = llama.llama_vocab_n_tokens(model.vocab)
    random = np.random.default_rng(1)
    tokens = random.integers(vocabulary, size=a.length)
    mask = llama.llama_vocab_mask(model.vocab)
    if mask >= 0:
        tokens[random.random(a.length) < 0.3] = mask
    run(a.lacuna, "forward", "--checkpoint", checkpoint, "--tokens", " ".join(map(str, tokens)),
        "--output", str(folder / "logits.h5"))
    ours = h5py.File(folder / "logits.h5")["/logits"][()]
    theirs = model.logits(tokens.tolist())
    return (np.linalg.norm(theirs - ours) / np.linalg.norm(ours),
            np.mean(theirs.argmax(1) == ours.argmax(1)))


def lacuna_rows_per_second(a, n, threads):
    def bench(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = json.loads(run(
            a.lacuna, "bench", "--generate", a.speed, "--prompt-length", str(n // 2),
            "--gen-length", str(n - n // 2), "--steps", "2", "--cache", "none", "--rounds",
            str(rounds), "--threads", str(threads), "--json"))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    result, least = bench(1)
    if not a.cpu_time:
        return result["rows_per_second"]
    return 4 * n / (bench(3)[1] - least)  # two rounds more, of two passes


def compare_file(a):
    model = LlamaCpp(a.speed)
    with tempfile.TemporaryDirectory() as folder:
        difference, same = compare_logits(a, model, a.speed, pathlib.Path(folder))
    print(f"logits: relative difference {difference:.1e}, same likeliest token in "
          f"{100 * same:.1f} % of {a.length} rows", flush=True)
    clock = time.process_time if a.cpu_time else time.monotonic
    threads = 1 if a.cpu_time else a.threads
    for n in a.rows:
        theirs_once = model.passes(n, n * 3 // 8, threads, clock)
        ours, theirs = [], []
        for _ in range(a.rounds):
            theirs += [n / theirs_once(), n / theirs_once()]
            ours += [lacuna_rows_per_second(a, n, threads)] * 2
        ratios = [o / t for o, t in zip(ours, theirs)]
        print(f"{n} rows: Lacuna {statistics.median(ours):.1f} rows/s, llama.cpp "
              f"{statistics.median(theirs):.1f}; {statistics.median(ratios):.2f} times as many "
              f"({min(ratios):.2f} to {max(ratios):.2f}), {threads} "
              f"threads{', processor time' if a.cpu_time else ''}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint")
    what.add_argument("--speed", metavar="GGUF", help="both sides read this file, and are timed")
    parser.add_argument("--threads", type=int, default=2, help="--speed [%(default)s]")
    parser.add_argument("--rows", type=int, nargs="+", default=[160, 32], help="--speed")
    parser.add_argument("--cpu-time", action="store_true", help="--speed, with one thread")
    parser.add_argument("--rounds", type=int, default=5, help="--speed [%(default)s]")
    parser.add_argument("--lacuna", default="build/cpu/bin/lacuna")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--text", type=pathlib.Path, help="a file to tokenise with both")
    a = parser.parse_args()
    if a.speed:
        return compare_file(a)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for kind in ("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0"):
            file = folder / "model.gguf"
            run(a.lacuna, "export", "--checkpoint", a.checkpoint, "--format", "gguf", "--dtype",
                kind, "--output", str(file))
            model = LlamaCpp(file)
            difference, same = compare_logits(a, model, a.checkpoint, folder)
            print(f"{kind:5} relative difference {difference:.1e}, same likeliest token in "
                  f"{100 * same:.1f} % of {a.length} rows")
            failed |= kind == "f32" and not difference < 1e-3
            if a.text and kind == "f32":
                import h5py
                text = a.text.read_bytes()
                tokenizer = folder / "tokenizer.json"
                with h5py.File(a.checkpoint) as checkpoint:
                    tokenizer.write_bytes(checkpoint.attrs["tokenizer"])
                ours = subprocess.run([a.lacuna, "tokenizer", "encode", "--tokenizer",
                                       str(tokenizer)], input=text, check=True,
                                      capture_output=True).stdout.split()
                theirs = model.tokenize(text)
                same = [int(i) for i in ours] == theirs
                print(f"text: {len(ours)} ids, {'the same' if same else 'NOT the same'}")
                failed |= not same
    sys.exit(failed)


if __name__ == "__main__":
    main()
