#!/usr/bin/env python3
"""Writes src/tokenizer/{unicode_properties,normalization}.inc: what tokenisation asks of Unicode.

The general categories and scripts are those that the regular expressions of Hugging Face's
`tokenizers` package know (it is asked, code point by code point), and what NFC does is compared
with its normaliser, so that a newer package means: run this again and look at the difference.

    pip install tokenizers; python scripts/make_unicode_tables.py      (five minutes)
"""
import pathlib
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = (
    "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn"
).split()
SCRIPTS = (
    "Arabic Cyrillic Devanagari Greek Han Hangul Hebrew Hiragana Katakana Latin Thai"
).split()
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def members(pattern):
    """The code points that a pattern for one character matches."""
    # U+0001 and U+0002 keep the characters apart: matches of two never touch.
    found = set()
    for separator in ("\x01", "\x02"):
        text = separator.join(map(chr, SCALARS))
        split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
        pieces = {p for p, _ in split.pre_tokenize_str(text)}
        found |= {ord(c) for p in pieces for c in p if c != separator}
    return found


def runs(values):
    """(first, value) where the value changes."""
    previous = None
    for point, value in enumerate(values):
        if value != previous:
            yield point, value
            previous = value


def ranges(points):
    points = sorted(points)
    result = []
    for p in points:
        if result and result[-1][1] == p - 1:
            result[-1][1] = p
        else:
            result.append([p, p])
    return result


def rows(items, width=100):
    lines, line = [], " "
    for item in items:
        if len(line) + len(item) + 1 > width:
            lines.append(line)
            line = " "
        line += " " + item
    return "\n".join(lines + [line])


def combining_classes():
    """Canonical combining classes, of the characters that the package's NFD reorders."""
    nfd = normalizers.NFD().normalize_str
    classes = {}
    for c in SCALARS:
        k = unicodedata.combining(chr(c))
        if k == 0:
            continue
        other = "\u0334" if k > 1 else "\u0315"  # of classes 1 and 232
        text = "a" + (chr(c) + other if k > 1 else other + chr(c))
        if nfd(text) == unicodedata.normalize("NFD", text) != text or k in (1, 232):
            classes[c] = k
    return classes


def decompositions():
    """Canonical ones of one step: (character, first, second or 0, composed by NFC)."""
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    result = []
    for c in SCALARS:
        parts = unicodedata.decomposition(chr(c)).split()
        if not parts or parts[0].startswith("<") or nfd(chr(c)) == chr(c):
            continue
        first, second = (int(p, 16) for p in (parts + ["0"])[:2])
        pair = chr(first) + (chr(second) if second else "")
        composes = len(parts) == 2 and nfc(pair) == chr(c)
        result.append((c, first, second, composes))
    return result


def write(name, lines):
    path = pathlib.Path(__file__).resolve().parent.parent / "src/tokenizer" / name
    source = f"scripts/make_unicode_tables.py from tokenizers {tokenizers.__version__}"
    path.write_text("\n".join([f"// Made by {source}.", "// clang-format off", "", *lines, ""]))
    print(f"{path}: {path.stat().st_size} bytes")


def main():
    category = ["Cs"] * 0x110000
    for name in CATEGORIES:
        for c in members(r"\p{%s}" % name):
            category[c] = name
    properties = [
        "// Where the general category changes: first code point * 32 + category.",
        "constexpr std::uint32_t kCategoryRuns[] = {",
        rows(f"{first * 32 + CATEGORIES.index(name):#x}," for first, name in runs(category)),
        "};",
    ]
    for script in SCRIPTS:
        properties += [
            "",
            f"constexpr CodePointRange k{script}[] = {{",
            rows("{%#x,%#x}," % tuple(r) for r in ranges(members(r"\p{%s}" % script))),
            "};",
        ]
    write("unicode_properties.inc", properties)
    classes = [0] * 0x110000
    for c, k in combining_classes().items():
        classes[c] = k
    normalization = [
        "// Where the canonical combining class changes: first code point * 256 + class.",
        "constexpr std::uint32_t kCombiningRuns[] = {",
        rows(f"{first * 256 + k:#x}," for first, k in runs(classes)),
        "};",
        "",
        "// Canonical decompositions, by code point; those of Hangul are arithmetic.",
        "constexpr Decomposition kDecompositions[] = {",
        rows(
            "{%#x,%#x,%#x,%d}," % row
            for row in decompositions()
            if not 0xAC00 <= row[0] <= 0xD7A3
        ),
        "};",
    ]
    write("normalization.inc", normalization)


if __name__ == "__main__":
    main()
