"""Small models of each family with LLaMA's layout, and their logits by transformers' own code, in
f64 from f32 weights. SDAR is Qwen3, Dream and Fast-dLLM v2 are Qwen2 with another attention mask:
that of whole blocks and of those before them, and that of all tokens. LLaDA-MoE is Qwen3-MoE
with that mask and without the division of the experts' weights by their sum. A file holds a
folder's model.safetensors (weights/NAME) and, as metadata, its config.json.
"""

import json
import math

import torch
from safetensors.torch import save_file

REQUIRES = "torch transformers safetensors"

LENGTH, BLOCK = 11, 4
SIZES = dict(vocab_size=24, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, intermediate_size=20, max_position_embeddings=32,
             rms_norm_eps=1e-6, tie_word_embeddings=False, bos_token_id=None, eos_token_id=20,
             pad_token_id=21)

# The class of transformers, what differs from SIZES, and what the published config.json says in place
# of what transformers writes.
FAMILIES = {
    "llama": ("Llama", dict(rms_norm_eps=1e-5), {}, "causal"),
    "llama_tied": ("Llama", dict(tie_word_embeddings=True, num_key_value_heads=4), {}, "causal"),
    "qwen2": ("Qwen2", dict(), {}, "causal"),
    "qwen3": ("Qwen3", dict(head_dim=8, tie_word_embeddings=True), {}, "causal"),
    "sdar": ("Qwen3", dict(head_dim=8), dict(
        architectures=["SDARForCausalLM"], model_type="sdar", block_size=BLOCK, mask_token_id=22,
        fuse_cross_entropy=True), "blocks"),
    "dream": ("Qwen2", dict(), dict(
        architectures=["DreamModel"], model_type="Dream", mask_token_id=22, use_mrope=False), "all"),
    "fast_dllm_v2": ("Qwen2", dict(tie_word_embeddings=True), dict(
        architectures=["Fast_dLLM_QwenForCausalLM"], model_type="Fast_dLLM_Qwen", bd_size=BLOCK,
        mask_token_id=22), "blocks"),
    "llada_moe": ("Qwen3Moe", dict(
        rms_norm_eps=1e-5, head_dim=4, num_key_value_heads=4, moe_intermediate_size=10,
        num_experts=6, num_experts_per_tok=3, norm_topk_prob=False), dict(
        architectures=["LLaDAMoEModelLM"], model_type="llada", dense_intermediate_size=40,
        num_experts=6, expert_intermediate_size=10, shared_expert_intermediate_size=None,
        moe_layer_freq=[1, 1], moe_router_enable_expert_bias=False,
        moe_router_score_function="softmax", norm_topk_prob=None, partial_rotary_factor=1.0,
        qk_layernorm=True, routed_scaling_factor=1, clip_qkv=None), "all"),
}
# Keys that the published config.json does not have.
FOREIGN = {"llada_moe": [
    "num_local_experts", "intermediate_size", "moe_intermediate_size", "head_dim", "mlp_only_layers",
    "decoder_sparse_step", "use_sliding_window", "sliding_window", "max_window_layers",
    "layer_types"]}


def visible(kind):
    """Which keys each query sees, [T, T]."""
    query, key = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)[None, :]
    if kind == "causal":
        return key <= query
    if kind == "blocks":
        return key // BLOCK <= query // BLOCK
    return torch.ones(LENGTH, LENGTH, dtype=torch.bool)


def randomise(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.copy_(0.7 * torch.randn_like(p))
            elif p.dim() == 1:
                p.copy_(1 + 0.3 * torch.randn_like(p))
            else:
                p.copy_(1.5 * torch.randn_like(p) / math.sqrt(p.shape[-1]))


def stored(weights):
    """As files have them: a matrix for each expert, where transformers has one tensor for all."""
    out = {}
    for name, w in weights.items():
        layer, _, kind = name.partition(".experts.")
        if not kind:
            out[name] = w
            continue
        for expert, matrix in enumerate(w):
            parts = matrix.chunk(2) if kind == "gate_up_proj" else [matrix]
            for part, of in zip(kind.removesuffix("_proj").split("_"), parts):
                out[f"{layer}.experts.{expert}.{part}_proj.weight"] = of
    return out


def make(folder):
    import transformers

    for number, (name, (kind, sizes, published, mask)) in enumerate(FAMILIES.items()):
        torch.manual_seed(400 + number)
        config = getattr(transformers, kind + "Config")(**(SIZES | sizes))
        config.rope_parameters = {"rope_type": "default", "rope_theta": 1e6}
        config._attn_implementation = config._experts_implementation = "eager"  # others are of f32
        model = getattr(transformers, kind + "ForCausalLM")(config).eval()
        randomise(model)
        weights = stored({k: v.clone() for k, v in model.state_dict().items()})
        if config.tie_word_embeddings:
            del weights["lm_head.weight"]

        tokens = torch.randint(config.vocab_size, (1, LENGTH))
        unseen = torch.zeros(LENGTH, LENGTH, dtype=torch.float64)
        unseen.masked_fill_(~visible(mask), torch.finfo(torch.float64).min)
        with torch.no_grad():
            logits = model.double()(tokens, attention_mask=unseen[None, None]).logits[0]

        text = json.loads(config.to_json_string(use_diff=False))
        text = {k: v for k, v in text.items() if not k.startswith("_")}
        text |= dict(architectures=[kind + "ForCausalLM"], dtype="float32")
        if published:
            del text["rope_parameters"], text["dtype"]
            text |= dict(rope_theta=1e6, rope_scaling=None, torch_dtype="float32") | published
            for key in FOREIGN.get(name, []):
                text.pop(key, None)
        out = {f"weights/{k}": v.contiguous() for k, v in weights.items()}
        out |= {"tokens": tokens[0].int(), "logits": logits.contiguous()}
        save_file(out, folder / f"family_{name}.safetensors",
                  metadata={"config": json.dumps(text, indent=2) + "\n"})
