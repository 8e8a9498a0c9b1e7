#!/usr/bin/env python3
"""Writes the expected values in tests/golden, computed by other programs than Lacuna.

    python3 scripts/make_golden.py [TOPIC...]      # all topics by default

A topic is a module scripts/golden/TOPIC.py with a function make(folder), which writes its files
there, and a line REQUIRES of the Python packages it needs. The files are kept in the repository, so
this is needed only when a topic changes; the tests never run Python. Everything is drawn from fixed
seeds: running it again gives the same files for the same versions of the packages.
"""

import argparse
import importlib
import pathlib
import sys

SCRIPTS = pathlib.Path(__file__).resolve().parent
GOLDEN = SCRIPTS.parent / "tests" / "golden"


def topics():
    return sorted(p.stem for p in (SCRIPTS / "golden").glob("*.py") if not p.stem.startswith("_"))


def main():
    parser = argparse.ArgumentParser(description="Writes the expected values in tests/golden.")
    parser.add_argument("topic", nargs="*", help=f"some of: {', '.join(topics())}; all by default")
    chosen = parser.parse_args().topic or topics()
    unknown = [t for t in chosen if t not in topics()]
    if unknown:
        parser.error(f"there is no topic {unknown[0]!r}; there are {', '.join(topics())}")
    sys.path.insert(0, str(SCRIPTS / "golden"))
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for topic in chosen:
        module = importlib.import_module(topic)
        try:
            module.make(GOLDEN)
        except ModuleNotFoundError as error:
            sys.exit(f"{topic}: needs {error.name}: pip install {module.REQUIRES}")
        print(f"{topic}: written to {GOLDEN}")
    for file in GOLDEN.iterdir():
        file.chmod(0o644)  # safetensors makes its files readable to their owner alone


if __name__ == "__main__":
    main()
