"""Files written by the safetensors package itself: every dtype Lacuna reads, odd shapes and
metadata. The elements follow a formula, so that the test can compute them too."""

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

REQUIRES = "numpy safetensors torch"


def ramp(shape, dtype):
    """Element i is (i - 3) / 4, exact in every float type of the files; integers count up."""
    n = int(np.prod(shape))
    if np.dtype(dtype).kind == "f":
        return ((np.arange(n) - 3) / 4).astype(dtype).reshape(shape)
    return np.arange(n).astype(dtype).reshape(shape)


def make(folder):
    plain = {
        "f32": ramp((2, 3), np.float32),
        "f64": ramp((5,), np.float64),
        "f16": ramp((3, 1, 2), np.float16),
        "i32": ramp((4,), np.int32),
        "i64": ramp((2, 2), np.int64),
        "u8": ramp((7,), np.uint8),
        "scalar": np.array(1.5, dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "four.extents": ramp((2, 1, 3, 2), np.float32),
        "n\u00e4me \"quoted\"\n": ramp((1,), np.float32),
    }
    save_file(plain, folder / "safetensors_types.safetensors",
              metadata={"format": "np", "eps": "1e-05", "wörd": "a\"b\nc"})

    tensors = {k: torch.from_numpy(ramp(s, np.float32)).to(torch.bfloat16)
               for k, s in {"b": (3, 2), "a": (4,)}.items()}
    save_torch(tensors, folder / "safetensors_bf16.safetensors", metadata={"format": "pt"})
