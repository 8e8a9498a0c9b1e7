#!/usr/bin/env python3
"""Trains the same models with Lacuna and with PyTorch, and compares speed and memory.

    cmake --workflow --preset cpu
    python3 scripts/bench_vs_torch.py

Needs torch, for this comparison alone. Masked diffusion on random tokens with AdamW, clipped at norm
1, every core. Each run is a process of its own; all sides take turns for several rounds, so that other
load on the machine meets all alike. Sides:

    lacuna, lacuna-bf16        in f32; in bf16 (f32 master weights, moments and gradients)
    eager, compile             PyTorch in f32, torch.compile: logits at every position, as published
    masked-f32, masked-bf16    the best of PyTorch: torch.compile, logits of the masked rows alone; in
                               f32, and with bf16 autocast

The PyTorch model is LLaDA's as published (github.com/ML-GSAI/LLaDA, arXiv:2502.09992): RMSNorm,
SwiGLU, half-split RoPE, scaled_dot_product_attention over the whole sequence, an untied head, and the
cross-entropy of the masked positions over p. Half of the tokens are masked on average.

    cmake --preset cuda && cmake --build --preset cuda --target lacuna
    python3 scripts/bench_vs_torch.py --device cuda

does the same on a GPU in bf16 (PyTorch by autocast: both sides keep f32 master weights and moments),
at blocks of the 1B and 8B shapes with LLaDA's vocabulary. PyTorch is compiled, with the attention
pinned to one backend after another, and with a head over all rows and over the masked ones alone, as
Lacuna's; before that, attention by itself is compared. Every run prints MFU of 989.4 TFLOP/s, an
H100's or H200's dense bf16 peak, for the operations that the loss needs and for those of a full head.
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
GPU_SHAPES = {
    "1b-4": dict(vocab=126464, dim=2048, layers=4, heads=16, ffn=5632, length=4096, batch=1),
    "8b-2": dict(vocab=126464, dim=4096, layers=2, heads=32, ffn=12288, length=4096, batch=1),
}
ALL_SHAPES = SHAPES | GPU_SHAPES
GPU_PEAK = 989.4e12  # H100 SXM and H200 SXM, dense bf16, by their data sheets
CPU_SIDES = ["eager", "compile", "masked-f32", "masked-bf16"]  # PyTorch's
LACUNA_SIDES = {"lacuna": "f32", "lacuna-bf16": "bf16"}
# A PyTorch side on a GPU is compiled, with one attention backend and one head rule.
GPU_SIDES = [f"{backend}-{head}" for backend in ("cudnn", "flash") for head in ("masked", "full")]

# Variables that choose kernels or threads for one side's libraries. Both run without them unless
# --keep-environment, so that each side makes its own choice.
STEERING = ("OPENBLAS_", "MKL_", "OMP_", "KMP_", "GOMP_", "DNNL_", "ONEDNN_", "ATEN_CPU_",
            "GOTO_", "BLIS_", "NVPL_", "LACUNA_ISA")


def step_flops(s, predicted):
    """Multiply-adds (2 each) of a step that computes logits of a share `predicted` of the tokens: per
    token and layer, forward, 2 C (4 C + 3 F) for the weights and 4 T C for attention's two products;
    backward twice the former and 10 T C for five products, since the scores are computed again;
    6 V C for the head."""
    weights = s["layers"] * s["dim"] * (4 * s["dim"] + 3 * s["ffn"])
    attention = 14 * s["layers"] * s["length"] * s["dim"]
    head = 6 * s["vocab"] * s["dim"] * predicted
    return s["batch"] * s["length"] * (6 * weights + attention + head)


def model_flops(s, predicted):
    """What a step asks of GEMMs when a share `predicted` of the tokens has logits, nothing
    being computed again: training_flops() of src/training/flops.h."""
    n, c = s["batch"] * s["length"], s["dim"]
    m = predicted * n
    rest, key_value = 2 * c * c + 3 * c * s["ffn"], 2 * c * c
    weights = (s["layers"] - 1) * n * (rest + key_value) + n * key_value + m * rest
    weights += m * s["vocab"] * c
    return 6 * weights + 12 * c * s["length"] * (n * (s["layers"] - 1) + m)


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

        def hidden(self, tokens):
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block(x, self.cos, self.sin)
            return self.norm(x)

        def forward(self, tokens):
            return self.head(self.hidden(tokens))

    return Model()


def torch_peak(bf16):
    """The best of some 0.3 s of square products, as measure_matmul_peak in kernels/bench."""
    import torch

    best, spent = 0.0, 0.0
    with torch.no_grad():
        while spent < 0.3:
            for n in (512, 768, 1024, 1536, 2048):
                kind = torch.bfloat16 if bf16 else torch.float32
                x, w = torch.full((n, n), 0.5, dtype=kind), torch.full((n, n), 0.25, dtype=kind)
                torch.mm(x, w.t())
                start = time.perf_counter()
                torch.mm(x, w.t())
                seconds = time.perf_counter() - start
                spent += seconds
                best = max(best, 2 * n**3 / seconds)
    return best


def masked_batch(s):
    """Random tokens, which of them are masked, and the weights of their losses. Ratios are spread
    evenly, so that half of the tokens are masked, as in Lacuna's benchmark."""
    import torch

    batch, length = s["batch"], s["length"]
    tokens = torch.randint(s["vocab"] - 1, (batch, length))
    p = ((1 - 1e-3) * (torch.arange(batch) + 0.5) / batch + 1e-3)[:, None]
    masked = torch.rand(batch, length) < p
    return tokens, masked, (masked / p / (batch * length)).float()


def full_head_loss(s, model, compiled):
    """Logits at every position."""
    import torch
    import torch.nn.functional as F

    forward = torch.compile(model) if compiled else model

    def loss_of():
        tokens, masked, weights = masked_batch(s)
        logits = forward(torch.where(masked, s["vocab"] - 1, tokens))
        losses = F.cross_entropy(logits[masked], tokens[masked], reduction="none")
        return (losses * weights[masked]).sum()

    return loss_of


def masked_head_loss(s, model, dtype):
    """Logits of the masked rows alone, compiled; f32, or autocast to bf16."""
    import torch
    import torch.nn.functional as F

    hidden = torch.compile(model.hidden)

    @torch.compile(dynamic=True)
    def head_loss(x, targets, weights):
        losses = F.cross_entropy(model.head(x).float(), targets, reduction="none")
        return (losses * weights).sum()

    def loss_of():
        tokens, masked, weights = masked_batch(s)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
            x = hidden(torch.where(masked, s["vocab"] - 1, tokens))
            return head_loss(x[masked], tokens[masked], weights[masked])

    return loss_of


def torch_worker(kind, name, steps, threads):
    import torch

    s = SHAPES[name]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = torch_model(s)
    if kind.startswith("masked"):
        loss_of = masked_head_loss(s, model, kind.removeprefix("masked-"))
    else:
        loss_of = full_head_loss(s, model, kind == "compile")
    try:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                                      weight_decay=0.1, fused=True)
    except RuntimeError:  # releases before 2.4 have no fused AdamW for the CPU
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                                      weight_decay=0.1)

    def step():
        loss = loss_of()
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
    flops = step_flops(s, 0.5 if kind.startswith("masked") else 1)
    print(json.dumps(dict(
        tokens_per_s=s["batch"] * s["length"] / median, peak_bytes=memory, loss=loss,
        parameters=sum(p.numel() for p in model.parameters()), threads=threads,
        flops_per_s=flops / median, matmul_peak_flops=torch_peak(kind.endswith("bf16")),
        device=f"torch {torch.__version__}")))


def sdpa_backend(name):
    from torch.nn.attention import SDPBackend

    return {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}[name]


def gpu_worker(side, name, steps):
    """Whole steps on a GPU: `side` is an attention backend and a head rule."""
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import sdpa_kernel

    s, (backend, rule) = ALL_SHAPES[name], side.split("-")
    torch.manual_seed(1)
    model = torch_model(s).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                                  weight_decay=0.1, fused=True)
    mask_token, batch, length = s["vocab"] - 1, s["batch"], s["length"]
    hidden = torch.compile(model.hidden)

    @torch.compile(dynamic=True)
    def loss_of(x, targets, weights):  # the masked rows alone, or all of them with weights of 0
        logits = model.head(x)
        return (F.cross_entropy(logits, targets, reduction="none") * weights).sum()

    def step():
        tokens = torch.randint(mask_token, (batch, length), device="cuda")
        # Ratios spread evenly, half of the tokens masked on average, as Lacuna's benchmark has it.
        p = ((1 - 1e-3) * (torch.arange(batch, device="cuda") + 0.5) / batch + 1e-3)[:, None]
        masked = torch.rand(batch, length, device="cuda") < p
        weights = (masked / p / (batch * length)).float()
        with sdpa_kernel(sdpa_backend(backend)), torch.autocast("cuda", dtype=torch.bfloat16):
            x = hidden(torch.where(masked, mask_token, tokens))
            if rule == "masked":
                loss = loss_of(x[masked], tokens[masked], weights[masked])
            else:
                loss = loss_of(x.flatten(0, 1), tokens.flatten(), weights.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    for _ in range(5):  # compilation, allocation
        step()
    seconds = []
    for _ in range(steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        loss = step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(dict(
        tokens_per_s=batch * length / statistics.median(seconds), loss=loss,
        peak_bytes=torch.cuda.max_memory_reserved(),
        parameters=sum(p.numel() for p in model.parameters()),
        device=f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, "
               f"{torch.cuda.get_device_name()}")))


def attention_worker(name):
    """FLOP/s of attention alone, forward and backward, with each backend of PyTorch."""
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import sdpa_kernel

    s = ALL_SHAPES[name]
    shape = (s["batch"], s["heads"], s["length"], s["dim"] // s["heads"])
    product = 2.0 * s["batch"] * s["length"] ** 2 * s["dim"]
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)
               for _ in range(3))
    gradient = torch.randn(shape, device="cuda", dtype=torch.bfloat16)

    def seconds_of(work, turns=20, rounds=5):
        work()
        found = []
        for _ in range(rounds):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(turns):
                work()
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end) / 1e3 / turns)
        return statistics.median(found)

    result = {}
    for backend in ("cudnn", "flash", "efficient"):
        try:
            with sdpa_kernel(sdpa_backend(backend)):
                forward = seconds_of(lambda: F.scaled_dot_product_attention(q, k, v))
                out = F.scaled_dot_product_attention(q, k, v)
                backward = seconds_of(lambda: torch.autograd.grad(
                    out, (q, k, v), gradient, retain_graph=True))
        except RuntimeError as error:  # a backend this PyTorch or GPU lacks
            result[backend] = str(error).split("\n")[0]
            continue
        result[backend] = dict(forward=2 * product / forward, backward=5 * product / backward)
    print(json.dumps(result))


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
            command = ([options.lacuna, "bench", "--train", "--json", "--dtype", LACUNA_SIDES[side]]
                       if side in LACUNA_SIDES else me + ["--worker", side]) + common
            results[side].append(run(command, environment))
    print(f"\n{name}: V {s['vocab']}, C {s['dim']}, L {s['layers']}, H {s['heads']}, "
          f"F {s['ffn']}, T {s['length']}, B {s['batch']}; {options.threads} threads, "
          f"median of {options.rounds} runs of {options.steps} steps")
    print(f"{'':12}{'tokens/s':>10}{'(min - max)':>18}{'peak RSS':>12}{'executed':>14}"
          f"{'own peak':>14}{'share':>8}")

    def median(side, key):
        return statistics.median(r[key] for r in results[side])

    for side in sides:
        speeds = [r["tokens_per_s"] for r in results[side]]
        shares = [r["flops_per_s"] / r["matmul_peak_flops"] for r in results[side]]
        spread = f"({min(speeds):.0f} - {max(speeds):.0f})"
        print(f"{side:12}{median(side, 'tokens_per_s'):10.0f}{spread:>18}"
              f"{median(side, 'peak_bytes') / 2**20:8.0f} MiB"
              f"{median(side, 'flops_per_s') / 1e9:7.0f} GFLOP/s"
              f"{median(side, 'matmul_peak_flops') / 1e9:6.0f} GFLOP/s"
              f"{statistics.median(shares):8.0%}")
    for ours in sides:
        for side in sides:
            if ours in LACUNA_SIDES and side in CPU_SIDES:
                # Of each round by itself: what slowed one of its runs slowed the other too.
                ratios = [a["tokens_per_s"] / b["tokens_per_s"]
                          for a, b in zip(results[ours], results[side])]
                memory = median(ours, "peak_bytes") / median(side, "peak_bytes")
                print(f"{ours} / {side}: {statistics.median(ratios):.2f} times the tokens/s "
                      f"({min(ratios):.2f} - {max(ratios):.2f}), {memory:.2f} times the memory")
    sys.stdout.flush()
    return results


def compare_on_gpu(name, options, environment):
    s, me = GPU_SHAPES[name], [sys.executable, __file__, "--shape", name]
    bench = [options.lacuna, "bench", "--json", "--device", "cuda", "--dtype", "bf16", "--shape",
             name, "--attention-kernels", options.attention_kernels]
    print(f"\n{name}: V {s['vocab']}, C {s['dim']}, L {s['layers']}, H {s['heads']}, "
          f"F {s['ffn']}, T {s['length']}, B {s['batch']}, bf16")
    ours = {op["name"]: op["flops_per_s"] for op in
            run(bench + ["--ops", "attention"], environment)["ops"]}
    print("attention, TFLOP/s forward and backward (2.5 times the operations):")
    print(f"  {'lacuna':10}{ours['attention forward'] / 1e12:8.0f}"
          f"{ours['attention backward'] / 1e12:8.0f}")
    theirs = run(me + ["--worker", "attention"], environment)
    for backend, rates in theirs.items():
        print(f"  {backend:10}" + (rates if isinstance(rates, str) else
                                   f"{rates['forward'] / 1e12:8.0f}{rates['backward'] / 1e12:8.0f}"))

    results = {side: [] for side in options.sides}
    for _ in range(options.rounds):
        for side in options.sides:
            command = (bench + ["--train", "--tune-gemms"] if side == "lacuna"
                       else me + ["--worker", side]) + ["--steps", str(options.steps)]
            results[side].append(run(command, environment))
    print(f"training steps, median of {options.rounds} runs of {options.steps} steps:")
    print(f"  {'':14}{'tokens/s':>10}{'(min - max)':>18}{'MFU needed':>12}{'full head':>11}"
          f"{'peak memory':>14}")
    for side in options.sides:
        speeds = [r["tokens_per_s"] for r in results[side]]
        steps_per_s = statistics.median(speeds) / (s["batch"] * s["length"])
        memory = statistics.median(r["peak_bytes"] for r in results[side])
        print(f"  {side:14}{statistics.median(speeds):10.0f}"
              f"{f'({min(speeds):.0f} - {max(speeds):.0f})':>18}"
              f"{steps_per_s * model_flops(s, 0.5) / GPU_PEAK:12.1%}"
              f"{steps_per_s * model_flops(s, 1) / GPU_PEAK:11.1%}{memory / 2**30:10.1f} GiB")
    for side in options.sides:
        if side != "lacuna" and "lacuna" in results:
            ratios = [a["tokens_per_s"] / b["tokens_per_s"]
                      for a, b in zip(results["lacuna"], results[side])]
            print(f"  lacuna / {side}: {statistics.median(ratios):.2f} times the tokens/s "
                  f"({min(ratios):.2f} - {max(ratios):.2f})")
    sys.stdout.flush()
    return dict(attention=dict(lacuna=ours) | theirs, training=results)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=ALL_SHAPES, help="one shape; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="timed steps per run")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sides", nargs="+",
                        choices=list(LACUNA_SIDES) + CPU_SIDES + GPU_SIDES,
                        help="all of the CPU's by default; with --device cuda lacuna and every "
                             "attention backend and head rule")
    parser.add_argument("--attention-kernels", choices=["portable", "hopper", "hopper_fused"], default="hopper",
                        help="--device cuda: Lacuna's")
    parser.add_argument("--lacuna", help="the program; that of build/cpu or build/cuda by default")
    parser.add_argument("--keep-environment", action="store_true",
                        help="keep variables that steer the libraries' choice of kernels")
    parser.add_argument("--json", help="write every run's figures to this file")
    parser.add_argument("--worker", choices=CPU_SIDES + ["attention"] + GPU_SIDES,
                        help=argparse.SUPPRESS)
    options = parser.parse_args()
    gpu = options.device == "cuda"
    known = ["lacuna"] + GPU_SIDES if gpu else list(LACUNA_SIDES) + CPU_SIDES
    options.sides = options.sides or known
    options.lacuna = options.lacuna or str(ROOT / f"build/{options.device}/bin/lacuna")
    wrong = [side for side in options.sides if side not in known]
    if wrong and not options.worker:
        parser.error(f"--sides {' '.join(wrong)}: not of --device {options.device}")
    if options.worker == "attention":
        attention_worker(options.shape)
        return
    if options.worker in GPU_SIDES:
        gpu_worker(options.worker, options.shape, options.steps)
        return
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
    shapes = GPU_SHAPES if gpu else SHAPES
    if options.shape and options.shape not in shapes:
        parser.error(f"--shape {options.shape}: of --device {options.device} there are "
                     + ", ".join(shapes))
    names = [options.shape] if options.shape else list(shapes)
    if gpu:
        results = {name: compare_on_gpu(name, options, environment) for name in names}
    else:
        results = {name: compare(name, options.sides, options, environment) for name in names}
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))
    if gpu:
        return
    print("\nexecuted: multiply-adds (2 each) actually done per second, logits of the masked\n"
          "positions only where a side computes no others; own peak: the side's own best matrix\n"
          "product; share: of the peak measured in the same run")


if __name__ == "__main__":
    main()
