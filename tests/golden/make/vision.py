"""Writes tests/golden/vision: tiny encoded pictures and what Pillow and transformers see in them.

References: Pillow 13.0 (libjpeg-turbo 3.2), transformers 5.24 CLIPImageProcessorPil, numpy.
Run from the checkout's root: python tests/golden/make/vision.py

One case is our own rule and not Pillow's: grey16_7x5.png keeps the high byte, where Pillow clips.
"""
import hashlib
import io
import json
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

OUT = pathlib.Path("tests/golden/vision")
rng = np.random.default_rng(3)
cases = {"decode": [], "resize": [], "process": []}


def sha(data):
    return hashlib.sha256(data).hexdigest()


def picture(width, height):
    """Smooth colour ramps with noise on top, so that both JPEG and resize have work."""
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1)
    return np.clip(base + rng.normal(0, 20, base.shape), 0, 255).astype(np.uint8)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, color, rows, extra=b"", adam7=False):
    """Encodes numpy samples [height][width][channels] of any depth, interlaced or not."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)] if adam7 else [(0, 0, 1, 1)]
    raw = b""
    for x0, y0, dx, dy in passes:
        part = rows[y0::dy, x0::dx]
        if part.size == 0:
            continue
        for row in part:
            flat = row.reshape(-1)
            if depth == 16:
                packed = flat.astype(">u2").tobytes()
            else:
                bits = ((flat[:, None].astype(np.uint8) >> np.arange(depth - 1, -1, -1)) & 1)
                packed = np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()
            raw += b"\0" + packed
    ihdr = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(adam7))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + extra + chunk(b"IDAT", zlib.compress(raw))
            + chunk(b"IEND", b""))


def decode_case(name, data, orient=False):
    (OUT / name).write_bytes(data)
    image = Image.open(io.BytesIO(data))
    if orient:
        image = ImageOps.exif_transpose(image)
    dropped = image.convert("RGB")
    white = dropped
    if "A" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
    entry = {"file": name, "width": dropped.width, "height": dropped.height,
             "drop": sha(dropped.tobytes()), "white": sha(white.tobytes())}
    if name.endswith(".jpg"):
        (OUT / (name[:-4] + ".rgb")).write_bytes(dropped.tobytes())
    cases["decode"].append(entry)


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def make_png():
    for width, height in ((7, 5), (33, 17)):
        for adam7 in (False, True):
            tag = f"{width}x{height}{'_adam7' if adam7 else ''}"
            rgb = picture(width, height)
            alpha = rng.integers(0, 256, (height, width, 1), dtype=np.uint8)
            decode_case(f"rgb8_{tag}.png", png(width, height, 8, 2, rgb, adam7=adam7))
            rgba = np.concatenate([rgb, alpha], -1)
            decode_case(f"rgba8_{tag}.png", png(width, height, 8, 6, rgba, adam7=adam7))
            grey_alpha = np.concatenate([rgb[..., :1], alpha], -1)
            decode_case(f"la8_{tag}.png", png(width, height, 8, 4, grey_alpha, adam7=adam7))
            wide = rng.integers(0, 65536, (height, width, 3))
            decode_case(f"rgb16_{tag}.png", png(width, height, 16, 2, wide, adam7=adam7))
            for depth in (1, 2, 4, 8):
                grey = rng.integers(0, 1 << depth, (height, width, 1))
                decode_case(f"grey{depth}_{tag}.png",
                            png(width, height, depth, 0, grey, adam7=adam7))
                colors = rng.integers(0, 256, (1 << depth, 3), dtype=np.uint8)
                plte = chunk(b"PLTE", colors.tobytes())
                trns = chunk(b"tRNS", bytes(rng.integers(0, 256, 1 << depth, dtype=np.uint8)))
                decode_case(f"palette{depth}_{tag}.png",
                            png(width, height, depth, 3, grey, plte, adam7))
                decode_case(f"palette{depth}_trns_{tag}.png",
                            png(width, height, depth, 3, grey, plte + trns, adam7))
    grey16 = rng.integers(0, 65536, (5, 7, 1))
    data = png(7, 5, 16, 0, grey16)
    (OUT / "grey16_7x5.png").write_bytes(data)
    high = np.repeat((grey16 >> 8).astype(np.uint8), 3, -1).tobytes()  # Our rule, not Pillow's.
    cases["decode"].append({"file": "grey16_7x5.png", "width": 7, "height": 5, "drop": sha(high),
                            "white": sha(high)})


def exif(orientation, order):
    mark = b"MM" if order == ">" else b"II"
    return (mark + struct.pack(order + "HIH", 42, 8, 1)
            + struct.pack(order + "HHIHHI", 0x0112, 3, 1, orientation, 0, 0))


def make_jpeg():
    image = Image.fromarray(picture(37, 23))
    for name, sub in (("444", 0), ("422", 1), ("420", 2)):
        for progressive in (False, True):
            tag = f"{name}_{'progressive' if progressive else 'baseline'}.jpg"
            decode_case(tag, jpeg(image, quality=80, subsampling=sub, progressive=progressive))
    decode_case("grey.jpg", jpeg(image.convert("L"), quality=80))
    decode_case("cmyk.jpg", jpeg(image.convert("CMYK"), quality=90))
    decode_case("restart.jpg", jpeg(image, quality=80, restart_marker_blocks=2))
    for order in "<>":
        for orientation in range(1, 9):
            tiff = exif(orientation, order)
            tag = f"exif{orientation}_{'le' if order == '<' else 'be'}"
            decode_case(tag + ".jpg", jpeg(image, quality=80, exif=b"Exif\0\0" + tiff), orient=True)
            decode_case(tag + ".png", png(37, 23, 8, 2, np.asarray(image), chunk(b"eXIf", tiff)),
                        orient=True)


def make_resize():
    names = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
    for width, height, to_w, to_h in ((61, 43, 24, 24), (61, 43, 100, 97), (5, 700, 3, 50),
                                      (4, 900, 24, 900), (61, 43, 61, 20), (300, 7, 31, 9),
                                      (61, 43, 1, 1), (25, 90, 24, 86), (50, 100, 25, 50),
                                      (50, 101, 25, 50), (30, 60, 40, 50), (30, 60, 40, 70)):
        data = picture(width, height)
        name = f"source_{width}x{height}.png"
        if not (OUT / name).exists():
            Image.fromarray(data).save(OUT / name, optimize=True)
        image = Image.open(OUT / name).convert("RGB")
        for number, filter_name in names.items():
            out = image.resize((to_w, to_h), number)
            cases["resize"].append({"file": name, "filter": filter_name, "width": to_w,
                                    "height": to_h, "sha256": sha(out.tobytes())})


def make_process():
    for width, height in ((61, 43), (43, 61), (20, 20), (24, 24), (25, 90)):
        name = f"process_{width}x{height}.png"
        Image.fromarray(picture(width, height)).save(OUT / name, optimize=True)
        image = Image.open(OUT / name).convert("RGB")
        for pad in (False, True):
            work = image
            if pad:
                side = max(width, height)
                work = Image.new("RGB", (side, side), (122, 116, 104))
                work.paste(image, ((side - width) // 2, (side - height) // 2))
            processor = CLIPImageProcessorPil(size={"shortest_edge": 24},
                                              crop_size={"height": 24, "width": 24})
            values = processor(work, return_tensors="np")["pixel_values"][0]
            assert values.dtype == np.float32 and values.shape == (3, 24, 24)
            cases["process"].append({"file": name, "pad": pad, "sha256": sha(values.tobytes()),
                                     "first": [float(v) for v in values[:, 0, 0]]})


for old in OUT.glob("*"):
    old.unlink()
make_png()
make_jpeg()
make_resize()
make_process()
(OUT / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
