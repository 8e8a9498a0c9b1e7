#!/usr/bin/env python3
"""How much of the multiprocessors' time the blocks of attention's fused backward pass for sm_90a
(kernels/cuda/attention_hopper_fused.cu) compute, if they compute whenever they need not wait: by the order in
which blocks start, the direction in which each goes through the queries, and how many heads start beside each
other. A block adds to dq of a tile of queries when the blocks before it have.

The times of a step and of a turn, in microseconds, are assumptions. The first version of the kernel (keys
ascending, queries ascending, heads one after another) has been measured on an H200: causal 0.52 (T 4096) and 0.60
(T 16384) times the rate of bidirectional attention, and that 0.86 times as fast at T 4096 as at 16384. This gives
0.54, 0.59 and 0.87.

    scripts/simulate_turns.py [--heads N] [--step US] [--turn US]
"""
import argparse
import heapq

KEYS, QUERIES = 128, 64  # of a tile
START, END = 3.0, 1.0    # before a block's first step and after its last one, us
READ = 0.6               # until a part of dq has left shared memory
SEE = 0.6                # until a block sees that another's turn has ended


def busy_share(length, heads, causal, last_keys_first, last_queries_first, together, o):
    key_tiles, query_tiles = length // KEYS, length // QUERIES
    free = [0.0] * o.multiprocessors
    turn_ended, computed, end = {}, 0.0, 0.0
    for first_head in range(0, heads, together):
        for key in reversed(range(key_tiles)) if last_keys_first else range(key_tiles):
            for head in range(first_head, min(first_head + together, heads)):
                now = heapq.heappop(free) + START
                left = added = 0.0
                queries = range(key * (KEYS // QUERIES) if causal else 0, query_tiles)
                for query in reversed(queries) if last_queries_first else queries:
                    now = max(now + o.step, left)
                    turn = max(now, turn_ended.get((head, query), 0.0) + SEE)
                    left, added = turn + READ, turn + o.turn
                    turn_ended[head, query] = added
                    computed += o.step
                heapq.heappush(free, max(now, added) + END)
                end = max(end, max(now, added) + END)
    return computed / o.multiprocessors / end


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--step", type=float, default=2.7)
    parser.add_argument("--turn", type=float, default=1.2)
    parser.add_argument("--multiprocessors", type=int, default=132)
    o = parser.parse_args()
    ways = [("first version", False, False, 1), ("keys descending", True, False, 1),
            ("queries descending", False, True, 1), ("and 8 heads together", False, True, 8)]
    print(f"{'T':>6} {'mask':14}" + "".join(f"{name:>22}" for name, *_ in ways))
    for length in (4096, 8192, 16384):
        for causal in (False, True):
            shares = [busy_share(length, o.heads, causal, *way, o) for _, *way in ways]
            print(f"{length:6} {'causal' if causal else 'bidirectional':14}" + "".join(f"{s:22.3f}" for s in shares))


if __name__ == "__main__":
    main()
