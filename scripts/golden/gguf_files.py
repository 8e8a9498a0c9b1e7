"""GGUF files of one small model in every type, written by llama.cpp's own Python package as its
converter (conversion/llada.py) would: names, keys, the reordered query and key rows, the
quantisation. export_gguf must give them byte for byte."""

import json

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

import model

REQUIRES = "torch safetensors gguf"

MODEL = dict(vocab_size=24, layers=1, width=32, heads=4, kv_heads=2, ffn_width=32, max_length=48,
             norm_eps=1e-5, rope_theta=10000.0, mask_token=20, eos_token=21, pad_token=21,
             tied=False)
NAMES = {"attn_norm": "attn_norm", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v",
         "attn_out": "attn_output", "ff_norm": "ffn_norm", "ff_proj": "ffn_gate",
         "up_proj": "ffn_up", "ff_out": "ffn_down"}
OUTSIDE = {"wte": "token_embd", "ln_f": "output_norm", "ff_out": "output"}
TYPES = {"f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
         "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
         "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
         "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0)}

# Ids 18 and 19 are of no token; 22 is no special token; 23 is a row beyond the tokenizer.
VOCAB = {chr(ord("a") + i): i for i in range(16)} | {"ab": 16, "abc": 17}
MERGES = [["a", "b"], ["ab", "c"]]
ADDED = [(20, "<|mdm_mask|>", True), (21, "<|endoftext|>", True), (22, "<extra>", False)]


def tokenizer():
    return {"version": "1.0",
            "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False,
                              "rstrip": False, "normalized": False, "special": s}
                             for i, t, s in ADDED],
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                              "trim_offsets": True, "use_regex": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                        "use_regex": True},
            "model": {"type": "BPE", "vocab": VOCAB, "merges": MERGES}}


def permute(w, heads):
    """As LLaDAModel.permute of the converter."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(
        w.shape)


def write(path, c, weights, kind, file_type):
    w = gguf.GGUFWriter(path, "llada")
    w.add_file_type(file_type)
    if kind == gguf.GGMLQuantizationType.Q8_0:
        w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_block_count(c["layers"])
    w.add_context_length(c["max_length"])
    w.add_embedding_length(c["width"])
    w.add_feed_forward_length(c["ffn_width"])
    w.add_head_count(c["heads"])
    w.add_head_count_kv(c["kv_heads"])
    w.add_layer_norm_rms_eps(c["norm_eps"])
    w.add_rope_dimension_count(c["width"] // c["heads"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_vocab_size(c["vocab_size"])
    w.add_causal_attention(False)
    w.add_diffusion_shift_logits(False)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    tokens = [f"[PAD{i}]" for i in range(c["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * c["vocab_size"]
    for text, i in VOCAB.items():
        tokens[i], types[i] = text, gguf.TokenType.NORMAL
    for i, text, special in ADDED:
        tokens[i] = text
        types[i] = gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges([" ".join(m) for m in MERGES])
    w.add_bos_token_id(c["eos_token"])
    w.add_eos_token_id(c["eos_token"])
    w.add_pad_token_id(c["pad_token"])
    w.add_mask_token_id(c["mask_token"])
    w.add_add_bos_token(False)
    for name, value in weights.items():
        value = value.numpy()
        if name.endswith("q_proj"):
            value = permute(value, c["heads"])
        if name.endswith("k_proj"):
            value = permute(value, c["kv_heads"])
        if name.startswith("blocks."):
            _, block, part = name.split(".")
            name = f"blk.{block}.{NAMES[part]}"
        else:
            name = OUTSIDE[name]
        type_ = kind if value.ndim == 2 else gguf.GGMLQuantizationType.F32
        data = gguf.quants.quantize(np.ascontiguousarray(value), type_)
        w.add_tensor(name + ".weight", data, raw_dtype=type_)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make(folder):
    torch.manual_seed(400)
    c = MODEL
    weights = model.make_weights(c)
    metadata = {k: str(int(v) if isinstance(v, bool) else v) for k, v in c.items()}
    metadata["tokenizer"] = json.dumps(tokenizer())
    save_file({f"weights/{model.ROOT}{k}.weight": v for k, v in weights.items()},
              folder / "gguf.safetensors", metadata=metadata)
    for name, (kind, file_type) in TYPES.items():
        write(folder / f"gguf_{name}.gguf", c, weights, kind, file_type)
