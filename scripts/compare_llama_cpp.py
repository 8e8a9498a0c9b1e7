#!/usr/bin/env python3
"""Compares a checkpoint with its GGUF export in llama.cpp: the logits of random tokens, some of them
masked, and the ids of a text.

    pip install llama-cpp-python h5py numpy
    scripts/compare_llama_cpp.py --checkpoint runs/kjv [--text FILE] [--lacuna build/cpu/bin/lacuna]

For each type of weights the file is exported, loaded by llama.cpp and run once over the whole
sequence, without flash attention. Relative differences are of the Euclidean norms over all logits.
The exit code is 1 when f32 differs by more than 1e-3, or the ids of the text are not the same.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import h5py
import llama_cpp.llama_cpp as llama
import numpy as np


def run(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True).stdout


class LlamaCpp:
    def __init__(self, path):
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            sys.exit(f"{path}: llama.cpp cannot load it")
        self.vocab = llama.llama_model_get_vocab(self.model)

    def logits(self, tokens):
        n = len(tokens)
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = max(32, n)
        parameters.flash_attn_type = 0
        context = llama.llama_init_from_model(self.model, parameters)
        batch = llama.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = token, i, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        if llama.llama_decode(context, batch) != 0:
            sys.exit("llama.cpp cannot run the sequence")
        width = llama.llama_vocab_n_tokens(self.vocab)
        rows = [np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), (width,)).copy()
                for i in range(n)]
        llama.llama_batch_free(batch)
        return np.stack(rows)

    def tokenize(self, text):
        ids = (llama.llama_token * (len(text) + 8))()
        n = llama.llama_tokenize(self.vocab, text, len(text), ids, len(ids), False, False)
        return list(ids[:n])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--lacuna", default="build/cpu/bin/lacuna")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--text", type=pathlib.Path, help="a file to tokenise with both")
    a = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for kind in ("f32", "f16", "bf16", "q8_0"):
            file = folder / "model.gguf"
            run(a.lacuna, "export", "--checkpoint", a.checkpoint, "--format", "gguf", "--dtype",
                kind, "--output", str(file))
            model = LlamaCpp(file)
            vocabulary = llama.llama_vocab_n_tokens(model.vocab)
            random = np.random.default_rng(1)
            tokens = random.integers(vocabulary, size=a.length)
            mask = llama.llama_vocab_mask(model.vocab)
            if mask >= 0:
                tokens[random.random(a.length) < 0.3] = mask
            run(a.lacuna, "forward", "--checkpoint", a.checkpoint, "--tokens",
                " ".join(map(str, tokens)), "--output", str(folder / "logits.h5"))
            ours = h5py.File(folder / "logits.h5")["/logits"][()]
            theirs = model.logits(tokens.tolist())
            difference = np.linalg.norm(theirs - ours) / np.linalg.norm(ours)
            same = np.mean(theirs.argmax(1) == ours.argmax(1))
            print(f"{kind:5} relative difference {difference:.1e}, same likeliest token in "
                  f"{100 * same:.1f} % of {a.length} rows")
            failed |= kind == "f32" and not difference < 1e-3
            if a.text and kind == "f32":
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
