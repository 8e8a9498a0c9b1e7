"""optimizer.safetensors: AdamW with clipping over the weights of a small model, by torch.optim.AdamW.

Six steps of three settings: "plain" decays matrices only, "all" decays every weight, "muon" updates the
blocks' matrices by Muon and the others as "plain". Gradients are drawn anew for each step; their scales
make the global norm fall above the clipping norm in some steps and below it in others. The learning rate
changes each step. Computed in f64 from f32 values. Muon is written out here, as torch.optim.Muon
orthogonalises in bf16; its updates are compared with that one's.
"""

REQUIRES = "torch safetensors"

# The model of tests/training/optimizer_test.cpp: names, shapes and kinds as in Hugging Face LLaDA files.
LAYERS, WIDTH, FFN, VOCAB, KV_WIDTH = 2, 8, 12, 10, 4
STEPS = 6
CLIP = 1.0
MOMENTUM = 0.95
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


def orthogonalised(g):
    x = g / g.norm()
    for _ in range(5):
        if x.shape[0] <= x.shape[1]:
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        else:
            gram = x.T @ x
            x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
    return x


class Muon:
    """Of parameters whose gradients are clipped; the state's name is AdamW's."""

    def __init__(self, parameters):
        import torch

        self.state = {p: {"exp_avg": torch.zeros_like(p)} for p in parameters}
        # The same by PyTorch, from copies.
        self.copies = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
        self.theirs = torch.optim.Muon(self.copies, weight_decay=DECAY, momentum=MOMENTUM,
                                       adjust_lr_fn="match_rms_adamw")
        self.param_groups = [{}]

    def step(self):
        import torch

        learning_rate = self.param_groups[0]["lr"]
        self.theirs.param_groups[0]["lr"] = learning_rate
        for p, copy in zip(self.state, self.copies):
            copy.grad = p.grad.clone()
        self.theirs.step()
        with torch.no_grad():
            for (p, state), copy in zip(self.state.items(), self.copies):
                m = state["exp_avg"].mul_(MOMENTUM).add_((1 - MOMENTUM) * p.grad)
                update = orthogonalised(MOMENTUM * m + (1 - MOMENTUM) * p.grad)
                size = 0.2 * max(p.shape) ** 0.5
                p.mul_(1 - learning_rate * DECAY).sub_(learning_rate * size * update)
                assert (p - copy).abs().max() < 0.05 * size * sum(LEARNING_RATES)


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

    for setting in ("plain", "all", "muon"):
        parameters = {name: torch.nn.Parameter(t.double()) for name, t in initial.items()}
        decayed = {name for name, _, kind in weights() if setting == "all" or kind == "matrix"}
        groups = [
            {"params": [p for n, p in parameters.items() if n in decayed], "weight_decay": DECAY},
            {"params": [p for n, p in parameters.items() if n not in decayed], "weight_decay": 0.0},
        ]
        matrices = []
        if setting == "muon":
            matrices = [parameters[n] for n, _, kind in weights() if kind == "matrix" and "blocks" in n]
            for group in groups:
                group["params"] = [p for p in group["params"] if all(p is not m for m in matrices)]
        optimizers = [torch.optim.AdamW([g for g in groups if g["params"]], betas=BETAS, eps=EPS)]
        if matrices:
            optimizers.append(Muon(matrices))
        norms = []
        for gradient, learning_rate in zip(gradients, LEARNING_RATES):
            for name, p in parameters.items():
                p.grad = gradient[name].double()
            norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters.values()))
            norms.append(norm)
            # clip_grad_norm_ adds 1e-6 to the norm; here the scale is exactly min(1, CLIP / norm).
            for p in parameters.values():
                p.grad *= torch.clamp(CLIP / norm, max=1.0)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate
                optimizer.step()
        assert min(norms) < CLIP < max(norms)
        tensors["norms"] = torch.stack(norms)
        states = {p: state for optimizer in optimizers for p, state in optimizer.state.items()}
        for name, p in parameters.items():
            tensors[f"{setting}.weights/{name}"] = p.detach().float()
            tensors[f"{setting}.first_moment/{name}"] = states[p]["exp_avg"].float()
            if "exp_avg_sq" in states[p]:
                tensors[f"{setting}.second_moment/{name}"] = states[p]["exp_avg_sq"].float()

    save_file(
        {name: t.contiguous() for name, t in tensors.items()},
        folder / "optimizer.safetensors",
        metadata={
            "torch": torch.__version__,
            "steps": str(STEPS),
            "learning_rates": " ".join(map(repr, LEARNING_RATES)),
        },
    )
