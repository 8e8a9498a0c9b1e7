#!/usr/bin/env python3
"""Draws the loss curves of one or several runs.

    python3 scripts/plot.py runs/kjv                          # writes runs/kjv/loss.png
    python3 scripts/plot.py runs/a runs/b --output both.png   # one figure, a colour per run

A run is its folder or its metrics.jsonl. The thin line is the training loss of the logged steps, the
thick one its smoothed course, dots are validations with their standard error. For masked diffusion the loss of a step depends
much on the masks it drew; validation uses the same masks every time. Needs matplotlib.
"""

import argparse
import json
import math
import pathlib
import sys


def read(path):
    """Training points (x keys and loss) and validation points of a metrics.jsonl."""
    training, validation = [], []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            print(f"{path}:{number}: not JSON, left out", file=sys.stderr)
            continue
        if "validation_bound" in entry:
            validation.append(entry)
        elif entry.get("loss") is not None:
            training.append(entry)
    return training, validation


def smoothed(values, span):
    """Exponential moving mean over about `span` values, corrected for its start."""
    keep, mean, weight, out = 1 - 1 / max(span, 1), 0.0, 0.0, []
    for value in values:
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        out.append(mean / weight)
    return out


def name_of(path):
    return path.parent.name or str(path)


def limits(curves):
    """From the lowest point to what the smoothed curves begin with, so that spikes do not rule."""
    low = min(min(values) for values in curves)
    high = max(max(values[min(len(values) // 50, 5):]) for values in curves)
    margin = 0.05 * (high - low) or 0.1
    return low - margin, high + margin


def draw(runs, x, span, logarithmic, title):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.2), layout="constrained")
    curves = []
    for index, (name, training, validation) in enumerate(runs):
        colour = f"C{index}"
        if training:
            steps, losses = [e[x] for e in training], [e["loss"] for e in training]
            course = smoothed(losses, span or max(1, len(losses) // 20))
            curves.append(course)
            axes.plot(steps, losses, color=colour, linewidth=0.6, alpha=0.3)
            axes.plot(steps, course, color=colour, linewidth=1.8, label=f"{name}: training")
        if validation:
            # Validation lines know their step alone; the other scales come from training lines.
            of_step = {e["step"]: e[x] for e in training}
            points = [(of_step.get(e["step"], e["step"] if x == "step" else None), e)
                      for e in validation]
            points = [(at, e["validation_bound"], e.get("validation_error") or 0)
                      for at, e in points
                      if at is not None and e["validation_bound"] is not None]
            if points:
                at, values, errors = zip(*points)
                curves.append(list(values))
                axes.errorbar(at, values, yerr=errors, color=colour, marker="o", markersize=4,
                              linewidth=1, linestyle="--", capsize=2,
                              label=f"{name}: validation, last {values[-1]:.3f}")
    axes.set_xlabel({"step": "step", "tokens": "tokens", "elapsed": "seconds"}[x])
    axes.set_ylabel("nats per token")
    axes.set_ylim(*limits(curves))
    if logarithmic:
        axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    if title:
        axes.set_title(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description="Draws the loss curves of one or several runs.")
    parser.add_argument("run", nargs="+", type=pathlib.Path, help="a run's folder or metrics.jsonl")
    parser.add_argument("--output", type=pathlib.Path,
                        help="PNG to write; loss.png in the folder of the only run by default")
    parser.add_argument("--x", choices=("step", "tokens", "elapsed"), default="step",
                        help="what the horizontal axis counts")
    parser.add_argument("--smooth", type=int, default=0, metavar="N",
                        help="logged steps the smoothed curve looks back on; a twentieth by default")
    parser.add_argument("--log-x", action="store_true", help="logarithmic horizontal axis")
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()

    paths = [p / "metrics.jsonl" if p.is_dir() else p for p in arguments.run]
    if arguments.output is None:
        if len(paths) > 1:
            parser.error("several runs need --output")
        arguments.output = paths[0].parent / "loss.png"
    runs = []
    for path in paths:
        if not path.exists():
            parser.error(f"{path}: no such file")
        training, validation = read(path)
        if not training and not validation:
            parser.error(f"{path}: holds no loss yet")
        runs.append((name_of(path.resolve()), training, validation))
    try:
        figure = draw(runs, arguments.x, arguments.smooth, arguments.log_x, arguments.title)
    except ModuleNotFoundError as error:
        sys.exit(f"plot.py needs {error.name}: apt-get install python3-{error.name}")
    figure.savefig(arguments.output, dpi=130)
    for name, training, validation in runs:
        losses = [e["loss"] for e in training]
        line = f"{name}: {len(losses)} logged steps"
        if losses:
            tail = losses[-max(1, len(losses) // 40):]
            line += f", training loss {math.fsum(tail) / len(tail):.4f}"
        if validation:
            best = min(validation, key=lambda e: e["validation_bound"] or math.inf)
            line += (f", validation {validation[-1]['validation_bound']:.4f}"
                     f" (best {best['validation_bound']:.4f} at step {best['step']})")
        print(line)
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
