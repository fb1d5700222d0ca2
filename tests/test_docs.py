"""The pages under docs/ say what the code does."""

import re
from pathlib import Path

import pytest
from drf_spectacular.generators import SchemaGenerator
from PIL import Image

from incentives.models import Event
from mask_social.demo.content import LEFT_FOR_THE_READER
from mask_social.demo.pictures import PHOTOS, own_posts
from moderation.fingerprints import distance, fingerprint
from moderation.models import ApiKey, Verdict
from moderation.similarity import MAX_DISTANCE

BASE = Path(__file__).resolve().parents[1]
DOCS = BASE / "docs"
_RAISED = re.compile(
    r'(?:ApiError|_refuse|_refusal)\(\s*(?:HTTPStatus\.\w+|[\w.]*pointer|"/[^"]*"),\s*"([a-z_]+)"|code="([a-z_]+)"'
)


def sources() -> list[Path]:
    return [path for app in ("mask_social", "moderation", "incentives") for path in (BASE / app).rglob("*.py")]


def test_every_error_code_is_explained() -> None:
    page = (DOCS / "api.md").read_text()
    raised = {code for path in sources() for pair in _RAISED.findall(path.read_text()) for code in pair if code}
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # theirs is untyped
    documented = {
        code
        for paths in schema["paths"].values()
        for operation in paths.values()
        for response in operation["responses"].values()
        for code in re.findall(r"`([a-z_]+)`", response.get("description", ""))
    }
    assert len(raised) > 20
    assert {code for code in raised | documented if f"`{code}`" not in page} == set()


def test_every_scope_event_and_outcome_is_explained() -> None:
    api, webhooks = (DOCS / "api.md").read_text(), (DOCS / "webhooks.md").read_text()
    assert {scope for scope in ApiKey.Scope.values if f"`{scope}`" not in api} == set()
    assert {type_ for type_ in Event.Type.values if f"| `{type_}` |" not in webhooks} == set()
    assert {outcome for outcome in Verdict.Outcome.values if f"`{outcome}`" not in webhooks} == set()


def test_every_setting_is_explained_and_every_explained_setting_is_read() -> None:
    page = (DOCS / "operations.md").read_text()
    code = "".join(path.read_text() for path in sources())
    read = set(re.findall(r'"((?:MASK_SOCIAL|DATABASE|REDIS|STORAGE)_[A-Z_]+)"', code))
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    assert read == explained


@pytest.mark.parametrize("page", [BASE / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_target_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"make ([a-z]+)", (BASE / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (BASE / "Makefile").read_text(), re.MULTILINE))
    assert named - {"take"} <= targets


def test_the_photo_that_the_readme_posts_is_no_repeat() -> None:
    text = (BASE / "README.md").read_text()
    assert re.findall(r"photos=@mask_social/demo/photos/(\S+)", text) == [LEFT_FOR_THE_READER]
    picture = fingerprint(Image.open(PHOTOS / LEFT_FOR_THE_READER)).bits
    others = [post.photo for post in own_posts() if post.photo.name != LEFT_FOR_THE_READER]
    assert min(distance(picture, fingerprint(Image.open(path)).bits) for path in others) > MAX_DISTANCE


def test_every_test_that_a_page_names_is_there() -> None:
    named = {
        (page.name, *found)
        for page in DOCS.glob("*.md")
        for found in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())
    }
    assert len(named) > 80
    for page, path, name in named:
        assert f"def {name}(" in (BASE / path).read_text() if name else (BASE / path).exists(), (page, path, name)
