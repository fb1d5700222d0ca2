"""`make fuzz` in short: every call, asked by the schema and against it, answers as the schema says."""

import json
from pathlib import Path

import pytest
import urllib3

from tests.flow.conftest import Scene
from tests.fuzz import api

pytestmark = pytest.mark.flow
# The same questions every time: what is new is for the long run to find.
SETTLED = ("--generation-deterministic", "--no-color")


@pytest.fixture
def key(scene: Scene) -> str:
    """A key of a platform of its own, where posts may be withdrawn and endpoints made at will."""
    made: dict[str, str] = json.loads(scene.manage("bootstrap", "--platform", "fuzzed", "--new-key", "--json"))
    return made["api_key"]


@pytest.mark.timeout(600)  # half a minute where nobody else is at work
def test_every_call_takes_and_answers_what_the_schema_says(
    scene: Scene, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = api.run(scene.stack.url, key, 1, SETTLED)

    said = capfd.readouterr().out
    assert ended == 0, said
    assert "Selected: 25/25" in said
    assert "Tested: 25" in said


@pytest.mark.timeout(300)
def test_an_answer_of_another_type_is_found(
    scene: Scene, key: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    schema = urllib3.request(
        "GET", f"{scene.stack.url}/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"}
    ).json()
    schema["components"]["schemas"]["Standing"]["properties"]["masked_posts"] = {"type": "string"}
    wrong = tmp_path / "schema.json"
    wrong.write_text(json.dumps(schema))

    ended = api.run(
        scene.stack.url, key, 3, (*SETTLED, "--include-operation-id", "get_author", "--no-shrink"), schema=str(wrong)
    )

    assert ended == 1
    assert "/properties/masked_posts" in capfd.readouterr().out
