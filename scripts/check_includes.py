#!/usr/bin/env python3
"""Compares every #include "…" with the drawing of the folders in docs/architecture.md:

    app -> training, evaluation -> diffusion, decoding -> model -> comm -> kernels -> core
    training -> data, checkpoint;  data -> tokenizer, checkpoint;  everyone -> config, core

A folder may include what it can reach by the arrows. The system's own limits are checked too: which
folders may include MPI, HDF5 and CUDA headers at all.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

ARROWS = {
    "core": [],
    "config": ["core"],
    "kernels": ["core"],
    "comm": ["kernels"],
    "tokenizer": ["core"],
    "checkpoint": ["core"],
    "data": ["tokenizer", "checkpoint"],
    "model": ["comm"],
    "diffusion": ["model"],
    "decoding": ["model"],
    "training": ["diffusion", "decoding", "data", "checkpoint"],
    "evaluation": ["diffusion", "decoding", "data", "checkpoint"],
    "app": ["training", "evaluation"],
}
# Third-party headers and the only places that may see them.
RESERVED = {
    r"mpi\.h": ["src/comm/"],
    r"hdf5\.h|H5\w*\.h": ["src/checkpoint/hdf5"],
    r"(cuda|cublas|nccl)\w*\.h": ["kernels/cuda/", "kernels/emulator/", "src/comm/nccl"],
    r"toml\+\+/.*": ["src/config/"],
    r"pcre2\.h": ["src/tokenizer/"],
    r"CLI/.*": ["src/app/command_line.cpp"],
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


def folder_of(path):
    parts = path.relative_to(ROOT).parts
    return "kernels" if parts[0] == "kernels" else parts[1]


def main():
    faults = 0
    allowed = {f: reachable(f) | ({"core"} if f == "core" else {"core", "config"}) for f in ARROWS}
    sources = [p for top in ("src", "kernels") for p in sorted((ROOT / top).rglob("*"))
               if p.suffix in (".h", ".cpp", ".cu", ".cuh", ".inc")]
    for path in sources:
        folder, name = folder_of(path), str(path.relative_to(ROOT))
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
            target = header.split("/")[0]
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
