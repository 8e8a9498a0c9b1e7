#!/usr/bin/env python3
"""Compares a model with low-rank adapters with Hugging Face's PEFT.

    lacuna export runs/base --format safetensors --output hf
    lacuna export runs/lora --format peft --output adapter
    python3 scripts/check_peft.py hf adapter

Computes the logits of one sequence with `lacuna forward hf --adapter adapter` and with transformers
and peft, in f32, and prints the largest difference and how much the adapters change. Exits with 1
when the difference exceeds --tolerance. The folder is of a family that transformers knows. Needs
torch, transformers, peft, h5py.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import h5py
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description="Compares adapters with PEFT.")
    parser.add_argument("model", help="a Hugging Face folder")
    parser.add_argument("adapter", help="a folder as PEFT saves it")
    parser.add_argument("--lacuna", default="build/cpu/bin/lacuna", help="the program")
    parser.add_argument("--tokens", default="1 2 3 4 5 6 7 8", help="the sequence")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of a logit")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "logits.h5"
        subprocess.run([arguments.lacuna, "forward", arguments.model, "--adapter", arguments.adapter,
                        "--tokens", arguments.tokens, "--output", output],
                       check=True, stdout=subprocess.DEVNULL)
        with h5py.File(output) as file:
            logits = torch.from_numpy(file["logits"][:])

    tokens = torch.tensor([[int(token) for token in arguments.tokens.split()]])
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
        plain = model(tokens).logits[0]
        expected = PeftModel.from_pretrained(model, arguments.adapter).eval()(tokens).logits[0]
    difference = (logits - expected).abs().max().item()
    print(f"largest difference {difference:.2e}; the adapters change logits by up to "
          f"{(expected - plain).abs().max().item():.2e}")
    sys.exit(not difference <= arguments.tolerance)


if __name__ == "__main__":
    main()
