"""Which facts a model knows: reversal, facts in several forms, fine-tuning, preference, tasks."""

import math
import statistics

from .tools import (KINDS, STYLES, accuracy, bars, by_seed, curve, document, lines, mean_and_error, over_runs, percent,
                    plot, shown, table, total_error, validations)


def reversal(runs, output):
    asked = {"reversal-choice: forward": "term → definition, one of ten",
             "reversal-choice: reverse": "definition → term, one of ten",
             "reversal-recall-forward: accuracy": "term → definition, written",
             "reversal-recall-reverse: accuracy": "definition → term, written",
             "reversal-gap: gaps": "definition → term, filled in before it"}
    measures = {}
    for kind in KINDS:
        for task in document(runs / f"reversal-{kind}.json")["tasks"]:
            for m in task["metrics"]:
                measures.setdefault(f"{task['name']}: {m['name']}", {})[kind] = [m]
    table(["", *KINDS], [[label, *(percent(measures[name].get(k)) for k in KINDS)]
                         for name, label in asked.items()])

    def draw(axes):
        labels = [label.replace(", ", ",\n").replace(" → ", " →\n") for label in asked.values()]
        bars(axes, labels, [measures[name] for name in asked], fontsize=8)
        axes.hlines(10, -0.45, 1.45, "0.4", "dashed", label="chance")
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))

    plot(output, draw)


def forms(runs, output):
    found = {}
    for (kind,), results in by_seed(runs, r"forms-(\w+)", ".json").items():
        for path in results.values():
            for group in document(path)["groups"]:
                found.setdefault(group["name"], {}).setdefault(kind, []).append(
                    next(m for m in group["metrics"] if m.get("average") == "micro"))
    asked = ["seen form", "other form", "other order"]
    table(["asked in", *KINDS],
          [[name, *(percent(found[name][k]) for k in KINDS)] for name in asked])

    def draw(axes):
        bars(axes, asked, [found[name] for name in asked])
        axes.legend()

    plot(output, draw)


def sft(runs, output):
    trained = {"sft-base": "(before)", "sft-dialogues": "dialogues", "sft-rehearsal": "dialogues and glosses"}
    groups = {"both": "glosses and dialogues", "corpus-only": "glosses alone", "held-out": "neither"}
    results = {run: by_seed(runs, run, "-tasks.json")[()] for run in trained}

    def metric(run, name):
        """Of each seed."""
        found = []
        for path in results[run].values():
            tasks = document(path)["tasks"]
            found += [task["metrics"][0] for task in tasks if task["name"] == name]
        return percent(found)

    def bound(run, group):
        figures = []
        for seed in results[run]:
            scores = lines(runs / f"{run}-{seed}-{group}-bound.jsonl")
            tokens = sum(s["tokens"] for s in scores)
            error = math.sqrt(sum((s["standard_error"] or 0) ** 2 for s in scores))
            figures.append((sum(s["nats"] for s in scores) / tokens, error / tokens))
        return shown(over_runs(figures), digits=2)

    rows = []
    for run, label in trained.items():
        asked = "gloss" if run == "sft-base" else "recall"
        rows += [[label, group, metric(run, f"sft-{g}-{asked}"),
                  "" if run == "sft-base" else metric(run, f"sft-{g}-choice"), bound(run, g)]
                 for g, group in groups.items()]
    table(["fine-tuned on", "the fact was in", "recalled", "one of four", "nats per token (bound)"], rows)

    def draw(axes):
        for color, run in (("C0", "sft-dialogues"), ("C1", "sft-rehearsal")):
            for i, seed in enumerate(results[run]):
                points = [(e["step"], e["validation_bound"]) for e in validations(runs / f"{run}-{seed}")]
                curve(axes, points, "-o", color=color, label="" if i else trained[run])
        axes.legend()
        axes.set_xlabel("step of fine-tuning")
        axes.set_ylabel("answers of facts in neither, nats per token")

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
            seeds = list(by_seed(runs, f"preference-{masks}-{shared}")[()].values())
            found = [figures(run.name) for run in seeds]
            accuracy = [100 * validations(run)[-1]["validation_reward_accuracy"] for run in seeds]
            row = [f"{masks} {'masks' if masks > 1 else 'mask'}, {label}",
                   "{:.1f} ± {:.1f} %".format(*mean_and_error(accuracy)),
                   "{:.1f} ± {:.1f}".format(*mean_and_error([f["words"] for f in found]))]
            row += ["{:.1f} ± {:.1f} %".format(*mean_and_error([f[k] for f in found]))
                    for k in ("short", "whole", "begins")]
            rows.append(row)
            steps = [[m for m in lines(run / "metrics.jsonl") if "dpo_loss" in m] for run in seeds]
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


def tasks(runs, output):
    found = {}
    for (kind, width), results in by_seed(runs, r"tasks-(\w+)-(\d+)", ".json").items():
        for path in results.values():
            for task in document(path)["tasks"]:
                found.setdefault((task["name"], kind, int(width)), []).append(task["metrics"][0])
    names = sorted({name for name, _, _ in found})
    rows = [[kind, str(width), *(percent(found[name, kind, width]) for name in names)]
            for kind, width in sorted({(k, w) for _, k, w in found})]
    table(["model", "width", *(n.removeprefix("passages-") for n in names)], rows)

    def draw(axes):
        for i, name in enumerate(names):
            for kind in KINDS:
                figures = {w: accuracy(of) for (n, k, w), of in sorted(found.items())
                           if (n, k) == (name, kind)}
                curve(axes, [(w, f[0], total_error(f)) for w, f in figures.items()], STYLES[kind], color=f"C{i}",
                      label=f"{name.removeprefix('passages-')}, {kind}")
        axes.axhline(25, color="gray", linewidth=0.8)
        axes.set_xlabel("width")
        axes.set_ylabel("right, %")
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))

    plot(output, draw)
