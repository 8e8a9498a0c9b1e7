"""What the reports share: tables, plots, means with their errors."""

import json
import math
import re
import statistics


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


def document(path):
    return json.loads(path.read_text())


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


def by_seed(runs, pattern, suffix=""):
    """The paths in `runs` whose names are `pattern`, "-", a seed and `suffix`: {the pattern's groups: {seed: path}}."""
    found = {}
    for path in runs.iterdir():
        if match := re.fullmatch(rf"{pattern}-(\d+){re.escape(suffix)}", path.name):
            *key, seed = match.groups()
            found.setdefault(tuple(key), {})[int(seed)] = path
    return {key: dict(sorted(found[key].items())) for key in sorted(found)}


def over_runs(figures):
    """Of runs' (value, error over records): the mean, the error over the records that all runs share, and the
    mean's standard error over the runs (absent of a single one)."""
    values, errors = zip(*figures)
    mean, between = mean_and_error(values)
    within = math.sqrt(statistics.mean(e * e for e in errors))
    return (mean, within, between) if len(values) > 1 else (mean, within)


def total_error(figure):
    """Of what over_runs() gives, both errors together."""
    return math.hypot(*figure[1:])


def shown(figure, digits=1, unit=""):
    """A figure and its errors: over records, then over runs."""
    return " ± ".join(f"{x:.{digits}f}" for x in figure) + unit


def accuracy(metrics):
    """The figure of a task's metric in each run, in per cent."""
    return over_runs([in_percent(m) for m in metrics])


def percent(metrics):
    return shown(accuracy(metrics), unit=" %") if metrics else "-"


KINDS = ["diffusion", "autoregressive"]
STYLES = {"diffusion": "-o", "autoregressive": "--s"}


def curve(axes, points, style, **options):
    """Points (x, y), or (x, y, error of y)."""
    if points:
        xs, ys, *errors = zip(*points)
        axes.errorbar(xs, ys, yerr=errors[0] if errors else None, fmt=style, **options)


def bars(axes, labels, metrics, **options):
    """For each label the metrics of both kinds beside each other; metrics: [{kind: [metric of a run]}]."""
    for i, kind in enumerate(KINDS):
        found = [(x, accuracy(of[kind])) for x, of in enumerate(metrics) if kind in of]
        xs = [x for x, _ in found]
        heights, errors = [f[0] for _, f in found], [total_error(f) for _, f in found]
        axes.bar([x + 0.4 * i - 0.2 for x in xs], heights, 0.38, yerr=errors, label=kind)
    axes.set_xticks(range(len(labels)), labels, **options)
    axes.set_ylabel("right, %")
