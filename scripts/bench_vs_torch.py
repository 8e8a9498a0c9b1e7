#!/usr/bin/env python3
"""Trains the same models with Lacuna and with PyTorch, and compares speed and memory.

    cmake --workflow --preset cpu
    python3 scripts/bench_vs_torch.py

Needs torch, for this comparison alone. Masked diffusion in f32 on random tokens with AdamW, clipped
at norm 1, every core. Each run is a process of its own; one of Lacuna, one of eager PyTorch and one
of torch.compile take turns for several rounds, so that other load on the machine meets all alike.
The PyTorch model is LLaDA's as published (github.com/ML-GSAI/LLaDA, arXiv:2502.09992): RMSNorm,
SwiGLU, half-split RoPE, scaled_dot_product_attention over the whole sequence, an untied head, logits
at every position and the cross-entropy of the masked ones over p.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# As in kernels/bench/op_cases.cpp.
SHAPES = {
    "5m": dict(vocab=4096, dim=256, layers=4, heads=4, ffn=704, length=256, batch=16),
    "34m": dict(vocab=8192, dim=512, layers=8, heads=8, ffn=1408, length=256, batch=8),
    "52m": dict(vocab=32000, dim=512, layers=6, heads=8, ffn=1408, length=256, batch=8),
}

# Variables that choose kernels or threads for one side's libraries. Both run without them unless
# --keep-environment, so that each side makes its own choice.
STEERING = ("OPENBLAS_", "MKL_", "OMP_", "KMP_", "GOMP_", "DNNL_", "ONEDNN_", "ATEN_CPU_",
            "GOTO_", "BLIS_", "NVPL_", "LACUNA_ISA")


def step_flops(s):
    """Multiply-adds (2 each) of a step that computes every logit: per token and layer, forward,
    2 C (4 C + 3 F) for the weights and 4 T C for attention's two products; backward twice the
    former and 10 T C for five products, since the scores are computed again; 6 V C for the head."""
    weights = s["layers"] * s["dim"] * (4 * s["dim"] + 3 * s["ffn"])
    attention = 14 * s["layers"] * s["length"] * s["dim"]
    return s["batch"] * s["length"] * (6 * weights + attention + 6 * s["vocab"] * s["dim"])


# --- the PyTorch side, run in a process of its own ------------------------------------------------


def torch_model(s):
    import torch
    import torch.nn.functional as F
    from torch import nn

    dim, heads = s["dim"], s["heads"]

    class RMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(dim))

        def forward(self, x):
            return F.rms_norm(x, (dim,), self.weight, 1e-5)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm, self.ffn_norm = RMSNorm(), RMSNorm()
            self.q, self.k, self.v, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
            self.gate, self.up = (nn.Linear(dim, s["ffn"], bias=False) for _ in range(2))
            self.down = nn.Linear(s["ffn"], dim, bias=False)

        def forward(self, x, cos, sin):
            def split(y):
                return y.view(*x.shape[:2], heads, dim // heads).transpose(1, 2)

            def rotate(y):
                a, b = y.chunk(2, dim=-1)
                return y * cos + torch.cat((-b, a), dim=-1) * sin

            h = self.attention_norm(x)
            q, k, v = rotate(split(self.q(h))), rotate(split(self.k(h))), split(self.v(h))
            y = F.scaled_dot_product_attention(q, k, v)
            x = x + self.out(y.transpose(1, 2).reshape(x.shape))
            h = self.ffn_norm(x)
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(s["vocab"], dim)
            self.blocks = nn.ModuleList(Block() for _ in range(s["layers"]))
            self.norm = RMSNorm()
            self.head = nn.Linear(dim, s["vocab"], bias=False)
            half = dim // heads // 2
            frequency = 10000.0 ** (-torch.arange(half) / half)
            angle = torch.outer(torch.arange(s["length"]).float(), frequency).repeat(1, 2)
            self.register_buffer("cos", angle.cos())
            self.register_buffer("sin", angle.sin())
            for p in self.parameters():
                if p.dim() == 2:
                    nn.init.normal_(p, std=0.02)

        def forward(self, tokens):
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block(x, self.cos, self.sin)
            return self.head(self.norm(x))

    return Model()


def torch_peak():
    """The best of some 0.3 s of square f32 products, as measure_matmul_peak in kernels/bench."""
    import torch

    best, spent = 0.0, 0.0
    with torch.no_grad():
        while spent < 0.3:
            for n in (512, 768, 1024, 1536, 2048):
                x, w = torch.full((n, n), 0.5), torch.full((n, n), 0.25)
                torch.mm(x, w.t())
                start = time.perf_counter()
                torch.mm(x, w.t())
                seconds = time.perf_counter() - start
                spent += seconds
                best = max(best, 2 * n**3 / seconds)
    return best


def torch_worker(kind, name, steps, threads):
    import torch
    import torch.nn.functional as F

    s = SHAPES[name]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = torch_model(s)
    forward = torch.compile(model) if kind == "compile" else model
    try:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                                      weight_decay=0.1, fused=True)
    except RuntimeError:  # releases before 2.4 have no fused AdamW for the CPU
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                                      weight_decay=0.1)
    mask_token, batch, length = s["vocab"] - 1, s["batch"], s["length"]

    def step():
        tokens = torch.randint(mask_token, (batch, length))
        p = ((1 - 1e-3) * torch.rand(batch) + 1e-3)[:, None].repeat(1, length)
        masked = torch.rand(batch, length) < p
        logits = forward(torch.where(masked, mask_token, tokens))
        loss = F.cross_entropy(logits[masked], tokens[masked], reduction="none") / p[masked]
        loss = loss.sum() / (batch * length)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    for _ in range(3):  # compilation, allocation
        step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    median = statistics.median(seconds)
    print(json.dumps(dict(
        tokens_per_s=batch * length / median, peak_rss_bytes=memory, loss=loss,
        parameters=sum(p.numel() for p in model.parameters()), threads=threads,
        flops_per_s=step_flops(s) / median, matmul_peak_flops=torch_peak(),
        device=f"torch {torch.__version__}")))


# --- the comparison -------------------------------------------------------------------------------


def run(command, environment):
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def compare(name, sides, options, environment):
    s, me = SHAPES[name], [sys.executable, __file__]
    common = ["--shape", name, "--steps", str(options.steps), "--threads", str(options.threads)]
    results = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            command = ([options.lacuna, "bench", "--train", "--json"] if side == "lacuna"
                       else me + ["--worker", side]) + common
            results[side].append(run(command, environment))
    print(f"\n{name}: V {s['vocab']}, C {s['dim']}, L {s['layers']}, H {s['heads']}, "
          f"F {s['ffn']}, T {s['length']}, B {s['batch']}; {options.threads} threads, "
          f"median of {options.rounds} runs of {options.steps} steps")
    print(f"{'':10}{'tokens/s':>10}{'(min - max)':>18}{'peak RSS':>12}{'executed':>14}"
          f"{'own peak':>14}{'share':>8}")

    def median(side, key):
        return statistics.median(r[key] for r in results[side])

    for side in sides:
        speeds = [r["tokens_per_s"] for r in results[side]]
        shares = [r["flops_per_s"] / r["matmul_peak_flops"] for r in results[side]]
        spread = f"({min(speeds):.0f} - {max(speeds):.0f})"
        print(f"{side:10}{median(side, 'tokens_per_s'):10.0f}{spread:>18}"
              f"{median(side, 'peak_rss_bytes') / 2**20:8.0f} MiB"
              f"{median(side, 'flops_per_s') / 1e9:7.0f} GFLOP/s"
              f"{median(side, 'matmul_peak_flops') / 1e9:6.0f} GFLOP/s"
              f"{statistics.median(shares):8.0%}")
    if "lacuna" in sides:
        for side in sides:
            if side != "lacuna":
                # Of each round by itself: what slowed one of its runs slowed the other too.
                ratios = [a["tokens_per_s"] / b["tokens_per_s"]
                          for a, b in zip(results["lacuna"], results[side])]
                memory = median("lacuna", "peak_rss_bytes") / median(side, "peak_rss_bytes")
                print(f"lacuna / {side}: {statistics.median(ratios):.2f} times the tokens/s "
                      f"({min(ratios):.2f} - {max(ratios):.2f}), {memory:.2f} times the memory")
    sys.stdout.flush()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, help="one shape; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="timed steps per run")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sides", nargs="+", choices=["lacuna", "eager", "compile"],
                        default=["lacuna", "eager", "compile"])
    parser.add_argument("--lacuna", default=str(ROOT / "build/cpu/bin/lacuna"))
    parser.add_argument("--keep-environment", action="store_true",
                        help="keep variables that steer the libraries' choice of kernels")
    parser.add_argument("--json", help="write every run's figures to this file")
    parser.add_argument("--worker", choices=["eager", "compile"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        torch_worker(options.worker, options.shape, options.steps, options.threads)
        return
    environment = dict(os.environ)
    if not options.keep_environment:
        dropped = sorted(v for v in environment if v.startswith(STEERING))
        for variable in dropped:
            del environment[variable]
        if dropped:
            print("left out of the environment:", ", ".join(dropped))
    results = {name: compare(name, options.sides, options, environment)
               for name in ([options.shape] if options.shape else SHAPES)}
    print("\nexecuted: multiply-adds (2 each) actually done per second, logits of the masked\n"
          "positions only where a side computes no others; own peak: the side's own best matrix\n"
          "product; share: of the peak measured in the same run")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
