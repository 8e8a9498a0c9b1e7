"""FP8 as PyTorch has it (float8_e4m3fn, float8_e5m2): the values of all codes, the codes of numbers
on and beside every tie, and a linear layer's products of operands that are scaled by powers of two
and rounded to FP8, summed in f64."""

import math

import torch
from safetensors.torch import save_file

REQUIRES = "torch safetensors"

TYPES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def values_of(dtype):
    return torch.arange(256).to(torch.uint8).view(dtype).float()


def inputs(dtype):
    """Every finite value, every tie between neighbours, and the f32 numbers beside each."""
    values = values_of(dtype)
    values = values[values.isfinite()].unique()
    points = torch.cat([values, (values[1:] + values[:-1]) / 2,
                        torch.tensor([1e-30, 1e6, 3e38, -3e38, -1e6])])
    inf = torch.tensor(math.inf)
    return torch.cat([points, torch.nextafter(points, inf), torch.nextafter(points, -inf)])


def rounded(x, dtype):
    """Saturating; PyTorch's own conversion to e4m3 makes NaN of what is too large."""
    largest = torch.finfo(dtype).max
    return x.clamp(-largest, largest).to(dtype)


def quantised(x, dtype):
    """(codes, factor): the smallest power of two by which the largest magnitude fits."""
    factor = 2.0 ** math.ceil(math.log2(x.abs().max().item() / torch.finfo(dtype).max))
    return rounded(x.float() / factor, dtype), factor


def value(q):
    codes, factor = q
    return codes.double() * factor


def bytes_of(q):
    return q[0].view(torch.uint8)


def bf16(*shape, scale):
    # Over some binades, so that there are subnormal codes.
    return (scale * torch.randn(*shape) * 2.0 ** torch.randint(-18, 1, shape)).bfloat16()


def make(folder):
    torch.manual_seed(8)
    out = {}
    for name, dtype in TYPES.items():
        x = inputs(dtype)
        out |= {f"{name}_values": values_of(dtype), f"{name}_x": x,
                f"{name}_codes": rounded(x, dtype).view(torch.uint8)}
    save_file(out, folder / "fp8.safetensors")

    rows, inside, outside = 23, 48, 32
    x, w = bf16(rows, inside, scale=3.0), bf16(outside, inside, scale=0.02)
    dy = bf16(rows, outside, scale=1e-5)
    qx, qw = (quantised(t, torch.float8_e4m3fn) for t in (x, w))
    qdy = quantised(dy, torch.float8_e5m2)
    save_file(dict(x=x.float(), w=w.float(), dy=dy.float(), x_codes=bytes_of(qx),
                   w_codes=bytes_of(qw), dy_codes=bytes_of(qdy),
                   factors=torch.tensor([qx[1], qw[1], qdy[1]], dtype=torch.float64),
                   y=value(qx) @ value(qw).T, dx=value(qdy) @ value(qw),
                   dw=value(qdy).T @ value(qx)),
              folder / "fp8_linear.safetensors")
