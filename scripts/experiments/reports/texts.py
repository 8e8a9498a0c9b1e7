"""Texts that models wrote, judged by a larger model."""

import json
import re
import statistics

from .tools import curve, document, in_percent, lines, mean_and_error, plot, table


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
        stats = document(path.with_name(path.name.replace("-score.jsonl", ".json")))
        found[cache, strategy, float(value)] = (stats["tokens_per_step"],
                                                stats["rows"] / stats["tokens"], *judged(path))
    recalled = {}
    for path in (runs / "decoding").glob("recall-*-*-*.json"):
        _, strategy, value, cache = path.stem.split("-")
        task = document(path)["tasks"][0]
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
