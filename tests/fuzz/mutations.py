"""Ways to spoil a file, drawn by chance; a number says which, so that a find can be made again."""

import random
import zlib
from collections.abc import Callable, Sequence

LONGEST = 200_000
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = (
    *(b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xdb", b"\xff\xdd"),
    *(b"\xff\xe1", b"\xff\xee"),
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iTXt", b"zTXt", b"iCCP", b"eXIf"),
    *(b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF", b"XMP ", b"ICCP"),
    *(b"GIF87a", b"GIF89a", b"\x21\xf9\x04", b"\x2c", b"\x3b", b"II*\x00", b"MM\x00*", b"BM"),
    *(b"ftypavif", b"meta", b"iloc", b"iinf", b"mdat", b"Exif\x00\x00", b"<svg", b"\x00" * 64),
)  # fmt: skip

Mutation = Callable[[bytearray, random.Random], None]


def mutated(files: Sequence[bytes], number: int) -> bytes:
    """Return the file of a number: one of the corpus, spoilt in one to six ways."""
    chance = random.Random(number)
    data = bytearray(chance.choice(files))
    for _ in range(chance.choice((1, 1, 2, 2, 3, 6))):
        chance.choice(_MUTATIONS)(data, chance)
        del data[LONGEST:]
    if chance.random() < 0.3:
        _cut_and_join(data, chance.choice(files), chance)
    if data.startswith(b"\x89PNG") and chance.random() < 0.8:
        _sum_up(data)  # else the decoder stops at the first chunk, and nothing behind it is tried
    return bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Return a position, in the head of the file more often than not."""
    if not data:
        return 0
    return chance.randrange(min(len(data), 64)) if chance.random() < 0.5 else chance.randrange(len(data))


def _flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 4, 32))):
        if data:
            data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _set_bytes(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    data[at : at + chance.randrange(1, 9)] = chance.randbytes(chance.randrange(1, 9))


def _set_number(data: bytearray, chance: random.Random) -> None:
    at, width = _place(data, chance), chance.choice((1, 2, 4))
    value = chance.choice(_NUMBERS) & (256**width - 1)
    data[at : at + width] = value.to_bytes(width, chance.choice(("big", "little")))


def _cut_out(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    del data[at : at + chance.choice((1, 4, 64, 1024))]


def _cut_short(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    piece = bytes(data[at : at + chance.choice((1, 12, 200))])
    data[at:at] = piece * chance.choice((1, 2, 40, 400))


def _insert_word(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    data[at : at + chance.choice((0, 0, 4))] = chance.choice(_WORDS)


def _swap(data: bytearray, chance: random.Random) -> None:
    one, other = sorted((_place(data, chance), _place(data, chance)))
    length = chance.choice((1, 8, 100))
    piece = bytes(data[one : one + length])
    data[one : one + length] = data[other : other + length]
    data[other : other + length] = piece


def _cut_and_join(data: bytearray, other: bytes, chance: random.Random) -> None:
    data[_place(data, chance) :] = other[chance.randrange(len(other)) :]


def _sum_up(data: bytearray) -> None:
    """Write the right checksum behind each chunk of a PNG."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4)
        at = end + 4


_MUTATIONS: Sequence[Mutation] = (
    *(_flip_bits, _flip_bits, _set_bytes, _set_number, _set_number),
    *(_cut_out, _cut_short, _repeat, _insert_word, _swap),
)
