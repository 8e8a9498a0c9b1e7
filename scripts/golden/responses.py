"""Fine-tuning batches: which response tokens are masked, the loss and the gradients of all weights,
for both objectives. Noise drawn as responses.h says, by a second implementation; the loss as in
LLaDA's GUIDELINES.md ("SFT"): noise everything, restore the prompt, divide by p and by each
example's response length, then by the batch. In f64 from f32 weights."""

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import model
import objective

REQUIRES = "torch safetensors"

# (length, prompt, end tokens that pad it): pairs of samples are padded to the longer of the two.
EXAMPLES = [(7, 3, 2), (9, 1, 0), (4, 2, 1), (5, 4, 0), (6, 5, 0), (3, 1, 3)]
CASES = {
    "diffusion": dict(vocab_size=21, layers=2, width=16, heads=4, kv_heads=2, ffn_width=20,
                      causal=False, tied=False, mask_token=20, eos_token=19, seed=5,
                      first_sample=2000, examples_in_step=8, eps=1e-3),
    "autoregressive": dict(vocab_size=21, layers=2, width=16, heads=4, kv_heads=4, ffn_width=20,
                           causal=True, tied=True, mask_token=-1, eos_token=19, seed=6,
                           first_sample=0, examples_in_step=6, eps=1e-3),
}


def make(folder):
    for number, (name, c) in enumerate(CASES.items()):
        torch.manual_seed(500 + number)
        weights = model.make_weights(c)
        w = {k: v.double().requires_grad_() for k, v in weights.items()}
        total, tokens_out, masked_out, losses_out = 0, [], [], []
        for b, (length, prompt, pad) in enumerate(EXAMPLES):
            text = torch.randint(c["vocab_size"] - 2, (length,))
            tokens_out.append(text)
            padding = 0 if c["causal"] else pad
            clean = torch.cat((text, torch.full((padding,), c["eos_token"])))
            response = len(clean) - prompt
            if c["causal"]:
                noisy, p, rows = clean, 1.0, torch.arange(prompt, length)
                seen = rows - 1
            else:
                one = objective.noise(c | {"first_sample": c["first_sample"] + b}, clean[None])
                noisy, p = torch.where(one[0][0], c["mask_token"], clean), one[1][0]
                noisy[:prompt] = clean[:prompt]
                rows = seen = torch.nonzero(noisy == c["mask_token"]).flatten()
            masked = torch.zeros(len(clean), dtype=torch.uint8)
            masked[rows] = 1
            masked_out.append(masked)
            hidden = model.hidden_states(c, w, noisy)
            logits = F.linear(hidden, w.get("ff_out", w["wte"]))
            losses = F.cross_entropy(logits[seen], clean[rows], reduction="none")
            losses_out.append(losses.detach())
            total = total + losses.sum() / p / response
        loss = total / c["examples_in_step"]
        loss.backward()
        out = {"tokens": torch.cat(tokens_out).int(), "masked": torch.cat(masked_out),
               "losses": torch.cat(losses_out), "loss": loss.detach().reshape(1),
               "examples": torch.tensor(EXAMPLES, dtype=torch.int64)}
        out |= {f"weights/{model.ROOT}{k}.weight": v for k, v in weights.items()}
        out |= {f"gradients/{model.ROOT}{k}.weight": v.grad.float() for k, v in w.items()}
        save_file({k: v.contiguous() for k, v in out.items()},
                  folder / f"responses_{name}.safetensors",
                  metadata={k: str(int(v) if isinstance(v, bool) else v) for k, v in c.items()})
