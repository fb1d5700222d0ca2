"""A map of the world without coastlines: a square for each country, about where it lies."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from incentives.dashboard.seen import Figures, Rate, rate

# Read as a map: one row of squares after the other; two dots are water.
_GRID = """
CA .. .. .. .. .. IS .. .. NO SE FI .. RU .. .. .. .. ..
US .. .. .. .. IE GB .. DK EE LV LT BY .. .. .. .. .. ..
MX .. CU .. .. .. NL BE DE PL CZ SK UA KZ MN .. .. .. ..
GT BZ JM DO .. PT FR LU CH AT HU RO MD UZ KG CN KR JP ..
SV HN HT PR .. .. ES IT SI HR RS BG GE AZ AF NP TW .. ..
.. NI CR .. .. .. MA TN GR AL TR AM IR PK BT HK .. .. ..
.. .. PA .. .. DZ LY EG IL LB SY IQ IN BD MM LA VN PH ..
.. CO VE GY SN ML NE TD SD JO SA KW LK .. TH KH .. .. ..
.. EC BR SR GH CI NG CM ET SO YE AE OM .. MY SG .. .. ..
.. PE BO .. .. .. CG CD UG KE .. QA .. .. ID .. PG .. ..
.. CL PY .. .. .. AO ZM TZ MW .. .. .. .. .. AU .. FJ ..
.. AR UY .. .. .. NA BW ZW MZ MG .. .. .. .. .. .. NZ ..
.. .. .. .. .. .. .. ZA .. .. .. .. .. .. .. .. .. .. ..
"""
_PLACES = {
    code: (column, row)
    for row, line in enumerate(_GRID.split("\n")[1:-1])
    for column, code in enumerate(line.split())
    if code != ".."
}
SIDE = 34
GAP = 4
STEPS = 10
WIDTH = SIDE * len(_GRID.split("\n")[1].split())
HEIGHT = SIDE * len(_GRID.split("\n")[1:-1])


@dataclass(frozen=True, slots=True)
class Square:
    """A country on the map; the rate is None where it posted nothing."""

    country: str
    x: int
    y: int
    rate: Rate | None

    @property
    def middle_x(self) -> float:
        """Where its text is."""
        return self.x + (SIDE - GAP) / 2


@dataclass(frozen=True, slots=True)
class TileMap:
    """The squares, and the countries that have none."""

    squares: list[Square]
    elsewhere: list[tuple[str, Rate]]
    width: int = WIDTH
    height: int = HEIGHT
    side: int = SIDE - GAP

    @property
    def legend(self) -> list[str]:
        """What each of the ten colours stands for."""
        return [f"{10 * step}–{10 * step + 9} %" if step < STEPS - 1 else f"{10 * step}–100 %" for step in range(STEPS)]


def tile_map(figures: Figures) -> TileMap:
    """Return the mask rate of each country; the parts of a country are taken together."""
    countries: dict[str, Counter[str]] = {}
    for region, numbers in figures.by_region.items():
        countries.setdefault(region.partition("-")[0], Counter()).update(numbers)
    rates: Mapping[str, Rate] = {country: rate(numbers) for country, numbers in countries.items()}
    squares = [Square(code, SIDE * x, SIDE * y, rates.get(code)) for code, (x, y) in _PLACES.items()]
    elsewhere = [(code or "unknown", found) for code, found in sorted(rates.items()) if code not in _PLACES]
    return TileMap(squares, elsewhere)
