"""Where the seeded authors live: how many of them, how keen on masks, and in which time zone."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A region; `keen` is the share of its posts with faces that are masked, for an average author."""

    region: str
    time_zone: str
    share: float
    keen: float


PLACES = (
    Place("US-CA", "America/Los_Angeles", 7, 0.52),
    Place("US-NY", "America/New_York", 6, 0.57),
    Place("US-TX", "America/Chicago", 5, 0.31),
    Place("CA", "America/Toronto", 4, 0.55),
    Place("MX", "America/Mexico_City", 5, 0.49),
    Place("BR", "America/Sao_Paulo", 7, 0.44),
    Place("AR", "America/Argentina/Buenos_Aires", 3, 0.47),
    Place("CO", "America/Bogota", 2, 0.5),
    Place("GB", "Europe/London", 5, 0.36),
    Place("FR", "Europe/Paris", 4, 0.46),
    Place("DE", "Europe/Berlin", 5, 0.5),
    Place("ES", "Europe/Madrid", 4, 0.58),
    Place("IT", "Europe/Rome", 4, 0.6),
    Place("PL", "Europe/Warsaw", 2, 0.35),
    Place("SE", "Europe/Stockholm", 2, 0.22),
    Place("TR", "Europe/Istanbul", 3, 0.45),
    Place("EG", "Africa/Cairo", 2, 0.34),
    Place("NG", "Africa/Lagos", 3, 0.38),
    Place("ZA", "Africa/Johannesburg", 2, 0.51),
    Place("IN", "Asia/Kolkata", 9, 0.48),
    Place("ID", "Asia/Jakarta", 4, 0.56),
    Place("TH", "Asia/Bangkok", 2, 0.7),
    Place("JP", "Asia/Tokyo", 5, 0.78),
    Place("KR", "Asia/Seoul", 3, 0.8),
    Place("AU", "Australia/Sydney", 2, 0.4),
    Place("NZ", "Pacific/Auckland", 0.2, 0.42),
)
EUROPE = ("GB", "FR", "DE", "ES", "IT", "PL", "SE", "TR")
ASIA = ("IN", "ID", "TH", "JP", "KR")
