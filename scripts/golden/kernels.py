"""Every operation of kernels/ops.h, in PyTorch: computed in f64 from f32 inputs, gradients by
autograd. Outputs are stored in f64 so that only Lacuna's own rounding is seen."""

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import _philox

REQUIRES = "torch safetensors"


def normal(*shape, scale=1.0):
    return scale * torch.randn(*shape)


def grad(x):
    return x.double().requires_grad_()


def save(folder, name, tensors, **metadata):
    out = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    save_file(out, folder / f"kernels_{name}.safetensors",
              metadata={k: str(v) for k, v in metadata.items()})


def i32(values):
    return torch.tensor(values, dtype=torch.int32)


def linear(folder):
    x, w, dy = normal(5, 37), normal(19, 37), normal(5, 19)
    x64, w64 = grad(x), grad(w)
    y = F.linear(x64, w64)
    y.backward(dy.double())
    save(folder, "linear", dict(x=x, w=w, dy=dy, y=y, dx=x64.grad, dw=w64.grad))


def embedding(folder):
    w, dy = normal(11, 21), normal(9, 21)
    ids = i32([3, 0, 10, 3, 7, 3, 10, 1, 3])
    w64 = grad(w)
    y = F.embedding(ids.long(), w64)
    y.backward(dy.double())
    save(folder, "embedding", dict(w=w, ids=ids, dy=dy, y=y, dw=w64.grad))


def rmsnorm(folder):
    eps = 1e-5
    x, w, dy = normal(7, 37, scale=3), 1 + normal(37, scale=0.3), normal(7, 37)
    x[2] *= 1e-3  # where eps matters
    x64, w64 = grad(x), grad(w)
    y = F.rms_norm(x64, [37], w64, eps)
    y.backward(dy.double())
    rstd = torch.rsqrt(x.double().square().mean(1) + eps)
    save(folder, "rmsnorm", dict(x=x, w=w, dy=dy, y=y, rstd=rstd, dx=x64.grad, dw=w64.grad),
         eps=eps)


def rope(folder):
    """As transformers' modeling_llama.py: half-split, not interleaved."""
    heads, dim, theta, length = 3, 10, 10000.0, 32
    inverse = theta ** (-torch.arange(0, dim, 2).double() / dim)
    angles = torch.outer(torch.arange(length).double(), inverse)
    table = torch.cat([angles.cos(), angles.sin()], 1)
    positions = i32([0, 1, 31, 5, 5, 17])
    x, dy = normal(6, heads * dim), normal(6, heads * dim)

    def rotate_half(t):
        return torch.cat([-t[..., dim // 2:], t[..., :dim // 2]], -1)

    x64 = grad(x)
    heads64 = x64.view(6, heads, dim)
    both = torch.cat([angles, angles], 1)[positions.long()][:, None, :]
    y = (heads64 * both.cos() + rotate_half(heads64) * both.sin()).reshape(6, heads * dim)
    y.backward(dy.double())
    save(folder, "rope", dict(x=x, positions=positions, table=table.float(), dy=dy, y=y,
                              dx=x64.grad))


def attention_case(folder, name, heads, kv_heads, dim, segments, causal):
    """segments: the number of keys and the positions of the queries, each."""
    nq, nk = sum(len(q) for _, q in segments), sum(k for k, _ in segments)
    q, dout = normal(nq, heads * dim, scale=2), normal(nq, heads * dim)
    k, v = normal(nk, kv_heads * dim), normal(nk, kv_heads * dim)
    q64, k64, v64 = grad(q), grad(k), grad(v)
    outs, lses, query_offsets, key_offsets = [], [], [0], [0]
    for keys, positions in segments:
        q0, k0 = query_offsets[-1], key_offsets[-1]
        query_offsets.append(q0 + len(positions))
        key_offsets.append(k0 + keys)
        if not positions:
            continue
        mask = torch.ones(len(positions), keys, dtype=torch.bool)
        if causal:
            mask = torch.arange(keys)[None, :] <= torch.tensor(positions)[:, None]
        qh = q64[q0:q0 + len(positions)].view(-1, heads, dim).transpose(0, 1)
        kh = k64[k0:k0 + keys].view(-1, kv_heads, dim).transpose(0, 1)
        vh = v64[k0:k0 + keys].view(-1, kv_heads, dim).transpose(0, 1)
        kh, vh = (t.repeat_interleave(heads // kv_heads, 0) for t in (kh, vh))
        outs.append(F.scaled_dot_product_attention(qh[None], kh[None], vh[None], mask)[0]
                    .transpose(0, 1).reshape(-1, heads * dim))
        scores = (qh @ kh.transpose(1, 2) / dim**0.5).masked_fill(~mask, float("-inf"))
        lses.append(scores.logsumexp(-1).transpose(0, 1))
    out = torch.cat(outs)
    out.backward(dout.double())
    positions = i32([p for _, queries in segments for p in queries])
    save(folder, f"attention_{name}",
         dict(q=q, k=k, v=v, dout=dout, query_offsets=i32(query_offsets),
              key_offsets=i32(key_offsets), positions=positions, out=out, lse=torch.cat(lses),
              dq=q64.grad, dk=k64.grad, dv=v64.grad),
         heads=heads, kv_heads=kv_heads, head_dim=dim, causal=int(causal))


def attention(folder):
    whole = [(n, list(range(n))) for n in (5, 1, 9)]
    some = [(6, [1, 4]), (4, []), (7, [0, 2, 3, 6])]
    attention_case(folder, "full", 4, 2, 6, whole, False)
    attention_case(folder, "causal", 4, 2, 6, whole, True)
    attention_case(folder, "some_full", 6, 2, 5, some, False)
    attention_case(folder, "some_causal", 3, 3, 8, some, True)


def swiglu(folder):
    gate_up, dy = normal(5, 2 * 19, scale=4), normal(5, 19)
    gate_up[0, 0], gate_up[1, 0] = 60.0, -60.0  # where exp(-gate) leaves the middle of its range
    x64 = grad(gate_up)
    gate, up = x64.chunk(2, 1)
    y = F.silu(gate) * up
    y.backward(dy.double())
    save(folder, "swiglu", dict(gate_up=gate_up, dy=dy, y=y, d_gate_up=x64.grad))


def cross_entropy(folder):
    logits, weights = normal(6, 41, scale=5), torch.rand(6) * 3
    logits[1] += 200  # a common shift changes nothing
    logits[2, 7] += 60  # certain of the target
    logits[3, 8] += 60  # certain of another
    targets = i32([0, 40, 7, 9, 20, 33])
    x64 = grad(logits)
    loss = F.cross_entropy(x64, targets.long(), reduction="none")
    (loss * weights.double()).sum().backward()
    save(folder, "cross_entropy", dict(logits=logits, weights=weights, targets=targets, loss=loss,
                                       dlogits=x64.grad))


def corrupt(folder):
    seed, mask_token, rows, cols = 0x123456789ABCDEF, 99, 4, 13
    clean = torch.randint(0, 50, (rows, cols), dtype=torch.int32)
    p = torch.tensor([0.0, 0.3, 0.7, 1.0])
    samples = torch.tensor([0, 1, 2**40 + 5, 7], dtype=torch.int64)
    masked = torch.tensor(
        [[_philox.uniform(seed, _philox.PURPOSE_MASK, int(samples[b]), i) < p[b].item()
          for i in range(cols)] for b in range(rows)])
    noisy = torch.where(masked, mask_token, clean).to(torch.int32)
    save(folder, "corrupt", dict(clean=clean, p=p, samples=samples, masked=masked.to(torch.uint8),
                                 noisy=noisy), seed=seed, mask_token=mask_token)


def guide(folder):
    logits, unconditional, scale = normal(3, 17, scale=3), normal(3, 17, scale=3), 1.5
    un = unconditional.double()
    save(folder, "guide", dict(logits=logits, unconditional=unconditional,
                               guided=un + (scale + 1) * (logits.double() - un)), scale=scale)


def row_stats(folder):
    """The draw as in LLaDA's generate.py: argmax of exp(logits) / (-log u)^temperature in f64; and
    what other rules of decoding look at, over all tokens and without those forbidden."""
    rows, cols, seed, step = 8, 29, 77, 12
    logits = normal(rows, cols, scale=2)
    logits[1, 5] = logits[1].max()  # a tie
    keys = torch.tensor([0, 1, 2, 1000, 2**32 // cols - 1, 2**32 // cols, 2**33, 2**40],
                        dtype=torch.int64)
    l64 = logits.double()
    tensors = dict(logits=logits, row_keys=keys)
    for name, temperature in (("greedy", 0.0), ("cool", 0.5), ("plain", 1.0), ("hot", 2.0)):
        u = torch.zeros(rows, cols, dtype=torch.float64)
        for m in range(rows):
            for v in range(cols):
                n = int(keys[m]) * cols + v
                index = step | (n >> 32) << 32
                u[m, v] = _philox.uniform53(seed, _philox.PURPOSE_GUMBEL, index, n & _philox.MASK)
        noisy = l64 if temperature == 0 else l64.exp() / (-u.log()) ** temperature
        tokens = noisy.argmax(-1)
        tensors[f"{name}_tokens"] = tokens.to(torch.int32)
        tensors[f"{name}_confidence"] = l64.softmax(-1).gather(1, tokens[:, None])[:, 0]
    current, forbidden = torch.arange(rows) * 3, [3, 28, int(logits[0].argmax())]
    tensors["current"] = current.to(torch.int32)
    tensors["forbidden"] = i32(forbidden)
    for name, ids in (("all", []), ("allowed", forbidden)):
        some = l64.clone()
        some[:, ids] = -torch.inf
        p = some.softmax(-1)
        tensors[f"{name}_argmax"] = some.argmax(-1).to(torch.int32)
        tensors[f"{name}_first"], tensors[f"{name}_second"] = p.topk(2).values.unbind(1)
        tensors[f"{name}_entropy"] = torch.distributions.Categorical(probs=p).entropy()
        tensors[f"{name}_current"] = p.gather(1, current[:, None])[:, 0]
    save(folder, "row_stats", tensors, seed=seed, step=step)


def adamw(folder):
    rate, betas, eps, decay = 3e-2, (0.9, 0.95), 1e-8, 0.1
    w, steps = normal(23), 4
    gradients = normal(steps, 23)
    gradients[:, 0] = 0  # decays, and is divided by eps alone
    scales = torch.tensor([1.0, 0.25, 1.0, 0.5])
    w64 = grad(w)
    optimizer = torch.optim.AdamW([w64], lr=rate, betas=betas, eps=eps, weight_decay=decay)
    weights = []
    for i in range(steps):
        w64.grad = gradients[i].double() * scales[i].double()
        optimizer.step()
        weights.append(w64.detach().clone())
    state = optimizer.state[w64]
    save(folder, "adamw", dict(w=w, gradients=gradients, scales=scales,
                               weights=torch.stack(weights), m=state["exp_avg"],
                               v=state["exp_avg_sq"]),
         learning_rate=rate, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=decay)


def norm(folder):
    x = normal(1037, scale=0.1)
    norm64 = torch.linalg.vector_norm(x.double())
    save(folder, "norm", dict(x=x, sum=norm64.square().reshape(1), norm=norm64.reshape(1)))


def half(folder):
    """Conversions of f32 to bf16 and f16, as bits: every exponent, ties, neighbours of ties, and
    what is not a number."""
    bits = []
    for exponent in range(256):
        for mantissa in (0, 1, 0x7FFFFF, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0x7FFF,
                         0x8000, 0x8001, 0x17FFF, 0x18000, 0x18001):
            sign = (exponent + mantissa) & 1
            bits.append(sign << 31 | exponent << 23 | mantissa)
    numbers = [b for b in bits if not (b >> 23 & 255 == 255 and b & 0x7FFFFF)]
    x = torch.tensor(numbers, dtype=torch.int64).to(torch.int32).view(torch.float32)
    save(folder, "half", dict(x=x, bf16=x.to(torch.bfloat16), f16=x.to(torch.float16)))


def make(folder):
    for i, part in enumerate((linear, embedding, rmsnorm, rope, attention, swiglu, cross_entropy,
                              corrupt, guide, row_stats, adamw, norm, half)):
        torch.manual_seed(1000 + i)
        part(folder)
