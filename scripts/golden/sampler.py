"""Canvases after every step of LLaDA's sampler: its generate() (github.com/ML-GSAI/LLaDA,
generate.py) written again around a tiny model, in f64, with the random numbers that
src/decoding names. Cases are drawn until no choice in them is so close that f32 could decide
otherwise."""

import functools
import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import _philox
import model

REQUIRES = "torch safetensors"

MASK, EOS = 23, 22
SEED, PURPOSE_REMASKING = 11, 7
SHAPE = dict(vocab_size=24, layers=2, width=16, heads=4, kv_heads=2, ffn_width=20, causal=False,
             tied=False)
# Least difference between the best logits of a committed token, and between the confidences of the
# last that is committed and the first that is not. An f32 computation is off by about 1e-6.
LOGIT_MARGIN, CONFIDENCE_MARGIN = 2e-4, 2e-5

# "prompts" are lengths, or tokens. Those of one length are one batch here, as LLaDA wants it.
CASES = {
    "one_token_per_step": dict(prompts=[3], gen_length=8, steps=8, block_length=8),
    "blocks": dict(prompts=[5, 5], gen_length=12, steps=6, block_length=4),
    "remainders": dict(prompts=[2], gen_length=10, steps=6, block_length=5),
    "one_step": dict(prompts=[4], gen_length=6, steps=1, block_length=6),
    "idle_steps": dict(prompts=[4], gen_length=8, steps=14, block_length=4),
    # (Without any prompt all masks look the same to the model: their confidences are equal.)
    "short_prompt": dict(prompts=[1], gen_length=9, steps=9, block_length=3),
    "guidance": dict(prompts=[6], gen_length=8, steps=4, block_length=8, cfg_scale=1.5),
    "guided_blocks": dict(prompts=[4, 4], gen_length=8, steps=8, block_length=2, cfg_scale=0.5),
    "masks_in_prompt": dict(prompts=[[1, MASK, 2, MASK, 3]], gen_length=6, steps=4,
                            block_length=3),
    "masks_in_guided_prompt": dict(prompts=[[MASK, 4, 5, MASK]], gen_length=6, steps=6,
                                   block_length=3, cfg_scale=2.0),
    "random": dict(prompts=[3, 3], gen_length=12, steps=6, block_length=6, remasking="random"),
    "temperature": dict(prompts=[4, 4], gen_length=10, steps=6, block_length=5, temperature=0.8),
    "all_at_once": dict(prompts=[4, 4], gen_length=8, steps=4, block_length=4, temperature=1.5,
                        remasking="random", cfg_scale=0.5),
    # Of a model that predicts the mask token now and then.
    "predicts_masks": dict(prompts=[3, 3], gen_length=12, steps=12, block_length=3, masks=True),
    "predicts_masks_guided": dict(prompts=[5], gen_length=12, steps=6, block_length=4,
                                  cfg_scale=1.0, masks=True),
}


class TooClose(Exception):
    pass


def logits_of(w, x):
    hidden = torch.stack([model.hidden_states(SHAPE, w, row) for row in x])
    return F.linear(hidden, w["ff_out"])


def transfer_counts(masked, steps):
    """get_num_transfer_tokens(): masked [B] -> counts [B, steps]."""
    counts = (masked // steps)[:, None].repeat(1, steps)
    for b, rest in enumerate((masked % steps).tolist()):
        counts[b, :rest] += 1
    return counts


@functools.cache
def gumbel(sample, step, position):
    """-log(-log u) for each token."""
    first = ((sample << 20) | position) * SHAPE["vocab_size"]
    u = [_philox.uniform53(SEED, _philox.PURPOSE_GUMBEL, step | (n >> 32) << 32, n & _philox.MASK)
         for n in range(first, first + SHAPE["vocab_size"])]
    return [-math.log(-math.log(x)) for x in u]


@functools.cache
def random_confidence(sample, step, position):
    return _philox.uniform53(SEED, PURPOSE_REMASKING, sample << 32 | step, position)


def for_each_position(f, shape, step):
    return torch.tensor([[f(b, step, i) for i in range(shape[1])] for b in range(shape[0])],
                        dtype=torch.float64)


def generate(w, prompt, gen_length, steps, block_length, cfg_scale=0.0, temperature=0.0,
             remasking="low_confidence"):
    """The canvas after every step, [steps, B, T]."""
    B, P = prompt.shape
    x = torch.full((B, P + gen_length), MASK)
    x[:, :P] = prompt
    prompt_index = x != MASK
    blocks = gen_length // block_length
    assert gen_length % block_length == 0 and steps % blocks == 0
    canvases = []
    for block in range(blocks):
        start, end = P + block * block_length, P + (block + 1) * block_length
        counts = transfer_counts((x[:, start:end] == MASK).sum(1), steps // blocks)
        for step in range(steps // blocks):
            mask_index = x == MASK
            logits = logits_of(w, x)
            if cfg_scale > 0:
                unconditional = logits_of(w, torch.where(prompt_index, MASK, x))
                logits = unconditional + (cfg_scale + 1) * (logits - unconditional)
            noise_step = block * block_length + step
            noisy = logits
            if temperature > 0:
                noisy = logits + temperature * for_each_position(gumbel, x.shape, noise_step)
            x0 = noisy.argmax(-1)
            confidence = logits.softmax(-1).gather(-1, x0[..., None])[..., 0]
            if remasking == "random":
                confidence = for_each_position(random_confidence, x.shape, noise_step)
            confidence[:, end:] = -torch.inf
            confidence = torch.where(mask_index, confidence, -torch.inf)
            x0 = torch.where(mask_index, x0, x)
            transfer = torch.zeros_like(mask_index)
            for b in range(B):
                n = int(counts[b, step])
                transfer[b, confidence[b].topk(n).indices] = True
                check_margins(noisy[b], confidence[b], transfer[b], n)
            x = torch.where(transfer, x0, x)
            canvases.append(x.clone())
    return torch.stack(canvases)


def check_margins(logits, confidence, transfer, n):
    if n == 0:
        return
    best = logits[transfer].topk(2).values
    if (best[:, 0] - best[:, 1]).min() < LOGIT_MARGIN:
        raise TooClose
    ranked = confidence.sort(descending=True).values
    if ranked[n - 1] - ranked[n] < CONFIDENCE_MARGIN:
        raise TooClose


def make_weights(masks):
    w = model.make_weights(SHAPE)
    w["ff_out"] *= 2
    # The mask token is never the answer of the one model, and often that of the other.
    w["ff_out"][MASK] *= 1.5 if masks else 0.05
    return {k: v.double() for k, v in w.items()}


def run_case(w, case):
    options = {k: v for k, v in case.items() if k not in ("prompts", "masks")}
    rows = [p if isinstance(p, list) else torch.randint(EOS, (p,)).tolist()
            for p in case["prompts"]]
    prompt = torch.tensor(rows, dtype=torch.int64).reshape(len(rows), -1)
    canvases = generate(w, prompt, **options)
    answers = canvases[-1, :, prompt.shape[1]:]
    if len(answers.unique()) < 4:
        raise TooClose  # too dull
    unfilled = [(c == MASK).sum() for c in canvases[:, :, prompt.shape[1]:]]
    planned = case["gen_length"] * len(rows)
    predicted = int(unfilled[-1]) > 0 and int(unfilled[-1]) < planned // 2
    if predicted != case.get("masks", False) and not any(MASK in row for row in rows):
        raise TooClose  # masks were predicted where they should not be, or the other way round
    if case.get("masks") and not late_fill(canvases, prompt.shape[1], case):
        raise TooClose
    return prompt, canvases


def late_fill(canvases, start, case):
    """Whether a position left masked by its own block was filled in a later one."""
    blocks = case["gen_length"] // case["block_length"]
    per_block = case["steps"] // blocks
    for block in range(blocks - 1):
        end = start + (block + 1) * case["block_length"]
        left = canvases[(block + 1) * per_block - 1][:, start:end] == MASK
        if (left & (canvases[-1][:, start:end] != MASK)).any():
            return True
    return False


def decode_greedily(w, prompt, gen_length):
    """Left to right with a causal mask, until the end token."""
    tokens = list(prompt)
    for _ in range(gen_length):
        context = torch.tensor(tokens if prompt else [EOS, *tokens])
        hidden = model.hidden_states(SHAPE | {"causal": True}, w, context)
        best = F.linear(hidden[-1], w["ff_out"]).topk(2)
        if best.values[0] - best.values[1] < LOGIT_MARGIN:
            raise TooClose
        tokens.append(int(best.indices[0]))
        if tokens[-1] == EOS:
            break
    return tokens


def first_success(seed, attempt):
    for s in range(seed, seed + 2000):
        torch.manual_seed(s)
        try:
            return attempt()
        except TooClose:
            pass
    raise RuntimeError("no seed gives a case with clear margins")


def is_fixed(case):
    return all(isinstance(p, list) or p == 0 for p in case["prompts"])


def make_model(masks):
    """A model and all its cases."""
    cases = {k: c for k, c in CASES.items() if c.get("masks", False) == masks}
    w = make_weights(masks)
    done = {}
    # First those that cannot be drawn again.
    for name, case in sorted(cases.items(), key=lambda item: not is_fixed(item[1])):
        for _ in range(1 if is_fixed(case) else 60):
            try:
                done[name] = run_case(w, case)
                break
            except TooClose:
                pass
        else:
            raise TooClose
    return w, {name: done[name] for name in cases}


def make(folder):
    out, listed = {}, {}
    for kind, masks in (("plain", False), ("masks", True)):
        w, done = first_success(300, lambda m=masks: make_model(m))
        out |= {f"{kind}/{model.ROOT}{k}.weight": v.float() for k, v in w.items()}
        for name, (prompt, canvases) in done.items():
            out[f"{name}/prompts"] = prompt.int()
            out[f"{name}/canvases"] = canvases.int()
            options = {k: v for k, v in CASES[name].items() if k not in ("prompts", "masks")}
            defaults = {"cfg_scale": 0, "temperature": 0, "remasking": "low_confidence"}
            listed[name] = {**defaults, **options, "weights": kind,
                            "prompt_length": prompt.shape[1]}

    def decode():
        w = make_weights(False)
        texts = [decode_greedily(w, torch.randint(EOS, (n,)).tolist(), 12) for n in (4, 0, 7)]
        ended = [t[-1] == EOS for t in texts]
        if all(ended) or not any(ended) or min(len(set(t)) for t in texts) < 4:
            raise TooClose
        return w, texts

    w, texts = first_success(900, decode)
    out |= {f"causal/{model.ROOT}{k}.weight": v.float() for k, v in w.items()}
    for i, text in enumerate(texts):
        out[f"decode/{i}"] = torch.tensor(text, dtype=torch.int32)
    metadata = {k: str(int(v)) for k, v in SHAPE.items()}
    metadata |= {"mask_token": str(MASK), "eos_token": str(EOS), "seed": str(SEED),
                 "cases": json.dumps(listed)}
    save_file({k: v.contiguous() for k, v in out.items()}, folder / "sampler.safetensors",
              metadata=metadata)
