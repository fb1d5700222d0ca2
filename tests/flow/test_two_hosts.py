"""A host that serves and a host that works: they share three addresses, and no folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mask_social import embedded
from mask_social.demo.client import Client
from mask_social.demo.feed_service import FeedService
from mask_social.stack import Stack
from tests import bucket
from tests.flow.conftest import BASE, eventually

pytestmark = pytest.mark.flow
PICTURE = BASE / "mask_social" / "demo" / "photos" / "surgical.jpg"


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix == ".jpg"]


def test_workers_on_another_host_need_three_addresses_and_no_common_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"STORAGE_ACCESS_KEY": bucket.ACCESS_KEY, "STORAGE_SECRET_KEY": bucket.SECRET_KEY}
    servers, serving, working = (tmp_path / name for name in ("servers", "serving", "working"))
    with embedded.held(servers, durable=False) as services, bucket.served() as photos, FeedService() as feed:
        monkeypatch.setenv("DATABASE_URL", services.database_url)
        monkeypatch.setenv("REDIS_URL", services.redis_url)
        env = {
            **keys,
            "STORAGE_URL": photos.url,
            "MASK_SOCIAL_ALLOW_PRIVATE_ADDRESSES": "1",
            "MASK_SOCIAL_SWEEP_SECONDS": "1",
        }
        with (
            Stack(working, env=env, parts=("analysis", "default", "webhooks")),
            Stack(serving, env=env, parts=("web", "beat")) as host,
        ):
            command = [sys.executable, str(BASE / "manage.py"), "bootstrap", "--json"]
            made = json.loads(subprocess.run(command, env=host.environment, check=True, capture_output=True).stdout)
            client = Client(host.url, made["api_key"])
            feed.trust(client.create_webhook_endpoint(feed.url)["secret"])

            post = client.create_post(PICTURE, author_id="ada", caption="")
            done = eventually(
                lambda: (found := client.wait_for_post(post["id"])) and found["rewards"] is not None and found
            )
            events = client.events()
            unheard = feed.wait_for([event["id"] for event in events], 30)

        assert (done["status"], done["verdict"]["outcome"]) == ("analyzed", "masked")
        assert "boost.started" in {event["type"] for event in events} and unheard == set()
        assert [name.rsplit(".", 1)[1] for name in photos.names()] == ["jpg"]
        assert files_below(serving) == files_below(working) == []
