"""Badges are drawn by code: one shape for each kind, one metal for each level, nothing from elsewhere."""

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from incentives import artwork
from incentives.models import BadgeRule

SVG = "{http://www.w3.org/2000/svg}"
KINDS = tuple(BadgeRule.Kind)
LEVELS = range(1, 6)


def rule(**fields: Any) -> BadgeRule:
    defaults: dict[str, Any] = {"code": "five-days", "title": "Five days", "kind": "distinct_days", "threshold": 5}
    return BadgeRule(**(defaults | fields))


def drawn(**fields: Any) -> ElementTree.Element:
    return ElementTree.fromstring(artwork.render(rule(**fields)))  # noqa: S314 - we have just drawn it


@pytest.mark.parametrize(("kind", "symbol"), list(itertools.product(KINDS, BadgeRule.Symbol)))
def test_every_badge_is_a_picture_that_says_what_it_is(kind: str, symbol: str) -> None:
    for level in LEVELS:
        picture = drawn(kind=kind, symbol=symbol, level=level)
        title = picture.find(f"{SVG}title")
        assert picture.tag == f"{SVG}svg"
        assert picture.get("role") == "img"
        assert title is not None
        assert picture.get("aria-labelledby") == title.get("id")
        assert title.text == f"Five days: a {artwork.METALS[level - 1].name} badge, level {level} of 5"


@pytest.mark.parametrize(("kind", "symbol"), list(itertools.product(KINDS, BadgeRule.Symbol)))
def test_a_picture_needs_nothing_from_elsewhere(kind: str, symbol: str) -> None:
    text = artwork.render(rule(kind=kind, symbol=symbol, level=5))
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert set(re.findall(r"url\((.)", text)) == {"#"}
    assert not re.search(r"<(script|image|use|text|style|foreignObject)|href|\bon\w+=|None|nan", text)
    named = set(re.findall(r'id="([^"]+)"', text))
    assert {name for name in re.findall(r"url\(#([^)]+)\)", text) if name not in named} == set()


def test_kind_level_series_symbol_and_number_all_show() -> None:
    differences: list[dict[str, Any]] = [
        {},
        *({"kind": kind} for kind in ("masked_posts", "streak")),
        *({"level": level} for level in (2, 3, 4, 5)),
        *({"symbol": symbol} for symbol in ("star", "heart", "leaf", "globe")),
        *({"series": series} for series in ("weeks", "clinics")),
        {"threshold": 6},
    ]
    assert len({artwork.render(rule(**fields)) for fields in differences}) == len(differences)


def test_the_level_shows_without_colour() -> None:
    def studs(level: int) -> int:
        return len(drawn(level=level).findall(f"{SVG}circle"))

    assert [studs(level) for level in LEVELS] == [1, 2, 3, 4, 5]


def test_one_series_has_one_colour_at_every_level() -> None:
    def face(**fields: Any) -> str:
        found = re.search(r"<radialGradient.*?</radialGradient>", artwork.render(rule(**fields)))
        assert found
        return found[0]

    assert len({face(series="clinics", level=level) for level in LEVELS}) == 1


@pytest.mark.parametrize("threshold", [1, 7, 11, 1000, 365_000, 2_147_483_647])
def test_any_number_fits_on_its_plaque(threshold: int) -> None:
    text = artwork.render(rule(kind="masked_posts", threshold=threshold))
    plaque = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*/><g transform="translate\(([\d.]+)', text)
    assert plaque
    left, width, digits = (float(found) for found in plaque.groups())
    assert left >= 0
    assert left + width <= artwork.SIZE
    assert digits > left + 8


def test_two_badges_in_one_page_do_not_take_each_others_colours() -> None:
    one, other = (set(re.findall(r'id="([^"]+)"', artwork.render(rule(code=code)))) for code in ("one", "other"))
    assert len(one) == len(other) == 5
    assert not one & other


def test_a_title_cannot_break_out_of_the_picture() -> None:
    picture = drawn(title="</title><script>alert(1)</script> & more")
    title = picture.find(f"{SVG}title")
    assert title is not None
    assert str(title.text).startswith("</title><script>alert(1)</script> & more")
    assert picture.find(f".//{SVG}script") is None


def test_a_credential_is_baked_in_where_open_badges_look_for_it() -> None:
    picture = ElementTree.fromstring(artwork.render(rule(), credential="a.b.c"))  # noqa: S314 - we have just drawn it
    assert picture[0].tag == "{https://purl.imsglobal.org/ob/v3p0}credential", "directly after the svg tag"
    assert picture[0].get("verify") == "a.b.c"
    assert "openbadges" not in artwork.render(rule())
