#!/usr/bin/env python3
"""Compares every #include "…" with the arrows below, and docs/architecture.md with their drawing.

    scripts/check_includes.py              # the check
    scripts/check_includes.py --draw       # writes the drawing into docs/architecture.md

A folder may include what it can reach by ARROWS, and itself; from where ALONE leads, no further.
Everyone may include core, and all but core and kernels config. The system's own limits are checked
too: which folders may include MPI, HDF5 and CUDA headers at all.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

ARROWS = {
    "core": [],
    "config": ["core"],
    "kernels": ["core"],
    "kernels/cpu": ["kernels"],
    "kernels/platform": ["kernels", "kernels/cpu"],
    "kernels/cuda": ["kernels/platform"],
    "kernels/bench": ["kernels"],
    "kernels/backend.cpp": ["kernels/cpu", "kernels/cuda"],
    "comm": ["kernels"],
    "tokenizer": ["core"],
    "formats": ["core"],
    "model/weight_spec": ["core"],
    "checkpoint": ["formats", "model/weight_spec"],
    "data": ["tokenizer", "formats"],
    "model": ["comm", "model/weight_spec"],
    "model_io": ["model", "checkpoint", "tokenizer"],
    "diffusion": ["model"],
    "decoding": ["model"],
    "training": ["diffusion", "decoding", "data", "model_io"],
    "evaluation": ["diffusion", "decoding", "data", "checkpoint"],
    "structured": ["decoding", "tokenizer"],
    "server": ["evaluation", "structured", "model_io"],
    "app": ["training", "server"],
}
# Arrows that nobody else goes on by.
ALONE = {
    "comm": ["kernels/cuda", "kernels/platform"],  # NCCL
    "training": ["kernels/bench"],
    "app": ["kernels/bench", "kernels/cpu"],
}
# Third-party headers and the only places that may see them.
RESERVED = {
    r"mpi\.h": ["src/comm/"],
    r"hdf5\.h|H5\w*\.h": ["src/formats/hdf5"],
    r"(cuda|cublas|nccl)\w*\.h": ["kernels/platform/gpu/", "kernels/platform/emulated/toolkit/", "src/comm/nccl"],
    r"toml\+\+/.*": ["src/config/"],
    r"pcre2\.h": ["src/tokenizer/"],
    r"(zlib|zstd)\.h": ["src/data/decompress.cpp", "src/formats/parquet_codec.cpp", "tests/data/"],
    r"brotli/.*|lz4\.h|snappy.*\.h": ["src/formats/parquet_codec.cpp"],
    r"CLI/.*": ["src/app/command_line.cpp"],
    r"boost/.*": ["src/server/http_parser.cpp", "src/server/http_server.cpp"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def reachable(folder):
    seen, stack = set(), [folder]
    while stack:
        here = stack.pop()
        if here not in seen:
            seen.add(here)
            stack += ARROWS[here]
    return seen


def folder_of(name):
    """The folder of the arrows that a file, or a header as it is included, is of."""
    stem = name.removeprefix("src/").rpartition(".")[0]
    if stem in ARROWS:
        return stem
    parts = name.removeprefix("src/").split("/")
    if name in ARROWS or parts[0] != "kernels" or len(parts) == 2:
        return name if name in ARROWS else parts[0]
    return "/".join(parts[:2])


def drawing():
    """ARROWS as Mermaid's flow chart, without those that everyone has."""
    lines = ["```mermaid", "flowchart TD"]
    for folder, targets in ARROWS.items():
        shown = [t for t in targets if t != "core"]
        if shown:
            lines.append(f"  {folder} --> {' & '.join(shown)}")
    for folder, targets in ALONE.items():
        lines.append(f"  {folder} -.-> {' & '.join(targets)}")
    return "\n".join(lines + ["```"]) + "\n"


BEGIN, END = "<!-- drawn by scripts/check_includes.py -->\n", "<!-- end -->\n"


def draw(write):
    """Whether docs/architecture.md has the drawing; `write`: puts it there."""
    page = ROOT / "docs" / "architecture.md"
    before, _, rest = page.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    if write:
        page.write_text(before + BEGIN + drawing() + END + after)
    return write or old == drawing()


def main():
    faults = 0
    if not draw(write="--draw" in sys.argv[1:]):
        print("docs/architecture.md: the drawing is not that of the arrows; run scripts/check_includes.py --draw")
        faults += 1
    allowed = {f: reachable(f) | set(ALONE.get(f, [])) | {"core"} for f in ARROWS}
    for folder in allowed:
        if folder != "core" and not folder.startswith("kernels"):
            allowed[folder].add("config")
    sources = [p for top in ("src", "kernels") for p in sorted((ROOT / top).rglob("*"))
               if p.suffix in (".h", ".cpp", ".cu", ".cuh", ".inc")]
    for path in sources:
        name = str(path.relative_to(ROOT))
        folder = folder_of(name)
        if folder not in ARROWS:
            print(f"{name}: folder '{folder}' is not in the drawing")
            faults += 1
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, header = match.groups()
            if quote == "<":
                for pattern, places in RESERVED.items():
                    if re.fullmatch(pattern, header) and not name.startswith(tuple(places)):
                        print(f"{name}:{number}: <{header}> belongs in {' or '.join(places)} only")
                        faults += 1
                continue
            target = folder_of(header)
            if target not in ARROWS:
                print(f'{name}:{number}: "{header}" is not written from src/ or the top folder')
                faults += 1
            elif target not in allowed[folder]:
                print(f"{name}:{number}: {folder} may not include {target} (\"{header}\")")
                faults += 1
    print(f"{len(sources)} files, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
