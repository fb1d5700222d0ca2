"""What the demonstration posts: the pictures of the repository, or those of a folder."""

from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

PHOTOS = Path(__file__).parent / "photos"
AUTHORS = ("ada", "ben")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class DemoPost:
    """A photo to post, and the outcome it must have; None where nobody said."""

    photo: Path
    author_id: str
    caption: str
    expected: str | None = None
    # A near-duplicate of another, posted when that one has its verdict: it must earn nothing.
    is_repeat: bool = False


def own_posts() -> list[DemoPost]:
    """Return the posts made of the repository's pictures; the last is ada's photo, painted over."""
    rows = (
        ("portrait.jpg", "ben", "Bare-faced on the bridge", "unmasked"),
        ("surgical.jpg", "ada", "Mask on, visor next", "masked"),
        ("under_nose.jpg", "ben", "Is this how it goes?", "incorrect"),
        ("crowd.jpg", "ada", "All of us", "masked"),
        ("landscape.jpg", "ben", "Nobody about", "no_face"),
        ("gps.jpg", "ben", "Where I was is nobody's business", "masked"),
    )
    posts = [DemoPost(PHOTOS / name, author, caption, outcome) for name, author, caption, outcome in rows]
    return [
        *posts,
        DemoPost(PHOTOS / "patterned.jpg", "ben", "Somebody's photo, painted over", "masked", is_repeat=True),
    ]


def folder_posts(folder: Path) -> tuple[list[DemoPost], list[Path]]:
    """Return a post for each picture below `folder`, by two authors in turn, and the files that are none."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    posts = [DemoPost(path, author, path.stem) for path, author in zip(pictures, cycle(AUTHORS), strict=False)]
    return posts, [path for path in files if path.suffix.lower() not in SUFFIXES]
