"""Makes tests/golden/quantized.bin: python3 tests/golden/make/quantized.py

For each type in the order of TYPES: ELEMENTS values as random blocks (every bit random, but for the finite f16 scales of either sign, some of them subnormal),
then the float32 values that the gguf package's own dequantisation gives. Needs gguf, numpy.
"""
import os

import gguf
import numpy as np

ELEMENTS = 1024
# Type: where a block's f16 numbers lie.
TYPES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}

random = np.random.default_rng(20)


def finite_f16(shape):
    bits = random.integers(0, 1 << 16, shape, dtype=np.uint16)
    bits[random.random(shape) < 0.2] &= 0x83FF  # Subnormal.
    return np.where(bits & 0x7C00 == 0x7C00, bits & 0xBFFF, bits).astype("<u2")


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "quantized.bin"), "wb") as file:
    for name, halves in TYPES.items():
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (ELEMENTS // elements, size), dtype=np.uint8)
        for at in halves:
            blocks[:, at:at + 2] = finite_f16((len(blocks), 1)).view(np.uint8)
        values = gguf.quants.dequantize(blocks, kind).astype("<f4")
        assert values.size == ELEMENTS and np.isfinite(values).all()
        file.write(blocks.tobytes() + values.tobytes())
