"""The loss of a micro-batch and the gradients of all weights, for both objectives: noise drawn as
noise.h says, by a second implementation; the loss as in LLaDA's GUIDELINES.md. In f64 from f32
weights."""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import _philox
import model

REQUIRES = "torch safetensors"

PURPOSE_MASK_RATIO = 3

CASES = {
    # Cut from 11 tokens to 8, as in a step of random length.
    "diffusion": dict(vocab_size=21, layers=2, width=16, heads=4, kv_heads=2, ffn_width=20,
                      causal=False, tied=False, shape=(5, 11), length=8, mask_token=20,
                      seed=3, first_sample=1000, sequences_in_step=12, eps=1e-3),
    "autoregressive": dict(vocab_size=21, layers=2, width=16, heads=4, kv_heads=2, ffn_width=20,
                           causal=True, tied=True, shape=(4, 9), length=9, mask_token=-1,
                           seed=4, first_sample=0, sequences_in_step=4, eps=1e-3),
}


def noise(c, clean):
    """Masked tokens [B,T] and mask probabilities [B]."""
    p, masked = [], []
    for b in range(len(clean)):
        sample = c["first_sample"] + b
        t = _philox.uniform53(c["seed"], PURPOSE_MASK_RATIO, sample, 0)
        p.append(math.ceil(((1 - c["eps"]) * t + c["eps"]) * 2**24) / 2**24)
        masked.append([_philox.uniform(c["seed"], _philox.PURPOSE_MASK, sample, i) < p[b]
                       for i in range(clean.shape[1])])
    return torch.tensor(masked), torch.tensor(p, dtype=torch.float64)


def make(folder):
    for number, (name, c) in enumerate(CASES.items()):
        torch.manual_seed(200 + number)
        weights = model.make_weights(c)
        clean = torch.randint(c["vocab_size"] - 1, c["shape"])
        cut = clean[:, :c["length"]]
        w = {k: v.double().requires_grad_() for k, v in weights.items()}

        def logits(tokens):
            hidden = torch.stack([model.hidden_states(c, w, t) for t in tokens])
            return F.linear(hidden, w.get("ff_out", w["wte"]))

        out = {"clean": clean.int()}
        if c["causal"]:
            losses = F.cross_entropy(logits(cut)[:, :-1].flatten(0, 1), cut[:, 1:].flatten(),
                                     reduction="none")
            loss = losses.sum() / (c["sequences_in_step"] * (c["length"] - 1))
        else:
            masked, p = noise(c, cut)
            noisy = torch.where(masked, c["mask_token"], cut)
            losses = F.cross_entropy(logits(noisy)[masked], cut[masked], reduction="none")
            loss = (losses / p[:, None].expand_as(cut)[masked]).sum()
            loss = loss / (c["sequences_in_step"] * c["length"])
            out |= {"masked": masked.to(torch.uint8), "p": p.float()}
        loss.backward()
        out |= {"loss": loss.detach().reshape(1), "losses": losses.detach()}
        out |= {f"weights/{model.ROOT}{k}.weight": v for k, v in weights.items()}
        out |= {f"gradients/{model.ROOT}{k}.weight": v.grad.float() for k, v in w.items()}
        metadata = {k: str(int(v) if isinstance(v, bool) else v) for k, v in c.items()
                    if k != "shape"}
        save_file({k: v.contiguous() for k, v in out.items()},
                  folder / f"objective_{name}.safetensors", metadata=metadata)
