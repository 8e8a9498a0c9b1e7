#!/usr/bin/env python3
"""Compares one training step of Lacuna with PyTorch.

    lacuna pretrain --config C.toml --trace step.h5      # or lacuna sft
    python3 scripts/check_trace.py step.h5

Reads the step's tokens, masks, weights per token and model weights, computes loss and gradients with
the model written out below (LLaDA's, arXiv:2502.09992; of block diffusion with a dense mask over
noisy and clean rows, arXiv:2503.09573) by autograd in f64, and prints the largest differences. Of fine-tuning with adapters, those of the adapters. Exits with 1 when one exceeds
--tolerance. Needs torch, h5py, numpy.
"""

import argparse
import sys
import tomllib

import h5py
import torch
import torch.nn.functional as F


def rope(x, positions, theta):
    """Half-split rotary positions [T] on [B, heads, T, D]."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * theta ** (-torch.arange(half) / half)[None]
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def logits_of(w, tokens, m, positions=None, mask=None):
    """Logits [B, T, V] of tokens [B, T] by the weights `w` and the config's [model] `m`; at positions
    [T], and with the keys that `mask` [T, T] allows, where those are given."""
    B, T = tokens.shape
    positions = torch.arange(T) if positions is None else positions
    causal = mask is None and m["attention"] == "causal"
    width, heads, eps = m["hidden_size"], m["num_heads"], m["rms_norm_eps"]
    kv_heads, head_dim = m["num_kv_heads"] or heads, width // heads
    transformer = "model.transformer."

    def split(x, n):
        return x.view(B, T, n, head_dim).transpose(1, 2)

    x = F.embedding(tokens, w[transformer + "wte.weight"])
    for i in range(m["num_layers"]):
        def weight(name):
            return w[f"{transformer}blocks.{i}.{name}.weight"]
        h = F.rms_norm(x, [width], weight("attn_norm"), eps)
        q = rope(split(F.linear(h, weight("q_proj")), heads), positions, m["rope_theta"])
        k = rope(split(F.linear(h, weight("k_proj")), kv_heads), positions, m["rope_theta"])
        v = split(F.linear(h, weight("v_proj")), kv_heads)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        x = x + F.linear(a.transpose(1, 2).reshape(B, T, width), weight("attn_out"))
        h = F.rms_norm(x, [width], weight("ff_norm"), eps)
        h = F.silu(F.linear(h, weight("ff_proj"))) * F.linear(h, weight("up_proj"))
        x = x + F.linear(h, weight("ff_out"))
    x = F.rms_norm(x, [width], w[transformer + "ln_f.weight"], eps)
    return F.linear(x, w.get(transformer + "ff_out.weight", w[transformer + "wte.weight"]))


def block_loss(w, model, clean, masked, weight, block_size, next_weight, mask_token):
    """The same of one noisy view [1, T] in blocks, with the weight of predicting each clean token from
    those before it: on rows [noisy; clean] with a dense mask."""
    T = clean.shape[1]
    position = torch.arange(T)
    block = position // int(block_size[0, 0])
    same, before = block[:, None] == block[None], block[:, None] > block[None]
    context = position[:, None] >= position[None] if model["causal_context"] else same | before
    mask = torch.cat((torch.cat((same, before), 1),
                      torch.cat((torch.zeros(T, T, dtype=torch.bool), context), 1)))
    rows = torch.cat((torch.where(masked, mask_token, clean), clean), 1)
    logits = logits_of(w, rows, model, position.repeat(2), mask)[0]
    noisy = F.cross_entropy(logits[:T], clean[0], reduction="none")
    following = F.cross_entropy(logits[T:-1], clean[0, 1:], reduction="none")
    return (noisy * weight[0]).sum() + (following * next_weight[0, 1:]).sum()


def weighted_loss(w, model, clean, masked, weight, mask_token, autoregressive):
    """Sum of weight times cross-entropy over sequences [B, T] of one length."""
    noisy = clean if autoregressive else torch.where(masked, mask_token, clean)
    logits = logits_of(w, noisy, model)
    if autoregressive:  # token i is predicted at i - 1
        logits, clean, weight = logits[:, :-1], clean[:, 1:], weight[:, 1:]
    ce = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), clean.reshape(-1), reduction="none")
    return (ce * weight.reshape(-1)).sum()


def main():
    parser = argparse.ArgumentParser(description="Compares a training step with PyTorch.")
    parser.add_argument("trace", help="what lacuna pretrain or sft --trace wrote")
    parser.add_argument("--tolerance", type=float, default=1e-4,
                        help="largest difference allowed: of the loss, relative; of a gradient, "
                             "relative to its tensor's largest element")
    arguments = parser.parse_args()

    with h5py.File(arguments.trace) as file:
        model = tomllib.loads(file.attrs["config"].decode())["model"]
        objective = file.attrs["objective"].decode()
        clean = torch.from_numpy(file["clean"][:]).long()
        masked = torch.from_numpy(file["masked"][:]).bool()
        weight = torch.from_numpy(file["weight"][:])
        loss, grad_norm = float(file["loss"][()]), float(file["grad_norm"][()])
        trained, gradients, frozen = ({n: torch.from_numpy(file[f"{group}/{n}"][:]).double()
                                       for n in file.get(group, ())}
                                      for group in ("model", "gradients", "frozen"))
        mask_token = int(file.attrs["mask_token_id"])
        blocks = [torch.from_numpy(file[n][:]) for n in ("block_size", "next_weight") if n in file]
        offsets = file["offsets"][:].tolist() if "offsets" in file else None
        scale = float(file.attrs.get("lora_scale", 1))

    for t in trained.values():
        t.requires_grad_()
    # With adapters W = frozen + scale B A.
    w = dict(frozen) or trained
    for name in (n.removesuffix("lora_A.weight") for n in trained if n.endswith("lora_A.weight")):
        w[name + "weight"] = frozen[name + "weight"] + scale * (trained[name + "lora_B.weight"]
                                                                @ trained[name + "lora_A.weight"])

    parts = (clean, masked, weight, *blocks)
    if offsets is not None:
        batch = [[t[begin:end][None] for t in parts] for begin, end in zip(offsets, offsets[1:])]
    elif blocks:
        batch = [[t[i:i + 1] for t in parts] for i in range(len(clean))]
    else:
        batch = [parts]
    if blocks:
        expected = sum(block_loss(w, model, *part, mask_token) for part in batch)
    else:
        expected = sum(weighted_loss(w, model, *part, mask_token, objective == "autoregressive")
                       for part in batch)
    expected.backward()

    failed = False

    def report(name, difference):
        nonlocal failed
        bad = not difference <= arguments.tolerance
        failed |= bad
        print(f"{difference:10.2e}  {name}{'  <-- exceeds the tolerance' if bad else ''}")

    print(f"loss {loss:.8f}, PyTorch {expected.item():.8f}")
    print("difference")
    report("loss", abs(loss - expected.item()) / abs(expected.item()))
    norm = torch.sqrt(sum((t.grad**2).sum() for t in trained.values())).item()
    report("gradient norm", abs(grad_norm - norm) / norm)
    for name, t in trained.items():
        largest = t.grad.abs().max().item() or 1.0
        report(name, (gradients[name] - t.grad).abs().max().item() / largest)
    sys.exit(failed)


if __name__ == "__main__":
    main()
