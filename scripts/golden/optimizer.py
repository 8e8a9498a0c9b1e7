"""optimizer.safetensors: AdamW with clipping over the weights of a small model, by torch.optim.AdamW.

Six steps of two settings: "plain" decays matrices only, "all" decays every weight. Gradients are drawn
anew for each step; their scales make the global norm fall above the clipping norm in some steps and
below it in others. The learning rate changes each step. Computed in f64 from f32 values.
"""

REQUIRES = "torch safetensors"

# The model of tests/training/optimizer_test.cpp: names, shapes and kinds as in Hugging Face LLaDA files.
LAYERS, WIDTH, FFN, VOCAB, KV_WIDTH = 2, 8, 12, 10, 4
STEPS = 6
CLIP = 1.0
BETAS, EPS, DECAY = (0.9, 0.95), 1e-8, 0.1
GRADIENT_SCALES = (0.01, 0.3, 1.0, 0.02, 3.0, 0.05)
LEARNING_RATES = (1e-3, 2e-3, 3e-3, 3e-3, 2e-3, 5e-4)


def weights():
    yield "model.transformer.wte.weight", (VOCAB, WIDTH), "embedding"
    for i in range(LAYERS):
        block = f"model.transformer.blocks.{i}."
        yield block + "attn_norm.weight", (WIDTH,), "norm"
        yield block + "q_proj.weight", (WIDTH, WIDTH), "matrix"
        yield block + "k_proj.weight", (KV_WIDTH, WIDTH), "matrix"
        yield block + "v_proj.weight", (KV_WIDTH, WIDTH), "matrix"
        yield block + "attn_out.weight", (WIDTH, WIDTH), "matrix"
        yield block + "ff_norm.weight", (WIDTH,), "norm"
        yield block + "ff_proj.weight", (FFN, WIDTH), "matrix"
        yield block + "up_proj.weight", (FFN, WIDTH), "matrix"
        yield block + "ff_out.weight", (WIDTH, FFN), "matrix"
    yield "model.transformer.ln_f.weight", (WIDTH,), "norm"
    yield "model.transformer.ff_out.weight", (VOCAB, WIDTH), "matrix"


def make(folder):
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    initial = {name: torch.randn(shape, generator=generator) for name, shape, _ in weights()}
    gradients = [
        {name: scale * torch.randn(shape, generator=generator) for name, shape, _ in weights()}
        for scale in GRADIENT_SCALES
    ]
    tensors = {f"initial/{name}": t for name, t in initial.items()}
    for step, gradient in enumerate(gradients):
        tensors |= {f"gradient.{step}/{name}": t for name, t in gradient.items()}

    for setting in ("plain", "all"):
        parameters = {name: torch.nn.Parameter(t.double()) for name, t in initial.items()}
        decayed = {name for name, _, kind in weights() if setting == "all" or kind == "matrix"}
        groups = [
            {"params": [p for n, p in parameters.items() if n in decayed], "weight_decay": DECAY},
            {"params": [p for n, p in parameters.items() if n not in decayed], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], betas=BETAS, eps=EPS)
        norms = []
        for gradient, learning_rate in zip(gradients, LEARNING_RATES):
            for name, p in parameters.items():
                p.grad = gradient[name].double()
            norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters.values()))
            norms.append(norm)
            # clip_grad_norm_ adds 1e-6 to the norm; here the scale is exactly min(1, CLIP / norm).
            for p in parameters.values():
                p.grad *= torch.clamp(CLIP / norm, max=1.0)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
        assert min(norms) < CLIP < max(norms)
        tensors["norms"] = torch.stack(norms)
        for name, p in parameters.items():
            tensors[f"{setting}.weights/{name}"] = p.detach().float()
            tensors[f"{setting}.first_moment/{name}"] = optimizer.state[p]["exp_avg"].float()
            tensors[f"{setting}.second_moment/{name}"] = optimizer.state[p]["exp_avg_sq"].float()

    save_file(
        {name: t.contiguous() for name, t in tensors.items()},
        folder / "optimizer.safetensors",
        metadata={
            "torch": torch.__version__,
            "steps": str(STEPS),
            "learning_rates": " ".join(map(repr, LEARNING_RATES)),
        },
    )
