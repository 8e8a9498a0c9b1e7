#!/usr/bin/env python3
"""Generates text with Lacuna and with PyTorch, from the same shapes of model, and compares speed.

    cmake --workflow --preset cpu
    python3 scripts/bench_generate.py

Needs torch, for this comparison alone; without it only Lacuna's sides run. Random weights, a prompt of
32 random tokens, temperature 0, one sequence, every core. Each run is a process of its own, and all
sides take turns for several rounds, so that other load on the machine meets all alike. Sides:

    none      LLaDA's generate(): every pass computes the whole canvas (blocks of 32, one token per pass)
    dual      the same with Fast-dLLM's dual cache (arXiv:2505.22618): a pass over all rows when a block
              begins, then passes over the block alone
    block     a block-causal model of blocks of 32 with exact keys and values, strategy threshold;
              random weights are never certain, so this too commits one token per pass
    causal    an autoregressive model with keys and values kept

in f32 (and, with --bf16, none-bf16… in bf16), and each of them by PyTorch, torch-…: a transformer of the
same shape, no compilation, scaled_dot_product_attention, the head on the masked rows of the block alone.
With --steps N, the sides none and dual take N passes and commit so many tokens in each. With --compile the
side none has PyTorch's best too, compile-…: torch.compile in mode max-autotune with frozen weights.
With --llama-cpp (packages llama-cpp-python and gguf), llama-… too: the same loops around llama.cpp's
forward pass in f32, which knows the whole canvas without a cache and the autoregressive case alone.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import bench_vs_torch as training

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK = 32
SIDES = ["none", "dual", "block", "causal"]
LACUNA = {
    "none": ["--block-length", str(BLOCK)],
    "dual": ["--block-length", str(BLOCK), "--cache", "dual"],
    "block": ["--set", "model.attention=block_causal", "--set", f"model.block_size={BLOCK}", "--set",
              "train.objective=block_diffusion"],
    "causal": ["--set", "model.attention=causal", "--set", "train.objective=autoregressive"],
}


def config_of(shape, length):
    """A configuration with the model of a shape, as text."""
    s = training.SHAPES[shape]
    return (f"[model]\nvocab_size = {s['vocab']}\nhidden_size = {s['dim']}\nnum_layers = {s['layers']}\n"
            f"num_heads = {s['heads']}\nintermediate_size = {s['ffn']}\nmax_seq_length = {length}\n"
            f"mask_token = {s['vocab'] - 1}\n\n[data]\nsequence_length = {length}\n")


# --- the PyTorch side, run in a process of its own ------------------------------------------------


class TorchDecoder:
    """The passes that decoding needs: rows at given positions, whose keys and values replace those
    kept, attend to the kept ones of positions [0, visible)."""

    def __init__(self, shape, length, dtype):
        import torch

        self.s, self.torch = training.SHAPES[shape], torch
        self.model = training.torch_model(self.s | dict(length=length)).to(dtype).eval()
        heads, dim = self.s["heads"], self.s["dim"]
        kept = (self.s["layers"], heads, length, dim // heads)
        self.keys, self.values = torch.zeros(kept, dtype=dtype), torch.zeros(kept, dtype=dtype)
        self.cos, self.sin = self.model.cos.to(dtype), self.model.sin.to(dtype)
        self.compiled = None

    def compile(self):
        """Passes over the whole canvas; the number of rows with logits varies."""
        import torch._inductor.config

        torch._inductor.config.freezing = True
        self.compiled = torch.compile(self.forward, mode="max-autotune-no-cudagraphs")

    def whole_canvas(self, canvas, rows):
        if not self.compiled:
            return self.forward(canvas, 0, len(canvas), rows)
        self.torch._dynamo.mark_dynamic(rows, 0)
        return self.compiled(canvas, None, len(canvas), rows)

    def forward(self, tokens, begin, visible, logit_rows, causal=False):
        """Logits of `logit_rows`, an index of the rows [begin, begin + len(tokens)); begin None: of all
        positions, none being kept."""
        import torch.nn.functional as F

        torch, heads, n = self.torch, self.s["heads"], len(tokens)
        at = slice(begin or 0, (begin or 0) + n)
        cos, sin = self.cos[at], self.sin[at]

        def rotate(y):
            a, b = y.chunk(2, dim=-1)
            return y * cos + torch.cat((-b, a), dim=-1) * sin

        x = self.model.embedding(tokens)
        for layer, block in enumerate(self.model.blocks):
            h = block.attention_norm(x)
            q, k, v = (f(h).view(n, heads, -1).transpose(0, 1) for f in (block.q, block.k, block.v))
            k = rotate(k)
            if begin is not None:
                self.keys[layer, :, at], self.values[layer, :, at] = k, v
                k, v = self.keys[layer, :, :visible], self.values[layer, :, :visible]
            y = F.scaled_dot_product_attention(rotate(q)[None], k[None], v[None], is_causal=causal)[0]
            if layer + 1 == len(self.model.blocks):  # the rest of the last block for logit rows alone
                x, y = x[logit_rows], y[:, logit_rows]
            x = x + block.out(y.transpose(0, 1).reshape(x.shape))
            h = block.ffn_norm(x)
            x = x + block.down(F.silu(block.gate(h)) * block.up(h))
        return self.model.head(self.model.norm(x)).float()

    def commit_most_confident(self, canvas, rows, logits, count):
        p = logits.softmax(-1)
        confidence, token = p.max(-1)
        best = confidence.topk(count).indices
        canvas[rows[best]] = token[best]

    def masked(self, canvas, begin, end):
        return begin + (canvas[begin:end] == self.s["vocab"] - 1).nonzero()[:, 0]

    def generate(self, side, prompt, gen_length, tokens_per_pass=1):
        torch, mask = self.torch, self.s["vocab"] - 1
        canvas = torch.cat((prompt, torch.full((gen_length,), mask)))
        total, start = len(canvas), len(prompt)
        if side == "causal":
            logits = self.forward(prompt, 0, start, [start - 1], causal=True)
            for at in range(start, total):
                canvas[at] = logits[0].argmax()
                if at + 1 < total:
                    logits = self.forward(canvas[at:at + 1], at, at + 1, [0])
            return canvas
        if side == "block":
            self.forward(canvas[:start], 0, start, [0])
        for begin in range(start, total, BLOCK):
            end = begin + BLOCK
            for step in range(BLOCK // tokens_per_pass):
                rows = self.masked(canvas, begin, end)
                if side == "none" or (side == "dual" and step == 0):
                    logits = self.whole_canvas(canvas, rows)
                else:
                    visible = total if side == "dual" else end
                    logits = self.forward(canvas[begin:end], begin, visible, rows - begin)
                self.commit_most_confident(canvas, rows, logits, tokens_per_pass)
            if side == "block":  # keys and values without masks
                self.forward(canvas[begin:end], begin, end, [0])
        return canvas


def torch_worker(options):
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    dtype = torch.bfloat16 if options.worker.endswith("bf16") else torch.float32
    side = options.worker.split("-")[1]
    length = options.prompt_length + options.gen_length
    decoder = TorchDecoder(options.shape, length, dtype)
    prompt = torch.randint(decoder.s["vocab"] - 1, (options.prompt_length,))
    count = options.gen_length // options.steps
    if options.worker.startswith("compile"):
        decoder.compile()
    with torch.no_grad():
        warm = options.gen_length if decoder.compiled else 2 * BLOCK if side != "causal" else 8
        decoder.generate(side, prompt, warm, count)
        start = time.perf_counter()
        decoder.generate(side, prompt, options.gen_length, count)
        seconds = time.perf_counter() - start
    print(json.dumps(dict(tokens_per_second=options.gen_length / seconds)))


# --- the llama.cpp side, run in a process of its own ----------------------------------------------


class LlamaDecoder:
    def __init__(self, path, length, threads):
        import compare_llama_cpp

        self.llama = llama = compare_llama_cpp.llama
        self.model = compare_llama_cpp.LlamaCpp(path)
        self.context = self.model.context(length, threads, llama.LLAMA_FLASH_ATTN_TYPE_AUTO,
                                          llama.GGML_TYPE_F32)
        self.batch = llama.llama_batch_init(length, 0, 1)
        self.width = llama.llama_vocab_n_tokens(self.model.vocab)

    def logits(self, tokens, begin, wanted):
        """Of the rows `wanted` among rows [begin, begin + len(tokens))."""
        import numpy as np

        self.model.fill(self.batch, tokens, wanted, begin)
        return np.stack(self.model.decode(self.context, self.batch, wanted))

    def generate(self, side, prompt, gen_length, tokens_per_pass):
        import numpy as np

        llama, mask = self.llama, self.width - 1
        memory = llama.llama_get_memory(self.context)
        llama.llama_memory_clear(memory, True)
        llama.llama_set_causal_attn(self.context, side == "causal")
        start, total = len(prompt), len(prompt) + gen_length
        if side == "causal":
            logits = self.logits(prompt, 0, [start - 1])
            for at in range(start, total - 1):
                logits = self.logits([logits[0].argmax()], at, [0])
            return
        canvas = np.concatenate((prompt, np.full(gen_length, mask)))
        for begin in range(start, total, BLOCK):
            for _ in range(BLOCK // tokens_per_pass):
                rows = begin + np.flatnonzero(canvas[begin:begin + BLOCK] == mask)
                llama.llama_memory_clear(memory, True)
                logits = self.logits(canvas, 0, rows)
                logits[:, mask] = -np.inf
                best = logits.max(1, keepdims=True)
                confidence = 1 / np.exp(logits - best).sum(1)
                best = np.argsort(-confidence)[:tokens_per_pass]
                canvas[rows[best]] = logits[best].argmax(1)


def write_gguf(path, s, length):
    import random_gguf

    random_gguf.write(argparse.Namespace(
        output=path, architecture="llama", type="f32", layers=s["layers"], context=length,
        hidden_size=s["dim"], intermediate_size=s["ffn"], heads=s["heads"], vocab_size=s["vocab"],
        experts=0))


def llama_worker(options):
    import numpy as np

    side = options.worker.split("-")[1]
    length = options.prompt_length + options.gen_length
    decoder = LlamaDecoder(options.gguf, length, options.threads)
    prompt = np.random.default_rng(1).integers(decoder.width - 1, size=options.prompt_length)
    count = options.gen_length // options.steps
    decoder.generate(side, prompt, BLOCK if side != "causal" else 8, count)  # to warm up
    start = time.perf_counter()
    decoder.generate(side, prompt, options.gen_length, count)
    print(json.dumps(dict(tokens_per_second=options.gen_length / (time.perf_counter() - start))))


# --- the comparison -------------------------------------------------------------------------------


def lacuna_command(side, options, config):
    kind, _, dtype = side.partition("-")
    return [options.lacuna, "bench", "--generate", "--json", "--rounds", "1", "--threads",
            str(options.threads), "--config", config, "--prompt-length", str(options.prompt_length),
            "--gen-length", str(options.gen_length), "--dtype", dtype or "f32"] + LACUNA[kind] + (
                ["--steps", str(options.steps)] if options.steps < options.gen_length else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=training.SHAPES, default="34m")
    parser.add_argument("--prompt-length", type=int, default=32, help="a multiple of 32")
    parser.add_argument("--gen-length", type=int, default=128, help="a multiple of 32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, help="passes of sides none and dual [--gen-length]")
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="[all; with --steps none and dual]")
    parser.add_argument("--compile", action="store_true", help="side none by a compiled PyTorch model too")
    parser.add_argument("--bf16", action="store_true", help="in bf16 too")
    parser.add_argument("--llama-cpp", action="store_true", help="llama.cpp too, in f32")
    parser.add_argument("--lacuna", default=str(ROOT / "build/cpu/bin/lacuna"))
    parser.add_argument("--json", help="write every run's figures to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--gguf", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prompt_length % BLOCK or options.gen_length % BLOCK:
        parser.error(f"--prompt-length and --gen-length must be multiples of {BLOCK}")
    blocks, passes = options.gen_length // BLOCK, options.steps or options.gen_length
    if passes < blocks or passes % blocks or BLOCK % (passes // blocks):
        parser.error(f"--steps must be {blocks}, the number of blocks, times a power of two up to {BLOCK}")
    options.sides = options.sides or (SIDES[:2] if options.steps else SIDES)
    if options.steps and not set(options.sides) <= set(SIDES[:2]):
        parser.error("--steps is for sides none and dual")
    options.steps = passes
    if options.worker:
        (llama_worker if options.worker.startswith("llama") else torch_worker)(options)
        return
    environment = {k: v for k, v in os.environ.items() if not k.startswith(training.STEERING)}
    sides = list(options.sides) + ([f"{s}-bf16" for s in options.sides] if options.bf16 else [])
    ours = {side: "torch-" + (side if "-" in side else f"{side}-f32") for side in sides}
    try:
        import torch

        sides += ours.values()
        if options.compile:
            sides += [theirs.replace("torch", "compile") for theirs in ours.values() if "-none-" in theirs]
        print(f"torch {torch.__version__}")
    except ImportError:
        print("torch is not here: Lacuna's sides alone")
    length = options.prompt_length + options.gen_length
    config = pathlib.Path(f"/tmp/bench_generate.{os.getpid()}.toml")
    config.write_text(config_of(options.shape, length))
    file = config.with_suffix(".gguf")
    if options.llama_cpp:
        sides += [f"llama-{side}-f32" for side in options.sides if side in ("none", "causal")]
        write_gguf(file, training.SHAPES[options.shape], length)
    results = {side: [] for side in sides}
    try:
        for _ in range(options.rounds):
            for side in sides:
                if side in ours:
                    command = lacuna_command(side, options, str(config))
                else:
                    command = [sys.executable, __file__, "--worker", side, "--shape", options.shape,
                               "--prompt-length", str(options.prompt_length), "--gen-length",
                               str(options.gen_length), "--threads", str(options.threads), "--steps",
                               str(options.steps), "--gguf", str(file)]
                results[side].append(training.run(command, environment))
    finally:
        config.unlink()
        file.unlink(missing_ok=True)
    print(f"{options.shape}: {options.gen_length} tokens after {options.prompt_length} in {options.steps} "
          f"passes, {options.threads} threads, median of {options.rounds} runs")
    speed = {side: [r["tokens_per_second"] for r in runs] for side, runs in results.items()}
    base = statistics.median(speed[sides[0]])
    for side in sides:
        median = statistics.median(speed[side])
        line = f"  {side:18}{median:9.1f} tokens/s ({min(speed[side]):.1f} - {max(speed[side]):.1f})"
        line += f"{median / base:8.2f} x {sides[0]}"
        theirs = ours.get(side, "")
        for other in (theirs, theirs.replace("torch", "compile"), f"llama-{side}-f32"):
            if other in speed:
                ratios = [a / b for a, b in zip(speed[side], speed[other])]
                line += f"{statistics.median(ratios):8.2f} x {other}"
        if side in ours:
            line += f"  {results[side][0]['rows']} rows in {results[side][0]['passes']} passes"
        print(line)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
