#!/usr/bin/env python3
"""Writes a GGUF file of a LLaDA model with random weights, for measurements of speed and memory:
the 8B shape takes a minute, where quantising as many real numbers would take an hour.

    pip install gguf numpy
    scripts/random_gguf.py model.gguf --type q4_k [--layers 32 --hidden-size 4096 ...]
    scripts/random_gguf.py moe.gguf --architecture llada-moe --layers 16 --hidden-size 2048 \
        --heads 16 --intermediate-size 1024 --experts 64 --experts-per-token 8 --vocab-size 157184

The matrices repeat a few random blocks, whose scales give weights of a standard deviation of
1 / sqrt(inputs). As in llama.cpp's files the head is q6_k beside narrower matrices.
"""

import argparse

import gguf
import numpy as np

TYPES = {"q8_0": (gguf.GGMLQuantizationType.Q8_0, 7), "q4_0": (gguf.GGMLQuantizationType.Q4_0, 2),
         "q4_k": (gguf.GGMLQuantizationType.Q4_K, 14), "q5_k": (gguf.GGMLQuantizationType.Q5_K, 16),
         "q6_k": (gguf.GGMLQuantizationType.Q6_K, 18), "f16": (gguf.GGMLQuantizationType.F16, 1),
         "f32": (gguf.GGMLQuantizationType.F32, 0)}
NARROW = ("q4_0", "q4_k", "q5_k")
POOL = 8192  # blocks


def half(value):
    return np.frombuffer(np.float16(value).tobytes(), np.uint8)


def random_blocks(kind, sigma, random):
    """POOL blocks of weights of standard deviation sigma."""
    if kind in ("f16", "f32"):
        dtype = np.float16 if kind == "f16" else np.float32
        return (random.normal(size=(POOL, 1)) * sigma).astype(dtype).view(np.uint8)
    block_bytes = gguf.GGML_QUANT_SIZES[TYPES[kind][0]][1]
    blocks = random.integers(0, 256, (POOL, block_bytes), dtype=np.uint8)
    if kind == "q8_0":
        blocks[:, :2] = half(sigma / 74)  # the deviation of uniform -128..127
    elif kind == "q4_0":
        blocks[:, :2] = half(sigma / 4.6)
    elif kind == "q6_k":
        blocks[:, 192:208] = 32  # the scales of all groups
        blocks[:, 208:] = half(sigma / 18.5 / 32)
    else:  # all scales and minima 33: 6 bits, of two groups in different bytes
        step = sigma / (4.6 if kind == "q4_k" else 9.2)
        blocks[:, :2] = half(step / 33)
        blocks[:, 2:4] = half(step * (7.5 if kind == "q4_k" else 15.5) / 33)
        blocks[:, 4:12], blocks[:, 12:16] = 33 | 2 << 6, 1 | 1 << 4
    return blocks


def write(a):
    """`a` has the attributes that main() takes from the command line."""
    random = np.random.default_rng(1)
    w = gguf.GGUFWriter(a.output, a.architecture)
    w.add_file_type(TYPES[a.type][1])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_block_count(a.layers)
    w.add_context_length(a.context)
    w.add_embedding_length(a.hidden_size)
    if a.experts:
        w.add_expert_count(a.experts)
        w.add_expert_used_count(a.experts_per_token)
        w.add_expert_feed_forward_length(a.intermediate_size)
    else:
        w.add_feed_forward_length(a.intermediate_size)
    w.add_head_count(a.heads)
    w.add_head_count_kv(a.heads)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(a.hidden_size // a.heads)
    w.add_rope_freq_base(500000.0)
    w.add_vocab_size(a.vocab_size)
    w.add_causal_attention(a.architecture == "llama")
    w.add_diffusion_shift_logits(False)
    w.add_tokenizer_model("no_vocab")
    w.add_mask_token_id(a.vocab_size - 1)
    w.add_eos_token_id(a.vocab_size - 2)

    tensors = []  # name, rows, columns or None, type

    def matrix(name, rows, cols, kind=a.type):
        tensors.append((name + ".weight", (rows, cols), kind))

    def norm(name, width=a.hidden_size):
        tensors.append((name + ".weight", (width,), "f32"))

    C, F = a.hidden_size, a.intermediate_size
    matrix("token_embd", a.vocab_size, C)
    for block in range(a.layers):
        p = f"blk.{block}."
        norm(p + "attn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(p + part, C, C)
        norm(p + "ffn_norm")
        if not a.experts:
            matrix(p + "ffn_gate", F, C)
            matrix(p + "ffn_up", F, C)
            matrix(p + "ffn_down", C, F)
            continue
        norm(p + "attn_q_norm", C // a.heads)
        norm(p + "attn_k_norm", C // a.heads)
        matrix(p + "ffn_gate_inp", a.experts, C, "f32")
        for part, shape in (("gate", (F, C)), ("up", (F, C)), ("down", (C, F))):
            tensors.append((f"{p}ffn_{part}_exps.weight", (a.experts, *shape), a.type))
    norm("output_norm")
    matrix("output", a.vocab_size, C, "q6_k" if a.type in NARROW else a.type)

    def size_of(shape, kind):
        block, bytes_ = gguf.GGML_QUANT_SIZES[TYPES[kind][0]]
        return int(np.prod(shape)) // block * bytes_

    for name, shape, kind in tensors:
        type_ = TYPES[kind][0]
        raw = gguf.quant_shape_to_byte_shape(shape, type_)
        w.add_tensor_info(name, raw, np.dtype(np.uint8), size_of(shape, kind), raw_dtype=type_)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    out = w.fout[0]
    out.write(bytes(-out.tell() % 32))
    for name, shape, kind in tensors:
        if len(shape) == 1:
            out.write(np.ones(shape, np.float32).tobytes())
        elif "ffn_gate_inp" in name:  # with rows of their own, so that all experts get tokens
            out.write((random.normal(size=shape) * shape[-1] ** -0.5).astype(np.float32).tobytes())
        else:
            pool = random_blocks(kind, shape[-1] ** -0.5, random).tobytes()
            left = size_of(shape, kind)
            while left > 0:
                left -= out.write(pool[:left])
        out.write(bytes(-out.tell() % 32))
    w.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("--type", choices=TYPES, default="q4_k")
    parser.add_argument("--architecture", choices=("llada", "llama", "llada-moe"),
                        default="llada")
    for name, value in (("vocab-size", 126464), ("hidden-size", 4096), ("layers", 32),
                        ("heads", 32), ("intermediate-size", 12288), ("context", 4096),
                        ("experts", 0), ("experts-per-token", 8)):
        parser.add_argument(f"--{name}", type=int, default=value, help="[%(default)s]")
    write(parser.parse_args())


if __name__ == "__main__":
    main()
