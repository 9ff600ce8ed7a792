"""Pictures that are cut, lie about their size, or are something else."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.corpus import Malformed

NOISE = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)


def saved(kind: str, mode: str = "RGB", **how: object) -> bytes:
    """Return noise as a picture."""
    content = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(content, kind, **how)
    return content.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, depth: int = 8, data: bytes = b"") -> bytes:
    """Return a PNG file that announces a size, grey."""
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(*tags: tuple[int, int, int], following: int = 0) -> bytes:
    """Return a TIFF file of one directory, with the place of the next one."""
    rows = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in tags)
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + rows + struct.pack("<I", following)


def grey(width: int, height: int) -> list[tuple[int, int, int]]:
    """Return the tags of a TIFF file that announces a size."""
    return [
        (256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, 1), (262, 1, 1), (273, 1, 8),
        (277, 1, 1), (278, 1, height), (279, 1, width * height % 2**32),
    ]  # fmt: skip


def animated(kind: str) -> bytes:
    """Return a picture of three."""
    frames = [Image.fromarray(np.roll(NOISE, turn)) for turn in range(3)]
    content = io.BytesIO()
    frames[0].save(content, kind, save_all=True, append_images=frames[1:])
    return content.getvalue()


DEEP = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 250)


def deep(kind: str) -> bytes:
    """Return a grey picture of 16 bits."""
    content = io.BytesIO()
    DEEP.save(content, kind)
    return content.getvalue()


REFUSED: Mapping[str, tuple[str, bytes]] = {
    **{
        f"{kind} cut at {share:.0%}": (f"a.{suffix}", saved(kind)[: int(share * len(saved(kind)))])
        for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif"))
        for share in (0, 0.01, 0.2, 0.7, 0.97)
    },
    "text": ("a.png", b"patient went home"),
    "zeros": ("a.jpg", bytes(5000)),
    "PNG that announces 50000 x 50000": ("a.png", png(50_000, 50_000)),
    "PNG that announces 2**31": ("a.png", png(2**31 - 1, 2**31 - 1)),
    "PNG of no width": ("a.png", png(0, 9)),
    "PNG of 3 bits": ("a.png", png(9, 9, depth=3)),
    "PNG with a wrong checksum": ("a.png", saved("PNG").replace(b"IDAT", b"IDAt")),
    "PNG with a bomb for a comment": (
        "a.png",
        png(9, 9, chunk(b"zTXt", b"x\x00\x00" + zlib.compress(bytes(2**23))), data=bytes(90)),
    ),
    "PNG with a bomb for a profile": (
        "a.png",
        png(9, 9, chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(2**23))), data=bytes(90)),
    ),
    "PNG of one colour": ("a.png", png(9, 9, data=bytes(90))),
    "TIFF that announces 50000 x 50000": ("a.tif", tiff(*grey(50_000, 50_000))),
    "TIFF that announces 2**32": ("a.tif", tiff(*grey(2**32 - 1, 2**32 - 1))),
    "TIFF without tags": ("a.tif", tiff()),
    "TIFF with 4 billion bits": ("a.tif", tiff((256, 1, 9), (257, 1, 9), (258, 2**32 - 1, 8))),
    "JPEG with a size of 0": ("a.jpg", saved("JPEG").replace(struct.pack(">HH", 24, 20), bytes(4))),
    "animated PNG": ("a.png", animated("PNG")),
    "TIFF of three pages": ("a.tif", animated("TIFF")),
    "PostScript": ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
    "GIF under another name": ("a.jpg", saved("GIF", "P")),
    "BMP under another name": ("a.png", saved("BMP")),
    "an icon under another name": ("a.tif", saved("ICO")),
}

WORKS: Mapping[str, tuple[str, bytes]] = {
    **{
        f"{kind}, {mode}": (f"a.{kind.lower()}", saved(kind, mode))
        for kind, mode in (
            ("PNG", "RGB"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "RGBA"), ("PNG", "P"),
            ("PNG", "1"), ("JPEG", "L"), ("JPEG", "CMYK"), ("JPEG", "YCbCr"), ("TIFF", "CMYK"),
            ("TIFF", "F"),
        )
    },
    "TIFF whose directory leads to itself": ("a.tif", tiff(*grey(9, 9), following=8)),
    "PNG of 16 bits": ("a.png", deep("PNG")),
    "TIFF of 16 bits": ("a.tif", deep("TIFF")),
    "JPEG under the name of a PNG": ("a.png", saved("JPEG")),
    "rubbish behind the end": ("a.png", saved("PNG") + b"rubbish" * 99),
}  # fmt: skip


def _with_mask(content: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for part, data in (("images", saved("PNG")), ("masks", content)):
            (folder / part).mkdir()
            (folder / part / "a.png").write_bytes(data)

    return make


def _grey(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


MASKS: Mapping[str, bytes] = {
    "coloured": saved("PNG"),
    "of another size": _grey(np.eye(9)),
    "on its side": _grey(np.eye(20, 24)),
    "cut": saved("PNG", "1")[:60],
    "of 16 bits": deep("PNG"),
    "empty": b"",
}


def entries() -> Iterator[Malformed]:
    """Yield the entries of this kind."""
    for name, (file, content) in REFUSED.items():
        yield Malformed(name, _writing(file, content), "refused", file)
    for name, (file, content) in WORKS.items():
        yield Malformed(name, _writing(file, content), "works")
    for name, content in MASKS.items():
        yield Malformed(f"a mask {name}", _with_mask(content), "refused", "masks")
    yield Malformed("a mask with a gap", _with_mask(_grey(np.eye(24, 20) * 3)), "works")


def _writing(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(content) and None
