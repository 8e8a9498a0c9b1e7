"""Both Monte-Carlo bounds of a text's likelihood, conditional on a prompt and not, and the exact
likelihood of a causal model: masks drawn as likelihood.h says, by a second implementation; a pass
of its own for each mask. In f64 from f32 weights."""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import _philox
import model

REQUIRES = "torch safetensors"

PURPOSE_LIKELIHOOD = 8

MODEL = dict(vocab_size=17, layers=2, width=16, heads=4, kv_heads=2, ffn_width=20, tied=False,
             mask_token=16, eos_token=15, seed=11, samples=7)
# Length and prompt of each text.
TEXTS = [(9, 4), (6, 0), (3, 2), (12, 5)]
CASES = {"mask_count": False, "mask_ratio": False, "causal": True}


def below(c, index, n, i):
    b = _philox.block(c["seed"], PURPOSE_LIKELIHOOD, index, i)
    return (b[0] << 32 | b[1]) * n >> 64


def mask(c, form, stratified, text, sample, length):
    """Masked positions of the response and the weight of their cross-entropies."""
    index = text << 32 | sample
    t = _philox.uniform53(c["seed"], PURPOSE_LIKELIHOOD, index, 0)
    if stratified:
        t = (sample + t) / c["samples"]
    if form == "mask_ratio":
        p = math.ceil(t * 2**24) / 2**24
        return [i for i in range(length)
                if _philox.uniform(c["seed"], PURPOSE_LIKELIHOOD, index, i + 4) < p], 1 / p
    count = min(length, math.floor(t * length) + 1)
    order = list(range(length))
    for i in range(count):
        j = i + below(c, index, length - i, i + 1)
        order[i], order[j] = order[j], order[i]
    return sorted(order[:count]), length / count


def make(folder):
    for number, (form, causal) in enumerate(CASES.items()):
        c = MODEL | {"causal": causal}
        torch.manual_seed(300 + number)
        weights = model.make_weights(c)
        w = {k: v.double() for k, v in weights.items()}
        texts = [torch.randint(c["vocab_size"] - 2, (n,)) for n, _ in TEXTS]

        def losses(tokens, targets, rows):
            logits = F.linear(model.hidden_states(c, w, tokens), w["ff_out"])
            return F.cross_entropy(logits[rows], targets, reduction="none")

        out = {}
        for name, stratified in {"stratified": True, "independent": False}.items():
            nats = []
            for i, (text, (length, prompt)) in enumerate(zip(texts, TEXTS)):
                if causal:
                    before = torch.tensor([] if prompt else [c["eos_token"]], dtype=torch.long)
                    tokens = torch.cat((before, text))
                    first = prompt + len(before)
                    rows = torch.arange(first - 1, len(tokens) - 1)
                    nats.append(losses(tokens, text[prompt:], rows).sum())
                    continue
                estimates = []
                for s in range(c["samples"]):
                    positions, weight = mask(c, form, stratified, i, s, length - prompt)
                    rows = prompt + torch.tensor(positions, dtype=torch.long)
                    noisy = text.clone()
                    noisy[rows] = c["mask_token"]
                    estimates.append(weight * losses(noisy, text[rows], rows).sum())
                nats.append(torch.stack(estimates).mean())
            out[name] = torch.stack(nats)
        out |= {f"tokens{i}": t.int() for i, t in enumerate(texts)}
        out["prompts"] = torch.tensor([p for _, p in TEXTS], dtype=torch.int64)
        out |= {f"weights/{model.ROOT}{k}.weight": v for k, v in weights.items()}
        save_file({k: v.contiguous() for k, v in out.items()},
                  folder / f"likelihood_{form}.safetensors",
                  metadata={k: str(int(v) if isinstance(v, bool) else v) for k, v in c.items()})
