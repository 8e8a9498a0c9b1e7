"""The loss of a micro-batch of block diffusion and the gradients of all weights (arXiv:2503.09573):
noise drawn as diffusion/block_noise.h says, by a second implementation; each noisy view by itself on
rows [noisy; clean] with a dense mask, nothing left out. In f64 from f32 weights. With shifted logits
a token is predicted at the noisy row before it, a block's first one at the clean row before it, and a
sequence's first one is given."""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import _philox
import model
import objective

REQUIRES = "torch safetensors"

PURPOSE_BLOCK_SIZE = 10

COMMON = dict(vocab_size=21, layers=2, width=16, heads=4, kv_heads=2, ffn_width=20, causal=False,
              mask_token=20, eps=1e-3, logits_shift=False)
CASES = {
    # Cut from 14 tokens to 12.
    "counts": COMMON | dict(tied=False, shape=(4, 14), length=12, block_size=4, sizes="4 6",
                            views=2, complementary=False, ratios=False, causal_context=False,
                            autoregressive_weight=0.0, seed=3, first_sample=1000,
                            sequences_in_step=9),
    "pairs_of_counts": COMMON | dict(tied=True, shape=(3, 10), length=10, block_size=5, sizes="5",
                                     views=4, complementary=True, ratios=False,
                                     causal_context=False, autoregressive_weight=0.0, seed=5,
                                     first_sample=0, sequences_in_step=3),
    "pairs_of_ratios": COMMON | dict(tied=False, shape=(3, 12), length=12, block_size=3, sizes="3",
                                     views=2, complementary=True, ratios=True, causal_context=True,
                                     autoregressive_weight=0.75, seed=4, first_sample=20,
                                     sequences_in_step=3),
    "shifted_counts": COMMON | dict(tied=True, shape=(4, 14), length=12, block_size=4, sizes="4 6",
                                    views=3, complementary=False, ratios=False,
                                    causal_context=False, autoregressive_weight=0.0, seed=6,
                                    first_sample=70, sequences_in_step=5, logits_shift=True),
    "shifted_pairs": COMMON | dict(tied=False, shape=(3, 12), length=12, block_size=3, sizes="3",
                                   views=2, complementary=True, ratios=True, causal_context=True,
                                   autoregressive_weight=0.75, seed=7, first_sample=4,
                                   sequences_in_step=3, logits_shift=True),
}


def block_size_of(c, sample):
    sizes = [int(s) for s in c["sizes"].split()]
    if len(sizes) == 1:
        return sizes[0]
    high, low = _philox.block(c["seed"], PURPOSE_BLOCK_SIZE, sample, 0)[:2]
    return sizes[(high << 32 | low) * len(sizes) >> 64]


def masks_of(c, sample, size):
    """Of each view [T]: which tokens are masked, and the weight of each block's cross-entropies."""
    T, views, given = c["length"], c["views"], int(c["logits_shift"])
    draws = views // 2 if c["complementary"] else views
    blocks = -(-T // size) - given // size
    u = _philox.uniform53(c["seed"], objective.PURPOSE_MASK_RATIO, sample, 0)
    masked, weight = torch.zeros(views, T, dtype=torch.bool), torch.zeros(views, T).double()
    for view in range(views):
        draw, second = (view // 2, view % 2) if c["complementary"] else (view, 0)
        for k in range(blocks):
            first = (given // size + k) * size
            tokens = range(max(first, given), min(T, first + size))
            t = math.fmod(u + (k * draws + draw) / (blocks * draws), 1)
            name = sample | draw << 48
            if c["ratios"]:
                low = c["eps"]
                high = 1 - low if c["complementary"] else 1.0
                # Rounded up to 24 bits; but for the last digit of f64, in another order of terms.
                p = math.ceil(((1 - low) * (t * (high - low) / (1 - low)) + low) * 2**24) / 2**24
                chosen = {i for i in tokens
                          if _philox.uniform(c["seed"], _philox.PURPOSE_MASK, name, i) < p}
                of_each = 1 / (1 - p if second else p)
            else:
                n = len(tokens)
                bits = {i: _philox.block(c["seed"], _philox.PURPOSE_MASK, name, i // 4)[i % 4]
                        for i in tokens}
                count = math.floor(t * (n + 1)) if c["complementary"] else math.floor(t * n) + 1
                chosen = set(sorted(tokens, key=lambda i: (bits[i], i))[:count])
                total = n + 1 if c["complementary"] else n
                of_each = total / max(1, n - count if second else count)
            for i in tokens:
                masked[view, i] = (i in chosen) != bool(second)
                weight[view, i] = of_each
    return masked, weight


def rows_of(T, size, causal_context):
    """Positions [2T] and the dense mask [2T, 2T] of [noisy; clean] rows."""
    position = torch.arange(T)
    block = position // size
    same, before = block[:, None] == block[None], block[:, None] > block[None]
    clean = position[:, None] >= position[None] if causal_context else same | before
    nothing = torch.zeros(T, T, dtype=torch.bool)
    return position.repeat(2), torch.cat((torch.cat((same, before), 1),
                                          torch.cat((nothing, clean), 1)))


def make(folder):
    for number, (name, c) in enumerate(CASES.items()):
        torch.manual_seed(700 + number)
        weights = model.make_weights(c)
        clean = torch.randint(c["vocab_size"] - 1, c["shape"])
        w = {k: v.double().requires_grad_() for k, v in weights.items()}
        T, loss, all_masked = c["length"], 0, []
        for b, tokens in enumerate(clean[:, :T]):
            size = block_size_of(c, c["first_sample"] + b)
            masked, weight = masks_of(c, c["first_sample"] + b, size)
            all_masked.append(masked)
            positions, visible = rows_of(T, size, c["causal_context"])
            for view in range(c["views"]):
                noisy = torch.where(masked[view], c["mask_token"], tokens)
                hidden = model.hidden_states(c, w, torch.cat((noisy, tokens)), positions, visible)
                logits = F.linear(hidden, w.get("ff_out", w["wte"]))
                predicting = logits[:T]
                if c["logits_shift"]:
                    position = torch.arange(T)
                    clean_row = position % size == 0
                    predicting = logits[(position - 1 + T * clean_row) % (2 * T)]
                losses = F.cross_entropy(predicting, tokens, reduction="none")
                loss = loss + (losses * weight[view])[masked[view]].sum() / c["views"]
            following = F.cross_entropy(logits[T:-1], tokens[1:], reduction="none")
            loss = loss + c["autoregressive_weight"] * following.sum()
        loss = loss / (c["sequences_in_step"] * (T - int(c["logits_shift"])))
        loss.backward()
        out = {"clean": clean.int(), "masked": torch.cat(all_masked).to(torch.uint8),
               "loss": loss.detach().reshape(1)}
        out |= {f"weights/{model.ROOT}{k}.weight": v for k, v in weights.items()}
        out |= {f"gradients/{model.ROOT}{k}.weight": v.grad.float() for k, v in w.items()}
        metadata = {k: str(int(v) if isinstance(v, bool) else v) for k, v in c.items()
                    if k != "shape"}
        save_file({k: v.contiguous() for k, v in out.items()},
                  folder / f"block_diffusion_{name}.safetensors", metadata=metadata)
