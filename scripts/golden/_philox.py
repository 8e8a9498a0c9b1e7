"""The random numbers of src/core/philox.h, written a second time from the paper (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC'11), so that each checks the other."""

MASK = 0xFFFFFFFF
PURPOSE_MASK, PURPOSE_GUMBEL = 4, 6


def philox(counter, key):
    c, k0, k1 = list(counter), key & MASK, key >> 32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & MASK, (p0 >> 32) ^ c[3] ^ k1, p0 & MASK]
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c


def block(seed, purpose, index, i):
    return philox([i, index & MASK, index >> 32, purpose], seed)


def uniform(seed, purpose, index, position):
    """24 bits; four neighbouring positions share a block."""
    return (block(seed, purpose, index, position // 4)[position % 4] >> 8) * 2.0**-24


def uniform53(seed, purpose, index, i):
    """52 bits and a half: odd multiples of 2^-53."""
    b = block(seed, purpose, index, i)
    return (((b[0] << 32 | b[1]) >> 12) + 0.5) * 2.0**-52
