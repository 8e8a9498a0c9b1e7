"""Bounds of runs against compute, epochs, blocks, options and types."""

import math
import statistics
import tomllib

from .tools import (STYLES, by_seed, curve, document, lines, mean_and_error, over_runs, plot, shown, table, total_error,
                    validations)


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


def bounds_against_compute(run):
    """[(operations, nats per token, their error, bits per byte)] of a run's validations."""
    config = tomllib.loads((run / "config.toml").read_text())
    entries = lines(run / "metrics.jsonl")
    tokens = {e["step"]: e["tokens"] for e in entries if "tokens" in e}
    return [(tokens[e["step"]] * flops_per_token(config), e["validation_bound"], e["validation_error"],
             e["bits_per_byte"])
            for e in entries if "validation_bound" in e and e["step"] in tokens]


def mean_curve(curves):
    """Of runs' points (x, value, error, …) at the same xs: [(x, figure)]."""
    return [(of[0][0], over_runs([p[1:3] for p in of])) for of in zip(*curves, strict=True)]


def scaling(runs, output):
    found = {(kind, int(width), int(steps)): [bounds_against_compute(run) for run in of.values()]
             for (kind, width, steps), of in by_seed(runs, r"scaling-(\w+)-(\d+)-(\d+)").items()}
    curves = {key: mean_curve(of) for key, of in found.items()}
    table(["model", "width", "steps", "training operations", "nats per token", "bits per byte"],
          [[kind, str(width), f"{steps:,}", f"{p[-1][0]:.2e}", shown(p[-1][1], 3),
            f"{statistics.mean(run[-1][3] for run in found[kind, width, steps]):.3f}"]
           for (kind, width, steps), p in sorted(curves.items())])
    print()
    usual = statistics.multimode(steps for _, _, steps in curves)[0]
    middle = statistics.multimode(width for _, width, _ in curves)[0]
    rows = []
    for kind in sorted({kind for kind, _, _ in curves}):
        for label, chosen in (("width", lambda w, s: s == usual), ("steps", lambda w, s: w == middle)):
            seeds = list(zip(*(of for (k, w, s), of in found.items() if k == kind and chosen(w, s))))
            if seeds and len({run[-1][0] for run in seeds[0]}) > 2:  # a quick pass has one number of steps
                slopes = [fitted_slope([run[-1][:2] for run in of]) for of in seeds]
                rows.append([kind, label, str(len(seeds[0])), shown(over_runs(slopes), 4)])
    table(["model", "by", "runs", "slope of log loss over log operations"], rows)

    def draw(axes):
        import matplotlib.ticker

        widths = sorted({width for _, width, _ in curves})
        for (kind, width, steps), points in sorted(curves.items()):
            points = [(x, figure[0], total_error(figure)) for x, figure in points]
            if steps != usual:
                axes.plot(*points[-1][:2], STYLES[kind][-1], color=f"C{widths.index(width)}",
                          markerfacecolor="none")
                continue
            curve(axes, points, STYLES[kind], color=f"C{widths.index(width)}",
                  markersize=3, label=f"{kind}, width {width}")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:.0e}")
        axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        axes.set_xlabel("training operations")
        axes.set_ylabel("validation, nats per token (diffusion: a bound)")
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))

    plot(output, draw)


def block(runs, output):
    kinds, rows, curves = ["autoregressive", "4", "16", "64", "full"], [], {}
    for kind in kinds:
        points = [(e["step"], e["validation_bound"], e.get("bits_per_byte"))
                  for e in validations(runs / f"block-{kind}")]
        speed = document(runs / f"block-{kind}-speed.json")
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


def last_losses(run):
    """The mean training loss of the last tenth of what a run logged."""
    losses = [e["loss"] for e in lines(run / "metrics.jsonl") if "loss" in e]
    return statistics.mean(losses[-max(1, len(losses) // 10):])


def repetition(runs, output):
    curves, rows = {}, []
    for (kind, epochs), of in by_seed(runs, r"repetition-(\w+)-(\d+)").items():
        epochs = int(epochs)
        found = [validations(run) for run in of.values()]
        points = curves[kind, epochs] = mean_curve(
            [[(epochs * e["step"] / seed[-1]["step"], e["validation_bound"], e["validation_error"]) for e in seed]
             for seed in found])
        bits = statistics.mean(seed[-1]["bits_per_byte"] for seed in found)
        at, least = min(points, key=lambda p: p[1])
        rows.append((kind, epochs, str(len(of)), f"{statistics.mean(map(last_losses, of.values())):.2f}",
                     shown(points[-1][1], 3), f"{bits:.3f}", f"{shown(least, 3)} after {at:.0f} epochs"))
    table(["model", "epochs", "seeds", "training loss at the end", "held out at the end", "bits per byte",
           "at its least"], [[kind, str(epochs), *rest] for kind, epochs, *rest in sorted(rows)])

    def draw(axes):
        counts = sorted({epochs for _, epochs in curves})
        for (kind, epochs), points in sorted(curves.items()):
            curve(axes, [(x, figure[0], total_error(figure)) for x, figure in points], STYLES[kind],
                  color=f"C{counts.index(epochs)}", markersize=3, elinewidth=0.7,
                  label=f"{kind}, {epochs} epochs")
        axes.set_xscale("log")
        axes.set_xlabel("epochs")
        axes.set_ylabel("held out, nats per token (diffusion: a bound)")
        axes.legend(loc="upper center")

    plot(output, draw)


def recipe(runs, output):
    """Of the runs SIZE-VARIANT-SEED that are finished."""
    found = {}
    for (size, variant), of in by_seed(runs, r"([^-]+)-(.+)").items():
        finished = {seed: validations(run) for seed, run in of.items() if (run / "finished").exists()}
        if finished and not variant.endswith("autoregressive-half"):
            found[size, variant] = finished
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
    found = {name: by_seed(runs, f"fp8-{name}")[()] for name in types}
    final = {name: {seed: validations(run)[-1] for seed, run in of.items()}
             for name, of in found.items()}
    rows = []
    for name in types:
        for seed, bound in final[name].items():
            apart = bound["bits_per_byte"] - final["bf16"][seed]["bits_per_byte"]
            error = bound["validation_error"] * bound["bits_per_byte"] / bound["validation_bound"]
            rows.append([name, str(seed), "{:.4f} ± {:.4f}".format(bound["bits_per_byte"], error),
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
