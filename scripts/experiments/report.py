#!/usr/bin/env python3
"""Tables (Markdown, on standard output) and plots of the experiments.

    report.py reversal|sft|scaling|sampler|decoding|block|preference|forms|repetition|tasks|recipe RUNS
        --output PLOT.png
    report.py texts SAMPLES.txt --output TEXTS.jsonl     # `lacuna sample --num-samples` as JSONL
    report.py passages BOOK.txt --output TEXTS.jsonl     # 24 passages of its end, of a sample's length
"""

import argparse
import json
import math
import pathlib
import re
import statistics
import tomllib


def plot(path, draw):
    try:
        import matplotlib
    except ModuleNotFoundError:
        print(f"(no {path}: matplotlib is missing)")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    draw(axes)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(f"\nplot: {path}")


def table(header, rows):
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def validations(run):
    """What a run's metrics say of validation."""
    return [e for e in lines(run / "metrics.jsonl") if "validation_bound" in e]


def mean_and_error(values):
    """The mean of runs or texts, and its standard error; 0 of a single one."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return statistics.mean(values), error


def in_percent(metric):
    """A task's metric and its standard error."""
    return 100 * metric["value"], 100 * (metric["standard_error"] or 0)


def percent(metric):
    return "{:.1f} ± {:.1f} %".format(*in_percent(metric)) if metric else "-"


KINDS = ["diffusion", "autoregressive"]
STYLES = {"diffusion": "-o", "autoregressive": "--s"}


def curve(axes, points, style, **options):
    """Points (x, y), or (x, y, error of y)."""
    if points:
        xs, ys, *errors = zip(*points)
        axes.errorbar(xs, ys, yerr=errors[0] if errors else None, fmt=style, **options)


def bars(axes, labels, metrics, **options):
    """For each label the metrics of both kinds beside each other; metrics: [{kind: metric}]."""
    for i, kind in enumerate(KINDS):
        found = [(x, *in_percent(m[kind])) for x, m in enumerate(metrics) if kind in m]
        xs, heights, errors = zip(*found)
        axes.bar([x + 0.4 * i - 0.2 for x in xs], heights, 0.38, yerr=errors, label=kind)
    axes.set_xticks(range(len(labels)), labels, **options)
    axes.set_ylabel("right, %")


def reversal(runs, output):
    asked = {"reversal-choice: forward": "term → definition, one of ten",
             "reversal-choice: reverse": "definition → term, one of ten",
             "reversal-recall-forward: accuracy": "term → definition, written",
             "reversal-recall-reverse: accuracy": "definition → term, written",
             "reversal-gap: gaps": "definition → term, filled in before it"}
    measures = {}
    for kind in KINDS:
        for task in json.loads((runs / f"reversal-{kind}.json").read_text())["tasks"]:
            for m in task["metrics"]:
                measures.setdefault(f"{task['name']}: {m['name']}", {})[kind] = m
    table(["", *KINDS], [[label, *(percent(measures[name].get(k)) for k in KINDS)]
                         for name, label in asked.items()])

    def draw(axes):
        labels = [label.replace(", ", ",\n").replace(" → ", " →\n") for label in asked.values()]
        bars(axes, labels, [measures[name] for name in asked], fontsize=8)
        axes.hlines(10, -0.45, 1.45, "0.4", "dashed", label="chance")
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))

    plot(output, draw)


def sft(runs, output):
    def metrics(run):
        return {task["name"]: task["metrics"][0]
                for task in json.loads((runs / f"{run}-tasks.json").read_text())["tasks"]}

    def bound(run, group):
        scores = lines(runs / f"{run}-{group}-bound.jsonl")
        tokens = sum(s["tokens"] for s in scores)
        error = math.sqrt(sum((s["standard_error"] or 0) ** 2 for s in scores))
        return "{:.3f} ± {:.3f}".format(sum(s["nats"] for s in scores) / tokens, error / tokens)

    before, after = metrics("sft-base"), metrics("sft")
    groups = {"both": "glosses and dialogues", "corpus-only": "glosses alone", "held-out": "neither"}
    table(["the fact was in", "gloss recalled before", "answer recalled after", "one of four after",
           "bound before", "bound after"],
          [[label, percent(before[f"sft-{g}-gloss"]), percent(after[f"sft-{g}-recall"]),
            percent(after[f"sft-{g}-choice"]), bound("sft-base", g), bound("sft", g)]
           for g, label in groups.items()])

    def draw(axes):
        curve(axes, [(e["step"], e["validation_bound"]) for e in validations(runs / "sft")], "-o")
        axes.set_xlabel("step of fine-tuning")
        axes.set_ylabel("answers of facts in neither, nats per token")

    plot(output, draw)


def flops_per_token(config):
    """6 for each weight outside the embedding but with the head, and attention."""
    m = config["model"]
    c, f, layers, v = m["hidden_size"], m["intermediate_size"], m["num_layers"], m["vocab_size"]
    keys = config["data"]["sequence_length"] / (2 if m["attention"] == "causal" else 1)
    return 6 * (layers * (4 * c * c + 3 * c * f) + v * c) + 12 * layers * c * keys


def fitted_slope(points):
    """Of log y over log x by least squares, with its standard error."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    slope, intercept = statistics.linear_regression(xs, ys)
    rest = sum((y - intercept - slope * x) ** 2 for x, y in zip(xs, ys)) / (len(xs) - 2)
    mean = statistics.mean(xs)
    return slope, math.sqrt(rest / sum((x - mean) ** 2 for x in xs))


def scaling(runs, output):
    curves = {}
    for run in sorted(runs.glob("scaling-*-*/")):
        config = tomllib.loads((run / "config.toml").read_text())
        entries = lines(run / "metrics.jsonl")
        tokens = {e["step"]: e["tokens"] for e in entries if "tokens" in e}
        points = [(tokens[e["step"]] * flops_per_token(config), e["validation_bound"],
                   e.get("bits_per_byte"))
                  for e in entries if "validation_bound" in e and e["step"] in tokens]
        _, kind, width, *_ = run.name.split("-")
        if points:
            curves[kind, int(width), entries[-1]["step"]] = points
    table(["model", "width", "steps", "training operations", "nats per token", "bits per byte"],
          [[kind, str(width), f"{steps:,}", f"{p[-1][0]:.2e}", f"{p[-1][1]:.3f}",
            f"{p[-1][2]:.3f}" if p[-1][2] else "-"]
           for (kind, width, steps), p in sorted(curves.items())])
    print()
    usual = statistics.multimode(steps for _, _, steps in curves)[0]
    middle = statistics.multimode(width for _, width, _ in curves)[0]
    rows = []
    for kind in sorted({kind for kind, _, _ in curves}):
        ends = {key: p[-1][:2] for key, p in curves.items() if key[0] == kind}
        for label, chosen in (("width", lambda w, s: s == usual), ("steps", lambda w, s: w == middle)):
            points = [end for (_, w, s), end in ends.items() if chosen(w, s)]
            if len(points) > 2:
                slope, error = fitted_slope(points)
                rows.append([kind, label, str(len(points)), f"{slope:.4f} ± {error:.4f}"])
    table(["model", "by", "runs", "slope of log loss over log operations"], rows)

    def draw(axes):
        import matplotlib.ticker

        widths = sorted({width for _, width, _ in curves})
        for (kind, width, steps), points in sorted(curves.items()):
            if steps != usual:
                axes.plot(*points[-1][:2], STYLES[kind][-1], color=f"C{widths.index(width)}",
                          markerfacecolor="none")
                continue
            curve(axes, [p[:2] for p in points], STYLES[kind], color=f"C{widths.index(width)}",
                  markersize=3, label=f"{kind}, width {width}")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:.0e}")
        axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        axes.set_xlabel("training operations")
        axes.set_ylabel("validation, nats per token (diffusion: a bound)")
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))

    plot(output, draw)


def texts(samples, output):
    parts = re.split(r"(?m)^--- sample \d+ of \d+ ---\n", samples.read_text(encoding="utf-8", errors="replace"))
    found = [p.strip("\n") for p in parts[1:] or parts]
    output.write_text("".join(json.dumps({"text": t or " "}) + "\n" for t in found))


def passages(book, output):
    end = book.read_text(encoding="utf-8")[-24 * 1000:]
    # Of each thousand letters the first line that is whole, and what follows.
    found = [end[at:at + 1000].split("\n", 1)[-1][:240] for at in range(0, len(end), 1000)]
    output.write_text("".join(json.dumps({"text": t}) + "\n" for t in found))


def distinct(text):
    """The share of word pairs that are different ones."""
    words = text.split()
    pairs = list(zip(words, words[1:]))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def judged(path):
    """(bits per byte, its standard error over texts, distinct) of the texts scored in `path`."""
    texts_scored = lines(path.with_name(path.name.replace("-score", "")))
    return (*mean_and_error([s["bits_per_byte"] for s in lines(path)]),
            statistics.mean(distinct(t["text"]) for t in texts_scored))


def sampler(runs, output):
    found = {}
    for path in sorted((runs / "sampler").glob("*-*-score.jsonl")):
        way, count = path.name.removesuffix("-score.jsonl").rsplit("-", 1)
        found[way, int(count)] = judged(path)
    book = judged(runs / "sampler/book-score.jsonl")
    rows = [(way, str(count), *of) for (way, count), of in sorted(found.items())]
    table(["sampling", "steps", "bits per byte under the larger model", "different word pairs"],
          [[way, count, f"{b:.2f} ± {e:.2f}", f"{100 * d:.0f} %"]
           for way, count, b, e, d in [*rows, ("the book itself", "-", *book)]])

    def draw(axes):
        for way in sorted({w for w, _ in found}):
            curve(axes, sorted((c, *v[:2]) for (w, c), v in found.items() if w == way), "-o",
                  label=way)
        axes.axhline(book[0], color="0.4", linestyle="dashed", label="the book itself")
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({c for _, c in found}), sorted({c for _, c in found}))
        axes.set_xlabel("steps for 64 tokens")
        axes.set_ylabel("bits per byte under the larger model")
        axes.legend()

    plot(output, draw)


def decoding(runs, output):
    found = {}
    for path in sorted((runs / "decoding").glob("*-*-*-score.jsonl")):
        strategy, value, cache = path.name.removesuffix("-score.jsonl").split("-")
        stats = json.loads(path.with_name(path.name.replace("-score.jsonl", ".json")).read_text())
        found[cache, strategy, float(value)] = (stats["tokens_per_step"],
                                                stats["rows"] / stats["tokens"], *judged(path))
    recalled = {}
    for path in (runs / "decoding").glob("recall-*-*-*.json"):
        _, strategy, value, cache = path.stem.split("-")
        task = json.loads(path.read_text())["tasks"][0]
        made = task["generation"]
        recalled[cache, strategy, float(value)] = (made["tokens_per_step"],
                                                   made["rows"] / made["tokens"],
                                                   *in_percent(task["metrics"][0]))
    book = judged(runs / "decoding/book-score.jsonl")
    table(["cache", "strategy", "value", "tokens per pass", "rows per token",
           "bits per byte under the larger model", "different word pairs"],
          [[cache, strategy, f"{value:g}", f"{t:.2f}", f"{r:.1f}", f"{b:.2f} ± {e:.2f}",
            f"{100 * d:.0f} %"]
           for (cache, strategy, value), (t, r, b, e, d) in sorted(found.items())]
          + [["-", "the book itself", "-", "-", "-", f"{book[0]:.2f} ± {book[1]:.2f}",
              f"{100 * book[2]:.0f} %"]])

    if recalled:
        print()
        table(["cache", "strategy", "value", "tokens per pass", "rows per token",
               "right definitions"],
              [[cache, strategy, f"{value:g}", f"{t:.2f}", f"{r:.1f}", f"{b:.1f} ± {e:.1f} %"]
               for (cache, strategy, value), (t, r, b, e) in sorted(recalled.items())])
    draw_decoding(found, output, "bits per byte under the larger model", book[0])
    if recalled:
        draw_decoding(recalled, output.with_stem(output.stem + "-recall"),
                      "right definitions, per cent")


def draw_decoding(found, output, measure, book=None):
    def draw(axes):
        strategies = sorted({strategy for _, strategy, _ in found})
        styles = {"none": "-o", "prefix": ":^", "dual": "--s", "vicinity": "-.v"}
        for cache, style in styles.items():
            axes.plot([], [], style, color="0.4", markersize=3, label=f"cache {cache}")
        for (cache, style) in styles.items():
            for i, strategy in enumerate(strategies):
                points = sorted(v for (c, s, _), v in found.items() if (c, s) == (cache, strategy))
                curve(axes, [(p[0], p[2], p[3]) for p in points], style, color=f"C{i}",
                      markersize=3, label=strategy if cache == "none" else None)
        if book:
            axes.axhline(book, color="0.4", linestyle="dashed", label="the book itself")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("tokens per pass")
        axes.set_ylabel(measure)
        axes.legend(ncols=2, fontsize=7)

    plot(output, draw)


def block(runs, output):
    kinds, rows, curves = ["autoregressive", "4", "16", "64", "full"], [], {}
    for kind in kinds:
        points = [(e["step"], e["validation_bound"], e.get("bits_per_byte"))
                  for e in validations(runs / f"block-{kind}")]
        speed = json.loads((runs / f"block-{kind}-speed.json").read_text())
        curves[kind] = points
        rows.append([kind, f"{points[-1][1]:.3f}", f"{points[-1][2]:.3f}" if points[-1][2] else "-",
                     f"{speed['tokens_per_second']:.0f}", f"{speed['tokens_per_pass']:.2f}",
                     f"{speed['rows'] / speed['tokens']:.1f}"])
    table(["blocks of", "nats per token", "bits per byte", "tokens/s", "tokens per pass",
           "rows per token"], rows)

    def draw(axes):
        for kind in kinds:
            curve(axes, [p[:2] for p in curves[kind]], "-o", markersize=3, label=kind)
        axes.set_xlabel("step")
        axes.set_ylabel("validation bound, nats per token")
        axes.legend()

    plot(output, draw)


def forms(runs, output):
    found = {}
    for kind in KINDS:
        for group in json.loads((runs / f"forms-{kind}.json").read_text())["groups"]:
            found.setdefault(group["name"], {})[kind] = next(
                m for m in group["metrics"] if m.get("average") == "micro")
    asked = ["seen form", "other form", "other order"]
    table(["asked in", *KINDS],
          [[name, *(percent(found[name][k]) for k in KINDS)] for name in asked])

    def draw(axes):
        bars(axes, asked, [found[name] for name in asked])
        axes.legend()

    plot(output, draw)


def repetition(runs, output):
    curves = {}
    for run in sorted(runs.glob("repetition-*-*/")):
        _, kind, epochs = run.name.split("-")
        curves[kind, int(epochs)] = [
            (e["step"], e["validation_bound"], e["validation_error"], e.get("bits_per_byte"))
            for e in validations(run)]
    rows = []
    for (kind, epochs), points in sorted(curves.items()):
        last, best = points[-1], min(points, key=lambda p: p[1])
        rows.append([kind, str(epochs), f"{last[1]:.3f} ± {last[2]:.3f}", f"{last[3] or 0:.3f}",
                     f"{best[1]:.3f} after {epochs * best[0] / last[0]:.0f} epochs"])
    table(["model", "epochs", "nats per token at the end", "bits per byte", "least"], rows)

    def draw(axes):
        counts = sorted({epochs for _, epochs in curves})
        for (kind, epochs), points in sorted(curves.items()):
            curve(axes, [(epochs * p[0] / points[-1][0], p[1]) for p in points], STYLES[kind],
                  color=f"C{counts.index(epochs)}", markersize=3, label=f"{kind}, {epochs} epochs")
        axes.set_xscale("log")
        axes.set_xlabel("epochs")
        axes.set_ylabel("held out, nats per token (diffusion: a bound)")
        axes.legend()

    plot(output, draw)


def tasks(runs, output):
    found = {}
    for path in sorted(runs.glob("tasks-*-*.json")):
        _, kind, width = path.stem.split("-")
        for task in json.loads(path.read_text())["tasks"]:
            found[task["name"], kind, int(width)] = task["metrics"][0]
    names = sorted({name for name, _, _ in found})
    rows = [[kind, str(width), *(percent(found[name, kind, width]) for name in names)]
            for kind, width in sorted({(k, w) for _, k, w in found})]
    table(["model", "width", *(n.removeprefix("passages-") for n in names)], rows)

    def draw(axes):
        for i, name in enumerate(names):
            for kind in KINDS:
                points = sorted((w, *in_percent(m)) for (n, k, w), m in found.items()
                                if (n, k) == (name, kind))
                curve(axes, points, STYLES[kind], color=f"C{i}",
                      label=f"{name.removeprefix('passages-')}, {kind}")
        axes.axhline(25, color="gray", linewidth=0.8)
        axes.set_xlabel("width")
        axes.set_ylabel("right, %")
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))

    plot(output, draw)


def preference(runs, output):
    def figures(name):
        answers = [[o[field].split() for field in ("output", "short", "definition")]
                   for o in lines(runs / f"{name}-answers.jsonl")]
        share = lambda right: 100 * statistics.mean(right)
        return {"words": statistics.mean(len(a) for a, _, _ in answers),
                "short": share(a == s for a, s, _ in answers),
                "whole": share(a == d for a, _, d in answers),
                "begins": share(a[:len(s)] == s for a, s, _ in answers)}

    before = figures("preference-sft")
    rows = [["before", "", f"{before['words']:.1f}", *(f"{before[k]:.1f} %" for k in
                                                       ("short", "whole", "begins"))]]
    curves = {}
    for masks in (8, 1):
        for shared, label in (("true", "shared"), ("false", "own")):
            names = [f"preference-{masks}-{shared}-{seed}" for seed in (1, 2, 3)]
            found = [figures(n) for n in names]
            accuracy = [100 * validations(runs / n)[-1]["validation_reward_accuracy"]
                        for n in names]
            row = [f"{masks} {'masks' if masks > 1 else 'mask'}, {label}",
                   "{:.1f} ± {:.1f} %".format(*mean_and_error(accuracy)),
                   "{:.1f} ± {:.1f}".format(*mean_and_error([f["words"] for f in found]))]
            row += ["{:.1f} ± {:.1f} %".format(*mean_and_error([f[k] for f in found]))
                    for k in ("short", "whole", "begins")]
            rows.append(row)
            steps = [[m for m in lines(runs / n / "metrics.jsonl") if "dpo_loss" in m]
                     for n in names]
            curves[row[0]] = [(of[0]["step"], statistics.mean(m["dpo_loss"] for m in of))
                              for of in zip(*steps)]
    table(["", "held-out pairs ranked right", "words per answer", "the short answer",
           "the whole definition", "begins as the definition"], rows)

    def draw(axes):
        for label, points in curves.items():
            curve(axes, points, "-", label=label)
        axes.set_xlabel("step")
        axes.set_ylabel("DPO loss on the training pairs")
        axes.legend()

    plot(output, draw)


def recipe(runs, output):
    """Of the runs SIZE-VARIANT-SEED that are finished."""
    found = {}
    for run in sorted(runs.glob("*-*-*")):
        size, variant, seed = re.fullmatch(r"([^-]+)-(.+)-(\d+)", run.name).groups()
        if (run / "finished").exists() and variant != "autoregressive-half":
            found.setdefault((size, variant), {})[seed] = validations(run)
    final = lambda points: points[-1]["bits_per_byte"]
    bound = {key: mean_and_error([final(points) for points in seeds.values()])
             for key, seeds in found.items()}
    rows = []
    for size, variant in sorted(found, key=lambda key: (key[0], bound[key][0])):
        seeds, base = found[size, variant], found.get((size, "adamw"), {})
        better = [final(base[s]) - final(points) for s, points in seeds.items() if s in base]
        rows.append([size, variant, str(max(p[-1]["step"] for p in seeds.values())),
                     "{:.4f} ± {:.4f}".format(*bound[size, variant])
                     if len(seeds) > 1 else f"{bound[size, variant][0]:.4f}",
                     f"{statistics.mean(better):+.4f}" if better else "-",
                     f"{sum(b > 0 for b in better)} of {len(better)}"])
    table(["model", "variant", "steps", "bits per byte (bound)", "better than adamw by",
           "seeds on which it is better"], rows)

    def draw(axes):
        sizes = sorted({size for size, _ in found})
        variants = sorted({v for _, v in found}, key=lambda v: min(
            bound[size, v][0] for size in sizes if (size, v) in found), reverse=True)
        for i, size in enumerate(sizes):
            here = [(y + 0.15 * i, *bound[size, v]) for y, v in enumerate(variants)
                    if (size, v) in found]
            axes.errorbar([b for _, b, _ in here], [y for y, _, _ in here],
                          xerr=[e for _, _, e in here], fmt="o", markersize=4, capsize=2, label=size)
        axes.set_yticks(range(len(variants)), variants, fontsize=7)
        axes.set_xlabel("validation bound, bits per byte")
        axes.legend()

    plot(output, draw)


def fp8(runs, output):
    """Of the runs fp8-TYPE-SEED."""
    types = ["f32", "bf16", "fp8"]
    found = {name: {run.name.rsplit("-", 1)[1]: run for run in sorted(runs.glob(f"fp8-{name}-*"))}
             for name in types}
    final = {name: {seed: validations(run)[-1] for seed, run in of.items()}
             for name, of in found.items()}
    rows = []
    for name in types:
        for seed, bound in final[name].items():
            apart = bound["bits_per_byte"] - final["bf16"][seed]["bits_per_byte"]
            error = bound["validation_error"] * bound["bits_per_byte"] / bound["validation_bound"]
            rows.append([name, seed, "{:.4f} ± {:.4f}".format(bound["bits_per_byte"], error),
                         f"{apart:+.4f}"])
    table(["products", "seed", "bits per byte (bound)", "above bf16"], rows)

    def draw(axes):
        for name, style in zip(types, [":", "--", "-"]):
            for i, run in enumerate(found[name].values()):
                curve(axes, [(p["step"], p["bits_per_byte"]) for p in validations(run)], style,
                      color=f"C{i}", label=name if i == 0 else None)
        axes.set_xlabel("steps")
        axes.set_ylabel("validation bound, bits per byte")
        axes.legend()

    plot(output, draw)


REPORTS = {report.__name__: report for report in (
    reversal, sft, scaling, sampler, decoding, block, preference, forms, repetition, tasks, recipe,
    fp8, texts, passages)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=REPORTS)
    parser.add_argument("input", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    a = parser.parse_args()
    REPORTS[a.what](a.input, a.output)


if __name__ == "__main__":
    main()
