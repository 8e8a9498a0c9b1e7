"""LLaDA's transformer, its loss and the gradients of all its weights, in plain PyTorch: computed in
f64 from f32 weights, gradients by autograd. Written from arXiv:2502.09992 (appendix B) and the
modelling file published with it: one sequence at a time, every logit of every row, nothing packed,
nothing skipped.
"""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

REQUIRES = "torch safetensors"

ROOT = "model.transformer."

# Sequences of any lengths; the rows with a loss are a few, all, or those of some sequences only.
CASES = {
    "full": dict(vocab_size=23, layers=2, width=16, heads=4, kv_heads=4, ffn_width=20,
                 causal=False, tied=False, lengths=[5, 1, 7, 3],
                 rows=[0, 3, 5, 6, 7, 12, 15]),
    "full_grouped_tied": dict(vocab_size=19, layers=3, width=24, heads=6, kv_heads=2, ffn_width=28,
                              causal=False, tied=True, lengths=[9, 4], rows=[9, 12]),
    "causal_grouped": dict(vocab_size=17, layers=2, width=16, heads=4, kv_heads=1, ffn_width=12,
                           causal=True, tied=False, lengths=[6, 8], rows=list(range(14))),
    "one_block_tied": dict(vocab_size=13, layers=1, width=12, heads=2, kv_heads=2, ffn_width=8,
                           causal=False, tied=True, lengths=[4, 6], rows=[1, 2, 3, 8]),
}
THETA, EPS = 10000.0, 1e-5


def make_weights(c):
    width, head_dim = c["width"], c["width"] // c["heads"]
    kv = c["kv_heads"] * head_dim
    w = {"wte": torch.randn(c["vocab_size"], width)}
    for i in range(c["layers"]):
        block = {"attn_norm": (width,), "q_proj": (width, width), "k_proj": (kv, width),
                 "v_proj": (kv, width), "attn_out": (width, width), "ff_norm": (width,),
                 "ff_proj": (c["ffn_width"], width), "up_proj": (c["ffn_width"], width),
                 "ff_out": (width, c["ffn_width"])}
        for name, shape in block.items():
            # Large enough that attention and SiLU are far from linear.
            w[f"blocks.{i}.{name}"] = (1 + 0.3 * torch.randn(shape) if len(shape) == 1 else
                                       1.5 * torch.randn(shape) / math.sqrt(shape[-1]))
    w["ln_f"] = 1 + 0.3 * torch.randn(width)
    if not c["tied"]:
        w["ff_out"] = torch.randn(c["vocab_size"], width) / math.sqrt(width)
    return w


def rms_norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weight


def rotate(x, positions):
    """x [heads, T, D]: half-split rotary positions [T]."""
    half = x.shape[-1] // 2
    frequencies = THETA ** (-torch.arange(half, dtype=x.dtype) / half)
    angles = torch.outer(positions.to(x.dtype), frequencies)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), -1)


def hidden_states(c, w, tokens, positions=None, visible=None):
    """The final norm of one sequence, [T, width]; its rows at `positions` [T] where they are not 0 to
    T - 1, and with the keys of `visible` [T, T] where they are not all, or those before."""
    positions = torch.arange(len(tokens)) if positions is None else positions
    heads, groups = c["heads"], c["heads"] // c["kv_heads"]

    def split(y, n):
        return y.view(len(tokens), n, -1).transpose(0, 1)

    x = w["wte"][tokens]
    for i in range(c["layers"]):
        p = {k.rsplit(".", 1)[1]: v for k, v in w.items() if k.startswith(f"blocks.{i}.")}
        h = rms_norm(x, p["attn_norm"])
        q = rotate(split(F.linear(h, p["q_proj"]), heads), positions)
        k = rotate(split(F.linear(h, p["k_proj"]), c["kv_heads"]), positions)
        k = k.repeat_interleave(groups, 0)
        v = split(F.linear(h, p["v_proj"]), c["kv_heads"]).repeat_interleave(groups, 0)
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        if c["causal"]:
            scores = scores + torch.full_like(scores, -math.inf).triu(1)
        if visible is not None:
            scores = scores.masked_fill(~visible, -math.inf)
        y = (scores.softmax(-1) @ v).transpose(0, 1).reshape(x.shape)
        x = x + F.linear(y, p["attn_out"])
        h = rms_norm(x, p["ff_norm"])
        x = x + F.linear(F.silu(F.linear(h, p["ff_proj"])) * F.linear(h, p["up_proj"]), p["ff_out"])
    return rms_norm(x, w["ln_f"])


def make(folder):
    for number, (name, c) in enumerate(CASES.items()):
        torch.manual_seed(100 + number)
        weights = make_weights(c)
        n, rows = sum(c["lengths"]), torch.tensor(c["rows"])
        tokens = torch.randint(c["vocab_size"], (n,))
        targets = torch.randint(c["vocab_size"], (len(rows),))
        row_weights = torch.rand(len(rows)) + 0.1  # as 1 / p would be

        w = {k: v.double().requires_grad_() for k, v in weights.items()}
        hidden = torch.cat([hidden_states(c, w, t) for t in tokens.split(c["lengths"])])
        logits = F.linear(hidden, w.get("ff_out", w["wte"]))
        losses = F.cross_entropy(logits[rows], targets, reduction="none")
        (losses * row_weights.double()).sum().backward()

        out = {"tokens": tokens.int(), "targets": targets.int(), "rows": rows.int(),
               "row_weights": row_weights, "hidden": hidden.detach()[rows],
               "logits": logits.detach()[rows], "losses": losses.detach()}
        out |= {f"weights/{ROOT}{k}.weight": v for k, v in weights.items()}
        # Rounded to f32: half an ulp, a small part of what any f32 computation may be off.
        out |= {f"gradients/{ROOT}{k}.weight": v.grad.float() for k, v in w.items()}
        lengths = " ".join(map(str, c["lengths"]))
        metadata = {k: str(int(c[k])) for k in ("vocab_size", "layers", "width", "heads",
                                                "kv_heads", "ffn_width", "causal", "tied")}
        save_file({k: v.contiguous() for k, v in out.items()},
                  folder / f"model_{name}.safetensors", metadata=metadata | {"lengths": lengths})
