"""Canvases after every step of the decoding strategies of docs/generation.md, each written from the
paper or code that is named beside it, around the tiny model of sampler.py (the weights "plain" in
sampler.safetensors), in f64. Every pass computes every row that a step may see: no caches. Prompts
are drawn until no choice is so close that f32 could decide otherwise."""

import itertools
import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import model
import sampler
from sampler import CONFIDENCE_MARGIN, EOS, LOGIT_MARGIN, MASK, SHAPE, TooClose

REQUIRES = "torch safetensors"

# "prompt" is a length. Of a block-causal model (block_size) blocks begin at multiples of their
# length, and the prompt's last tokens may be in the first that is filled.
CASES = {
    "fixed": dict(prompt=4, gen_length=10, block_length=5, steps=6),
    "threshold": dict(prompt=4, gen_length=12, block_length=6, threshold=0.35),
    "threshold_few_steps": dict(prompt=3, gen_length=12, block_length=12, threshold=0.45, steps=4),
    "threshold_guided": dict(prompt=5, gen_length=8, block_length=8, threshold=0.5, cfg_scale=0.5),
    "threshold_temperature": dict(prompt=4, gen_length=10, block_length=5, threshold=0.2,
                                  temperature=0.7),
    "dynamic": dict(prompt=4, gen_length=12, block_length=6, threshold=0.5, steps=6),
    "factor": dict(prompt=3, gen_length=12, block_length=12, factor=1.6),
    "entropy": dict(prompt=4, gen_length=12, block_length=6, entropy_bound=2.2),
    "margin": dict(prompt=4, gen_length=12, block_length=6, threshold=0.15),
    "wino": dict(prompt=4, gen_length=16, block_length=8, threshold=0.25, revise_threshold=0.3),
    "wino_one_block": dict(prompt=3, gen_length=14, block_length=14, threshold=0.2,
                           revise_threshold=0.6),
    "edit": dict(prompt=4, gen_length=12, block_length=6, threshold=0.3, revise_threshold=0.3),
    "edit_without_end": dict(prompt=3, gen_length=10, block_length=5, threshold=0.2,
                             revise_threshold=0.1),
    "remdm": dict(prompt=4, gen_length=12, block_length=6, steps=16, remask_rate=0.2,
                  temperature=1.0),
    "remdm_one_block": dict(prompt=4, gen_length=8, block_length=8, steps=12, remask_rate=0.5),
    # Of a model that often predicts the end token.
    "growing_threshold": dict(prompt=4, gen_length=58, block_length=8, initial_length=8,
                              threshold=0.6, temperature=1.0),
    "growing_to_its_limit": dict(prompt=3, gen_length=30, block_length=10, initial_length=6,
                                 threshold=0.5, temperature=1.2),
    "block_fixed": dict(prompt=5, gen_length=10, block_size=4, steps=6),
    "block_threshold": dict(prompt=6, gen_length=13, block_size=4, threshold=0.35),
    # With an end token that this model predicts.
    "block_threshold_end": dict(prompt=7, gen_length=23, block_size=5, threshold=0.4, end_token=12),
    "block_dynamic": dict(prompt=8, gen_length=12, block_size=4, threshold=0.5, steps=6),
    "block_entropy": dict(prompt=3, gen_length=12, block_size=6, entropy_bound=1.5),
    "block_wino": dict(prompt=4, gen_length=12, block_size=6, threshold=0.2, revise_threshold=0.4),
    "block_edit": dict(prompt=5, gen_length=11, block_size=4, threshold=0.3, revise_threshold=0.3),
    "block_remdm": dict(prompt=4, gen_length=8, block_size=4, steps=12, remask_rate=0.3),
}
MOST_EDITING_STEPS = 16
END_LOGIT = 6.5  # of the end token in an average masked row of the model that often ends
# DAEDAL's defaults.
END_ROWS, ADDED_MASKS, END_EXPECTED, END_EXPECTED_WHILE_FILLING, LOW_CONFIDENCE = 32, 8, .5, .9, .1


def strategy_of(name):
    return next(s for s in ("growing", "fixed", "threshold", "dynamic", "factor", "entropy", "margin", "wino",
                            "edit", "remdm") if s in name.split("_"))


def exceeds(x, threshold):
    if abs(x - threshold) < CONFIDENCE_MARGIN:
        raise TooClose
    return x > threshold


def first_of(ranked, n):
    """The first n of [(value, row)], which must not be close to the next."""
    if 0 < n < len(ranked) and abs(ranked[n - 1][0] - ranked[n][0]) < CONFIDENCE_MARGIN:
        raise TooClose
    return [row for _, row in ranked[:n]]


class Found:
    """What a pass predicts in the rows of interest, and in those of the shadows that stand for
    committed rows."""

    def __init__(self, text, rows, shadows=()):
        logits = text.logits(rows, shadows)
        if not text.may_draw_mask:
            logits[:, MASK] = -math.inf
        p = logits.softmax(-1)
        noisy = logits
        if text.temperature > 0:
            noise = [sampler.gumbel(0, text.noise_step(), r) for r in [*rows, *shadows]]
            noisy = logits + text.temperature * torch.tensor(noise, dtype=torch.float64).view_as(p)
        self.rows, self.p = {r: i for i, r in enumerate(rows)}, p
        self.best, self.first, self.second, self.entropy = {}, {}, {}, {}
        self.token, self.confidence = {}, {}
        self.gap = {}
        for r, i in self.rows.items():
            top, drawn = p[i].topk(2), noisy[i].topk(2)
            self.best[r] = int(top.indices[0])
            self.first[r], self.second[r] = top.values.tolist()
            self.entropy[r] = -float(torch.special.xlogy(p[i], p[i]).sum())
            self.token[r] = int(drawn.indices[0])
            self.gap[r] = float(drawn.values[0] - drawn.values[1])
            self.confidence[r] = float(p[i, self.token[r]])
        self.shadow = {r: float(p[len(rows) + i, text.x[r]]) for i, r in enumerate(shadows)
                       if not text.masked[r]}

    def take(self, rows):
        """{row: drawn token}."""
        if any(self.gap[r] < LOGIT_MARGIN for r in rows):
            raise TooClose
        return {r: self.token[r] for r in rows}

    def ranked(self, value):
        return sorted(((value(r), r) for r in self.rows), key=lambda item: (-item[0], item[1]))


class Text:
    def __init__(self, w, prompt, strategy, gen_length, block_length=None, block_size=None, steps=0,
                 temperature=0.0, cfg_scale=0.0, end_token=EOS, initial_length=0, **options):
        if initial_length:
            self.most, self.block_length = len(prompt) + gen_length, block_length
            gen_length = initial_length
        self.w, self.strategy, self.options, self.size = w, strategy, options, block_size
        self.end_token = end_token
        self.temperature, self.cfg_scale = temperature, cfg_scale
        self.may_draw_mask = strategy == "fixed" and not block_size
        length = block_size or block_length
        rows = len(prompt) + gen_length
        if block_size:
            rows = -(-rows // length) * length
        self.prompt, self.asked = len(prompt), len(prompt) + gen_length
        self.x = prompt + [MASK] * (rows - len(prompt))
        self.masked = [False] * len(prompt) + [True] * (rows - len(prompt))
        first = len(prompt) // length * length if block_size else len(prompt)
        self.blocks = [range(b, b + length) for b in range(first, rows, length)]
        asked = (gen_length + length - 1) // length if block_size else len(self.blocks)
        assert block_size or initial_length or (gen_length % length == 0 and steps % asked == 0)
        self.steps = -(-steps // len(self.blocks)) if steps else length
        self.done = self.grown = self.inserted = 0
        self.canvases, self.filled, self.taken_back, self.edited = [], [], 0, 0

    def noise_step(self):
        if self.strategy == "fixed":
            return self.number * len(self.block) + self.step
        return self.done

    def logits(self, rows, shadows):
        end = self.block.stop if self.size else len(self.x)
        x = torch.tensor(self.x[:end] + [MASK] * len(shadows))
        position = torch.tensor([*range(end), *shadows])
        n = end + len(shadows)
        visible = torch.zeros(n, n, dtype=torch.bool)
        visible[:end, :end] = True
        if self.size:
            block = torch.arange(end) // self.size
            visible[:end, :end] = block[:, None] >= block
        # A shadow sees the canvas but for the row that it stands for, and all shadows.
        visible[end:] = True
        for i, row in enumerate(shadows):
            visible[end + i, row] = False
        wanted = [*rows, *range(end, n)]

        def run(tokens):
            return F.linear(model.hidden_states(SHAPE, self.w, tokens, position, visible),
                            self.w["ff_out"])[wanted]

        logits = run(x)
        if self.cfg_scale > 0:
            hidden = x.clone()
            hidden[:self.prompt] = MASK
            without = run(hidden)
            logits = without + (self.cfg_scale + 1) * (logits - without)
        return logits

    def open_rows(self):
        return [r for r in self.block if self.masked[r]]

    def committed_rows(self):
        return [r for r in self.block if not self.masked[r] and r >= self.prompt]

    def apply(self, changes):
        """{row: token, or MASK to take it back}."""
        filled = 0
        for row, token in changes.items():
            filled += self.masked[row]
            self.taken_back += token == MASK and not self.may_draw_mask
            self.edited += token != MASK and not self.masked[row]
            self.x[row], self.masked[row] = token, token == MASK
        self.filled.append(filled)
        self.canvases.append(list(self.x))

    def decode(self):
        for self.number, self.block in enumerate(self.blocks):
            if not self.open_rows():
                continue
            for self.step in itertools.count():
                if not getattr(self, "step_" + self.strategy)():
                    break
                self.done += 1
                asked = [self.masked[r] for r in self.block if r < self.asked]
                if len(asked) < len(self.block) and not any(asked):
                    break  # rows beyond the answer need not be filled
            if self.size and self.end_token in self.x[self.prompt:self.block.stop]:
                break
        return self.canvases

    def grow(self, row, masks, ends=0):
        self.x[row:row] = [MASK] * masks
        self.masked[row:row] = [True] * masks
        self.x += [self.end_token] * ends
        self.masked += [False] * ends

    def expectation_of_end(self, found):
        ends = [found.first[r] for r in sorted(found.rows, reverse=True)
                if found.best[r] == self.end_token]
        return sum(ends[:END_ROWS]) / END_ROWS

    def decode_growing(self):
        """DAEDAL (arXiv:2508.00819; github.com/Li-Jinsong/DAEDAL, models/LLaDA_DAEDAL.py)."""
        self.block, ready = range(0), False
        while not ready:
            found = Found(self, range(self.prompt, len(self.x)))
            ready = (exceeds(self.expectation_of_end(found), END_EXPECTED)
                     or len(self.x) == self.most)
            room = self.most - len(self.x)
            self.grow(len(self.x), 0 if ready else min(ADDED_MASKS, room),
                      min(END_ROWS // 2, room) if ready else 0)
            self.grown += not ready
            self.apply({})
        begin = self.prompt
        while begin < len(self.x):
            self.block = range(begin, min(begin + self.block_length, len(self.x)))
            if self.open_rows():
                self.step_growing()
                continue
            if self.end_token in self.x[self.prompt:self.block.stop]:
                break
            begin += self.block_length
        return self.canvases

    def step_growing(self):
        found = Found(self, range(self.block.start, len(self.x)))
        ranked = [(c, r) for c, r in found.ranked(found.confidence.get) if r in self.open_rows()]
        above = [r for c, r in ranked if exceeds(c, self.options["threshold"])]
        changes = found.take(above or first_of(ranked, 1))
        self.apply(changes)
        self.done += 1
        low = sorted((c, r) for c, r in ranked
                     if r not in changes and exceeds(LOW_CONFIDENCE, c))
        room = min(ADDED_MASKS - 1, self.most - len(self.x))
        if low and room and exceeds(END_EXPECTED_WHILE_FILLING, self.expectation_of_end(found)):
            self.grow(first_of(low, 1)[0], room)
            self.inserted += 1
            self.canvases[-1] = list(self.x)

    # Each makes one step, or returns False if the block is done.

    def last_step(self):
        return self.step + 1 == self.steps

    def step_fixed(self):
        """LLaDA, generate.py."""
        if self.step == 0:
            self.at_first = len(self.open_rows())
        if self.step >= min(self.steps, self.at_first):
            return False
        found = Found(self, self.open_rows())
        self.apply(found.take(first_of(found.ranked(found.confidence.get), self.fixed_count())))
        return True

    def fixed_count(self):
        return self.at_first // self.steps + (self.step < self.at_first % self.steps)

    def keep(self, choose):
        """One token at least, and all in the last step that the block may take."""
        rows = self.open_rows()
        if not rows:
            return False
        found = Found(self, rows)
        self.apply(found.take(rows if self.last_step() else choose(found)))
        return True

    def step_threshold(self):
        """Fast-dLLM (arXiv:2505.22618), algorithm 1: all of a confidence above the threshold, else
        the most confident."""
        def choose(found):
            above = [r for r, c in found.confidence.items() if exceeds(c, self.options["threshold"])]
            return above or first_of(found.ranked(found.confidence.get), 1)
        return self.keep(choose)

    def step_dynamic(self):
        """SDAR (arXiv:2510.06303), low_confidence_dynamic: all above the threshold if they are as
        many as the fixed count at least, else that many."""
        if self.step == 0:
            self.at_first = len(self.open_rows())

        def choose(found):
            above = [r for r, c in found.confidence.items() if exceeds(c, self.options["threshold"])]
            n = max(1, self.fixed_count())
            return above if len(above) >= n else first_of(found.ranked(found.confidence.get), n)
        return self.keep(choose)

    def step_factor(self):
        """Fast-dLLM, factor-based: the largest n with (n + 1) (1 - c_(n)) < f."""
        def choose(found):
            ranked = found.ranked(found.confidence.get)
            n = 0
            while n < len(ranked) and exceeds(self.options["factor"], (n + 2) * (1 - ranked[n][0])):
                n += 1
            return first_of(ranked, max(n, 1))
        return self.keep(choose)

    def step_entropy(self):
        """EB-Sampler (arXiv:2505.24857), eq. 6, in the order of entropy: the largest set whose
        entropies but for the largest sum to the bound at most."""
        def choose(found):
            ranked = found.ranked(lambda r: -found.entropy[r])
            n = 1
            while n < len(ranked) and not exceeds(-sum(h for h, _ in ranked[:n]),
                                                  self.options["entropy_bound"]):
                n += 1
            return first_of(ranked, n)
        return self.keep(choose)

    def step_margin(self):
        """The score of Dream's topk_margin (arXiv:2508.15487), with a threshold."""
        def choose(found):
            ranked = found.ranked(lambda r: found.first[r] - found.second[r])
            above = [r for m, r in ranked if exceeds(m, self.options["threshold"])]
            return above or first_of(ranked, 1)
        return self.keep(choose)

    def step_wino(self):
        """WINO (arXiv:2507.18578; github.com/Feng-Hong/WINO-DLLM, decoding_wino)."""
        rows = self.open_rows()
        if not rows:
            return False
        if self.step == 0:
            self.accepted = 30  # none can be taken back yet
        found = Found(self, rows, [r for r in self.block if r >= self.prompt])
        ranked = found.ranked(found.confidence.get)
        most = min(max(int(len(rows) * 0.7), 5), 20)
        above = sum(exceeds(c, self.options["threshold"]) for c, _ in ranked)
        chosen = first_of(ranked, max(1, min(most, above)))
        changes = found.take(chosen)
        if len(chosen) > 1:
            doubtful = sorted((p, r) for r, p in found.shadow.items()
                              if not exceeds(p, self.options["revise_threshold"]))
            for row in first_of(doubtful, min(len(doubtful), self.accepted - 1)):
                changes[row] = MASK
        self.accepted = len(chosen)
        self.apply(changes)
        return True

    def step_edit(self):
        """LLaDA2.1 (arXiv:2602.08676), joint threshold decoding."""
        if self.step == 0:
            self.full_steps, self.changed = 0, True
        rows = self.open_rows()
        if not rows and (not self.changed or self.full_steps == MOST_EDITING_STEPS):
            return False
        found = Found(self, self.open_rows() + self.committed_rows())
        changes = {}
        if rows:
            ranked = [(c, r) for c, r in found.ranked(found.confidence.get) if self.masked[r]]
            above = [r for c, r in ranked if exceeds(c, self.options["threshold"])]
            changes |= found.take(above or first_of(ranked, 1))
        else:
            self.full_steps += 1
        for r in self.committed_rows():
            if exceeds(found.first[r], self.options["revise_threshold"]):
                changes |= {r: t for r, t in found.take([r]).items() if t != self.x[r]}
        self.changed = bool(changes)
        self.apply(changes)
        return True

    def step_remdm(self):
        """ReMDM (arXiv:2503.00307), section 4: the capped schedule, alpha linear in the block's
        steps. A step that fills nothing fills the row that was nearest to it."""
        if self.step == self.steps:
            return False
        before, after = self.step / self.steps, (self.step + 1) / self.steps
        sigma = min(self.options["remask_rate"], (1 - after) / before) if before > 0 else 0
        fill = (after - (1 - sigma) * before) / (1 - before)
        found = Found(self, self.open_rows())
        u = {r: sampler.random_confidence(0, self.done, r) for r in self.block}
        chosen = [r for r in found.rows if u[r] < fill]
        if not chosen and found.rows:
            chosen = [min(found.rows, key=u.get)]
        again = {r: MASK for r in self.committed_rows() if u[r] < sigma}
        self.apply(found.take(chosen) | again)
        return True


def is_dull(text):
    """Whether the canvases would hardly tell a wrong strategy from the right one."""
    if text.strategy == "growing":
        limited = len(text.x) == text.most and text.inserted == 0
        return text.grown < 2 or text.inserted < 2 and not limited or len(set(text.x)) < 8
    several, one = max(text.filled) > 1, 1 in text.filled
    if len(set(text.canvases[-1][text.prompt:])) < 3 or not several or not one:
        return True
    if text.strategy in ("wino", "remdm"):
        return text.taken_back < 2
    return text.strategy == "edit" and text.edited < 2


def run_case(w, name):
    case = dict(CASES[name])
    prompt = torch.randint(EOS, (case.pop("prompt"),)).tolist()
    text = Text(w, prompt, strategy_of(name), **case)
    if text.strategy == "growing":
        text.decode_growing()
        if (text.grown * ADDED_MASKS + case["initial_length"] >= case["gen_length"]) != (
                name == "growing_to_its_limit"):
            raise TooClose
    else:
        text.decode()
    if is_dull(text):
        raise TooClose
    without_end = text.strategy == "edit" and text.full_steps == MOST_EDITING_STEPS
    ended_early = text.masked[-1] and text.strategy != "growing"
    if without_end != name.endswith("_without_end") or ended_early != name.endswith("_threshold_end"):
        raise TooClose
    return text


def often_ending(w):
    """The head of a model that finds the end token probable in most masked rows."""
    torch.manual_seed(1)
    tokens = torch.tensor([5, 3, 17, 9] + [MASK] * 24)
    seen = torch.ones(28, 28, dtype=torch.bool)
    hidden = model.hidden_states(SHAPE, w, tokens, torch.arange(28), seen)[4:].mean(0)
    head = w["ff_out"].clone()
    head[EOS] = (hidden * END_LOGIT / hidden.square().sum()).float().double()
    return head


def make(folder):
    prefix, suffix = f"plain/{model.ROOT}", ".weight"
    w = {k[len(prefix):-len(suffix)]: v.double()
         for k, v in load_file(folder / "sampler.safetensors").items() if k.startswith(prefix)}
    out, listed = {}, {}
    ends = w | {"ff_out": often_ending(w)}
    out["growing/ff_out"] = ends["ff_out"].float()
    for number, name in enumerate(CASES):
        weights = ends if name.startswith("growing") else w
        text = sampler.first_success(1000 * (number + 5), lambda n=name, m=weights: run_case(m, n))
        asked = text.prompt + CASES[name]["gen_length"]  # and not all of the last block
        # Shorter ones with -1 behind them.
        most = max(len(c) for c in text.canvases)
        canvases = torch.tensor([c + [-1] * (most - len(c)) for c in text.canvases])
        out[f"{name}/canvases"] = canvases.int()[:, :asked].clone()
        strategy = "threshold" if text.strategy == "growing" else text.strategy
        listed[name] = {**CASES[name], "strategy": strategy}
        out[f"{name}/prompt"] = torch.tensor(text.canvases[0][:text.prompt], dtype=torch.int32)
    save_file(out, folder / "strategies.safetensors", metadata={"cases": json.dumps(listed)})
