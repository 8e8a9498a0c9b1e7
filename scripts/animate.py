#!/usr/bin/env python3
"""Draws what `lacuna sample --show` shows on a terminal as an animated SVG.

    scripts/animate.py OUT.svg build/cpu/bin/lacuna sample runs/kjv --prompt "And it came to pass" \\
        --gen-length 96 --steps 32 --show

Runs the command on a terminal of its own, 88 columns wide, and takes its frames as they come. Of the
escape sequences it knows those that src/app/canvas_view.cpp writes: colours, and the cursor up to the
canvas's first line. Viewers that prefer reduced motion see the last frame.
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from xml.sax.saxutils import escape

COLUMNS, CELL, LINE, MARGIN = 88, 8.4, 20, 16
SECONDS, LAST_SECONDS = 0.22, 4.0
MASK = "░"
# By the parameters of SGR: the prompt, masked tokens, those of the last step.
STYLES = {"36": "prompt", "2": "mask", "30;42": "new", "0": "", "": ""}


def output_of(command):
    """What the command writes to standard error, a terminal."""
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, COLUMNS, 0, 0))
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    data = b""
    while True:
        try:
            more = os.read(terminal, 1 << 16)
        except OSError:  # how Linux says that the other end is closed
            break
        if not more:
            break
        data += more
    if process.wait() != 0:
        sys.exit(data.decode(errors="replace"))
    return data.decode()


def frames_of(text):
    """Of each frame its lines, each a list of (style, text)."""
    for frame in re.split(r"\r?\x1b\[\d+A", text):
        lines = []
        for line in frame.replace("\r", "").split("\n"):
            runs, style = [], ""
            for part in re.split(r"(\x1b\[[\d;]*[mKJ])", line):
                sgr = re.fullmatch(r"\x1b\[([\d;]*)m", part)
                if sgr:
                    style = STYLES[sgr.group(1)]
                elif part and not part.startswith("\x1b"):
                    runs.append((style, part))
            lines.append(runs)
        while lines and not lines[-1]:
            lines.pop()
        if lines:
            yield lines


def drawn(lines):
    """A frame, its masked tokens as boxes."""
    out = []
    for row, runs in enumerate(lines):
        column, y = 0, MARGIN + row * LINE
        for style, text in runs:
            x = MARGIN + column * CELL
            width = len(text) * CELL
            column += len(text)
            if set(text) == {MASK}:
                out.append(f'<rect fill="url(#mask)" x="{x:.1f}" y="{y + 3}" width="{width:.1f}" '
                           f'height="{LINE - 6}"/>')
                continue
            if style == "new":
                out.append(f'<rect class="box" x="{x:.1f}" y="{y + 1}" width="{width:.1f}" '
                           f'height="{LINE - 2}" rx="3"/>')
            name = f' class="{style}"' if style else ""
            out.append(f'<text{name} x="{x:.1f}" y="{y + 15}" textLength="{width:.1f}" '
                       f'xml:space="preserve">{escape(text)}</text>')
    return "".join(out)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    frames = list(frames_of(output_of(sys.argv[2:])))
    total = SECONDS * (len(frames) - 1) + LAST_SECONDS
    width = COLUMNS * CELL + 2 * MARGIN
    height = max(len(f) for f in frames) * LINE + 2 * MARGIN
    style = f"""
svg {{ background: #16161e; border-radius: 8px; }}
text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d5d8e6; }}
.prompt {{ fill: #7dcfff; }} .new {{ fill: #10241a; }} .box {{ fill: #73daca; }} .mask {{ fill: #7a82a8; }}
g {{ visibility: hidden; animation: frame {total:.2f}s infinite both; }}
g:last-of-type {{ animation-name: last; }}
@keyframes frame {{ 0% {{ visibility: visible; }} {100 * SECONDS / total:.3f}%, 100% {{ visibility: hidden; }} }}
@keyframes last {{ 0% {{ visibility: visible; }} {100 * LAST_SECONDS / total:.3f}%, 100% {{ visibility: hidden; }} }}
@media (prefers-reduced-motion: reduce) {{ g {{ animation: none; }} g:last-of-type {{ visibility: visible; }} }}
"""
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
                  f'width="{width:.0f}" height="{height}" role="img">\n'
                  f"<title>A masked diffusion model fills in a text</title>\n<style>{style}</style>\n"
                  f'<pattern id="mask" patternUnits="userSpaceOnUse" x="{MARGIN}" width="{CELL}" '
                  f'height="{LINE}"><rect x="1" width="{CELL - 2:.1f}" height="{LINE}" rx="1.5" '
                  f'fill="#3b4261"/></pattern>\n'
                  f'<rect width="100%" height="100%" rx="8" fill="#16161e"/>\n')
        for i, lines in enumerate(frames):
            out.write(f'<g style="animation-delay: {i * SECONDS:.2f}s">{drawn(lines)}</g>\n')
        out.write("</svg>\n")


if __name__ == "__main__":
    main()
