"""The formats of blocks (core/block_formats.h) by llama.cpp's own Python package: random blocks and
what it makes of them, and what its quantisers make of random weights."""

import gguf
import numpy as np
from safetensors.numpy import save_file

REQUIRES = "numpy safetensors gguf"

TYPES = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0,
         "q4_k": gguf.GGMLQuantizationType.Q4_K, "q5_k": gguf.GGMLQuantizationType.Q5_K,
         "q6_k": gguf.GGMLQuantizationType.Q6_K}
SCALES = {"q8_0": [0], "q4_0": [0], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208]}  # f16, bytes
BLOCKS = 24


def random_blocks(random, kind, block_bytes):
    """Any bytes but for the f16 scales, which are finite: zero, subnormal, negative, large too."""
    blocks = random.integers(0, 256, (BLOCKS, block_bytes), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = random.normal(size=BLOCKS).astype(np.float16) * np.float16(0.01)
        scale[0], scale[1], scale[2] = 0, 3e-7, -8
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(BLOCKS, 2)
    return blocks


def make(folder):
    random = np.random.default_rng(500)
    tensors = {}
    for kind, type_ in TYPES.items():
        _, block_bytes = gguf.GGML_QUANT_SIZES[type_]
        blocks = random_blocks(random, kind, block_bytes)
        tensors[f"{kind}/blocks"] = blocks
        tensors[f"{kind}/values"] = gguf.quants.dequantize(blocks.reshape(-1), type_)
    weights = random.normal(size=8 * 256).astype(np.float32)
    weights[:32] = 0
    weights[32:64] *= 1e-4
    weights[64] = 40
    tensors["weights"] = weights
    for kind in ("q8_0", "q4_0"):
        tensors[f"{kind}/quantised"] = gguf.quants.quantize(weights, TYPES[kind])
    save_file(tensors, folder / "block_formats.safetensors")
