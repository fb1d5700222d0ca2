"""Badges drawn as SVG: the shape says what is counted, the metal which level, the colour which series.

Nothing is loaded and no font is needed: even the digits are strokes, so that a badge looks the same in every wallet.
Colour is never the only sign: a badge of level three has three studs, whatever its metal.
"""

import math
import zlib
from dataclasses import dataclass
from xml.sax.saxutils import escape

from incentives.models import BadgeRule

SIZE = 256
_CENTRE = SIZE / 2
_OPENBADGES = "https://purl.imsglobal.org/ob/v3p0"


@dataclass(frozen=True, slots=True)
class Metal:
    """Four shades of a metal, from the darkest edge to the brightest shine."""

    name: str
    edge: str
    deep: str
    body: str
    shine: str


@dataclass(frozen=True, slots=True)
class Colour:
    """A face from its middle to its rim."""

    light: str
    dark: str


@dataclass(frozen=True, slots=True)
class Shape:
    """An outline, the point its face shrinks towards, and how far; where the symbol and the number sit."""

    outline: str
    middle: tuple[float, float]
    face_scale: float
    symbol_at: tuple[float, float]
    symbol_scale: float
    first_leaf: int = 0  # of the laurel: a square foot hides the lowest


METALS = (
    Metal("bronze", "#5f3216", "#a55f2b", "#d98f55", "#ffdcb5"),
    Metal("silver", "#4b5563", "#8a95a3", "#c6cfd8", "#ffffff"),
    Metal("gold", "#7a4d00", "#cf9410", "#f8cb45", "#fff6c9"),
    Metal("platinum", "#3d4a63", "#8b9dbd", "#d3def0", "#ffffff"),
    Metal("diamond", "#155e95", "#3fb2ea", "#a9ebff", "#ffffff"),
)

_COLOURS = (
    Colour("#3fa7f5", "#123f86"),
    Colour("#35c7a4", "#0a5350"),
    Colour("#a98bfa", "#46228f"),
    Colour("#fb7ba5", "#8d1448"),
    Colour("#66c95b", "#17562b"),
    Colour("#4fc3dc", "#0e4f6b"),
    Colour("#ff8a4c", "#a61b1b"),
    Colour("#8897f7", "#2b2f8c"),
)
_COLOUR_OF_KIND = {
    BadgeRule.Kind.MASKED_POSTS: _COLOURS[0],
    BadgeRule.Kind.DISTINCT_DAYS: _COLOURS[1],
    BadgeRule.Kind.STREAK: _COLOURS[6],
}

_SHAPES = {
    BadgeRule.Kind.MASKED_POSTS: Shape(
        "M128 20C152 38 182 46 212 45C216 46 218 48 218 52V118C218 174 180 213 128 236C76 213 38 174 38 118V52"
        "C38 48 40 46 44 45C74 46 104 38 128 20Z",
        (128, 124),
        0.855,
        (128, 102),
        1.0,
    ),
    BadgeRule.Kind.DISTINCT_DAYS: Shape(
        "M72 36H184C208 36 220 48 220 72V188C220 212 208 224 184 224H72C48 224 36 212 36 188V72C36 48 48 36 72 36Z",
        (128, 130),
        0.865,
        (128, 117),
        0.92,
        first_leaf=1,
    ),
    BadgeRule.Kind.STREAK: Shape(
        "M148 12C146 48 178 64 201 100C212 118 218 136 218 152C218 202 179 238 128 238C77 238 38 202 38 152"
        "C38 122 51 100 66 82C74 72 78 62 76 46C94 52 106 66 110 84C128 68 146 44 148 12Z",
        (128, 154),
        0.85,
        (128, 122),
        0.88,
    ),
}

# Drawn in a square of 100 around (0, 0), in white on the face.
_SYMBOLS = {
    BadgeRule.Symbol.MASK: (
        '<g fill="none" stroke="#fff" stroke-width="7" stroke-linecap="round">'
        '<path d="M-40-20C-66-28-66 20-36 18M40-20C66-28 66 20 36 18"/></g>'
        '<path fill="#fff" d="M-44-22C-26-24-15-35 0-35S26-24 44-22V4C44 25 20 37 0 37S-44 25-44 4Z"/>'
        '<path d="M-29-6H29M-29 7H29M-22 20H22" fill="none" stroke="{ink}" stroke-width="5" stroke-linecap="round" '
        'opacity=".75"/>'
    ),
    BadgeRule.Symbol.STAR: (
        '<path fill="#fff" stroke="#fff" stroke-width="8" stroke-linejoin="round" '
        'd="M0-40L11.8-13.2L40.9-10.3L19 9L25.3 37.6L0 22.7L-25.3 37.6L-19 9L-40.9-10.3L-11.8-13.2Z"/>'
    ),
    BadgeRule.Symbol.HEART: (
        '<path fill="#fff" d="M0 40C-24 22-45 5-45-15C-45-30-34-39-22-39C-12-39-4-33 0-25C4-33 12-39 22-39'
        'C34-39 45-30 45-15C45 5 24 22 0 40Z"/>'
    ),
    BadgeRule.Symbol.LEAF: (
        '<path fill="#fff" d="M-34 40C-48-6-20-42 42-42C44 14 14 44-22 30Z"/>'
        '<path d="M-38 44C-26 20-8 0 18-18" fill="none" stroke="{ink}" stroke-width="6" stroke-linecap="round"/>'
    ),
    BadgeRule.Symbol.GLOBE: (
        '<circle r="42" fill="#fff"/><g fill="none" stroke="{ink}" stroke-width="5">'
        '<ellipse rx="18" ry="40"/><path d="M-40 0H40M-34-21H34M-34 21H34"/></g>'
    ),
}

# Each digit is one stroke, ten wide and fourteen high.
_DIGITS = {
    "0": "M5 0C8 0 10 2.5 10 7C10 11.5 8 14 5 14C2 14 0 11.5 0 7C0 2.5 2 0 5 0Z",
    "1": "M2 2.8L6 0V14",
    "2": "M.4 3.6C.8 1.4 2.6 0 5 0C7.7 0 9.6 1.7 9.6 4C9.6 5.8 8.6 7 7 8.4L.4 14H9.8",
    "3": "M.6 2.6C1.5.9 3 0 5 0C7.6 0 9.3 1.4 9.3 3.5C9.3 5.6 7.6 6.7 4.6 6.7C7.8 6.7 9.8 7.9 9.8 10.3"
    "C9.8 12.6 7.8 14 5 14C2.6 14 .9 13 .2 11.1",
    "4": "M7.6 14V0L0 9.6H10",
    "5": "M9 0H1.6L.9 6.6C2 5.7 3.4 5.3 4.8 5.3C7.8 5.3 9.8 7 9.8 9.6C9.8 12.2 7.8 14 4.8 14C2.6 14 1 13.1.1 11.4",
    "6": "M8.6 1.2C7.6.4 6.5 0 5.3 0C2 0 0 2.8 0 7.6C0 11.7 1.9 14 5 14C7.9 14 10 12.2 10 9.6"
    "C10 7.1 8 5.4 5.3 5.4C2.8 5.4.8 6.9.1 9",
    "7": "M0 0H10L3.8 14",
    "8": "M5 6.6C2.5 6.6.7 5.3.7 3.3C.7 1.3 2.5 0 5 0C7.5 0 9.3 1.3 9.3 3.3C9.3 5.3 7.5 6.6 5 6.6"
    "C2.1 6.6 0 8 0 10.3C0 12.6 2.1 14 5 14C7.9 14 10 12.6 10 10.3C10 8 7.9 6.6 5 6.6Z",
    "9": "M1.4 12.8C2.4 13.6 3.5 14 4.7 14C8 14 10 11.2 10 6.4C10 2.3 8.1 0 5 0C2.1 0 0 1.8 0 4.4"
    "C0 6.9 2 8.6 4.7 8.6C7.2 8.6 9.2 7.1 9.9 5",
}
_DIGIT_ADVANCE = 14.2
_PLAQUE_Y = 186
_PLAQUE_HEIGHT = 56
_LAUREL_FROM = 3
_LEAVES = 6
_BRANCH = 100
_BRANCH_Y = 136


def metal_of(level: int) -> Metal:
    """Return what a level is made of."""
    return METALS[min(max(level, 1), len(METALS)) - 1]


def caption(rule: BadgeRule) -> str:
    """Say what a picture shows, for who does not see it."""
    return f"{rule.title}: a {metal_of(rule.level).name} badge, level {rule.level} of {len(METALS)}"


def render(rule: BadgeRule, *, credential: str = "") -> str:
    """Return a rule's badge as an SVG document; with a signed credential baked in, where one is given."""
    metal, colour, shape = metal_of(rule.level), _colour(rule), _SHAPES[BadgeRule.Kind(rule.kind)]
    name = f"b-{rule.code}"  # several may be drawn into one page
    namespace = f' xmlns:openbadges="{_OPENBADGES}"' if credential else ""
    parts = (
        f'<svg xmlns="http://www.w3.org/2000/svg"{namespace} viewBox="0 0 {SIZE} {SIZE}" role="img" '
        f'aria-labelledby="{name}-title">',
        f'<openbadges:credential verify="{credential}"></openbadges:credential>' if credential else "",
        f'<title id="{name}-title">{escape(caption(rule))}</title>',
        _definitions(name, metal, colour, shape),
        _laurel(name, metal, shape) if rule.level >= _LAUREL_FROM else "",
        _body(rule, name, metal, shape),
        _symbol(rule, colour, shape),
        _plaque(rule.threshold, name, metal),
        _studs(rule.level, metal),
        _sparkles(shape) if rule.level == len(METALS) else "",
        "</svg>",
    )
    return "".join(parts)


def _colour(rule: BadgeRule) -> Colour:
    if not rule.series:
        return _COLOUR_OF_KIND[BadgeRule.Kind(rule.kind)]
    return _COLOURS[zlib.crc32(rule.series.encode()) % len(_COLOURS)]


def _definitions(name: str, metal: Metal, colour: Colour, shape: Shape) -> str:
    bands = ((0, metal.shine), (0.22, metal.body), (0.5, metal.deep), (0.66, metal.body), (0.8, metal.shine))
    stops = "".join(f'<stop offset="{at:g}" stop-color="{shade}"/>' for at, shade in (*bands, (1, metal.deep)))
    return (
        f'<defs><linearGradient id="{name}-metal" x1="0" y1="0" x2="1" y2="1">{stops}</linearGradient>'
        f'<linearGradient id="{name}-plate" x1="0" y1="0" x2="0" y2="1"><stop stop-color="{metal.shine}"/>'
        f'<stop offset=".55" stop-color="{metal.body}"/><stop offset="1" stop-color="{metal.deep}"/></linearGradient>'
        f'<radialGradient id="{name}-face" cx=".5" cy=".32" r=".8"><stop stop-color="{colour.light}"/>'
        f'<stop offset="1" stop-color="{colour.dark}"/></radialGradient>'
        f'<clipPath id="{name}-clip"><path d="{shape.outline}" transform="{_shrunk(shape, shape.face_scale)}"/>'
        "</clipPath></defs>"
    )


def _shrunk(shape: Shape, scale: float) -> str:
    x, y = shape.middle
    return f"translate({x * (1 - scale):.2f} {y * (1 - scale):.2f}) scale({scale:g})"


def _body(rule: BadgeRule, name: str, metal: Metal, shape: Shape) -> str:
    outline, inner = shape.outline, _shrunk(shape, shape.face_scale)
    calendar = rule.kind == BadgeRule.Kind.DISTINCT_DAYS
    return (
        f'<path d="{outline}" fill="{metal.edge}" stroke="{metal.edge}" stroke-width="6" stroke-linejoin="round"/>'
        f'<path d="{outline}" fill="url(#{name}-metal)"/>'
        f'<path d="{outline}" transform="{_shrunk(shape, shape.face_scale + 0.035)}" fill="{metal.edge}"/>'
        f'<path d="{outline}" transform="{inner}" fill="url(#{name}-face)"/>'
        f'<g clip-path="url(#{name}-clip)">'
        + ('<path d="M0 0H256V74H0Z" fill="#fff" opacity=".26"/>' if calendar else "")
        + '<path d="M-10-10H190L70 256H-10Z" fill="#fff" opacity=".10"/></g>'
        + (_rings(name, metal) if calendar else "")
    )


def _rings(name: str, metal: Metal) -> str:
    ring = f'fill="url(#{name}-plate)" stroke="{metal.edge}" stroke-width="4"'
    return "".join(f'<rect x="{x}" y="16" width="20" height="46" rx="10" {ring}/>' for x in (78, 158))


def _symbol(rule: BadgeRule, colour: Colour, shape: Shape) -> str:
    drawn = _SYMBOLS[BadgeRule.Symbol(rule.symbol)].format(ink=colour.dark)
    shadow = drawn.replace("#fff", colour.dark)
    x, y = shape.symbol_at
    return (
        f'<g transform="translate({x:g} {y:g}) scale({shape.symbol_scale:g})">'
        f'<g transform="translate(0 5)" opacity=".55">{shadow}</g>{drawn}</g>'
    )


def _plaque(threshold: int, name: str, metal: Metal) -> str:
    digits = str(threshold)
    scale = min(2.1, 156 / (_DIGIT_ADVANCE * len(digits)))
    wide = _DIGIT_ADVANCE * len(digits) - (_DIGIT_ADVANCE - 10)
    half = max(wide * scale / 2 + 22, 46)
    left, top = _CENTRE - half, _PLAQUE_Y - _PLAQUE_HEIGHT / 2
    box = f'x="{left:.1f}" y="{top:g}" width="{2 * half:.1f}" height="{_PLAQUE_HEIGHT}" rx="{_PLAQUE_HEIGHT / 2:g}"'
    drawn = "".join(
        f'<path d="{_DIGITS[digit]}" transform="translate({place * _DIGIT_ADVANCE:g} 0)"/>'
        for place, digit in enumerate(digits)
    )
    origin = f"translate({_CENTRE - wide * scale / 2:.1f} {_PLAQUE_Y - 3 - 7 * scale:.1f}) scale({scale:.3f})"
    return (
        f'<rect {box} fill="url(#{name}-plate)" stroke="{metal.edge}" stroke-width="5"/>'
        f'<g transform="{origin}" fill="none" stroke="{metal.edge}" stroke-width="3.7" stroke-linecap="round" '
        f'stroke-linejoin="round">{drawn}</g>'
    )


def _studs(level: int, metal: Metal) -> str:
    first, y = _CENTRE - (level - 1) * 9.5, _PLAQUE_Y + _PLAQUE_HEIGHT / 2 + 3
    return "".join(
        f'<circle cx="{first + place * 19:g}" cy="{y:g}" r="6.5" fill="{metal.shine}" stroke="{metal.edge}" '
        'stroke-width="4"/>'
        for place in range(level)
    )


def _laurel(name: str, metal: Metal, shape: Shape) -> str:
    """Draw two branches, leaves in pairs, that rise on both sides."""
    leaves = []
    for step in range(shape.first_leaf, _LEAVES):
        angle = math.radians(34 + step * 19)
        x, y = _CENTRE + _BRANCH * math.sin(angle), _BRANCH_Y + _BRANCH * math.cos(angle)
        along = 90 - math.degrees(angle)
        leaves += [(x, y, along + 34), (x, y, along - 30)] if step < _LEAVES - 1 else [(x, y, along)]
    drawn = "".join(
        f'<path d="M0 3C10-4 12-18 0-32C-12-18-10-4 0 3Z" transform="translate({x:.1f} {y:.1f}) rotate({turn:.0f})"/>'
        for x, y, turn in leaves
    )
    branch = f'<g fill="url(#{name}-plate)" stroke="{metal.edge}" stroke-width="3" stroke-linejoin="round">{drawn}</g>'
    return f'{branch}<g transform="translate({SIZE} 0) scale(-1 1)">{branch}</g>'


def _sparkles(shape: Shape) -> str:
    star = "M0-1C.12-.3.3-.12 1 0C.3.12.12.3 0 1C-.12.3-.3.12-1 0C-.3-.12-.12-.3 0-1Z"
    x, y = shape.symbol_at
    return "".join(
        f'<path d="{star}" transform="translate({x + right:g} {y + down:g}) scale({size})" fill="#fff"/>'
        for right, down, size in ((46, -38, 16), (-54, 38, 12), (58, 34, 8))
    )
