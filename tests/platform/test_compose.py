"""The container files. No engine is needed: what they name must exist, and what they promise must be there."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from celery.bin.celery import celery as celery_command
from django.conf import settings
from gunicorn.config import Config

from mask_social import web_memory
from mask_social.embedded.redis import find_binary
from tests.platform.waiting import eventually

BASE = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((BASE / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
THEIRS = {name: service for name, service in SERVICES.items() if "build" not in service}
WORKERS = {name: service for name, service in OURS.items() if name.startswith("worker-")}
DOCKERFILE = (BASE / "Dockerfile").read_text().replace("\\\n", " ")
each_service = pytest.mark.parametrize("name", SERVICES)


def secret_folder(path: Path) -> Path:
    subprocess.run([str(BASE / "deploy/make-secrets"), str(path)], check=True, capture_output=True)
    return path


@each_service
def test_it_runs_as_an_ordinary_user_on_a_root_it_cannot_write(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in {"root", "0"}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


@each_service
def test_it_is_pinned_limited_and_looked_after(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":.*\d", service["image"]), "a tag with a version"
    assert not service["image"].endswith(":latest")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    if name == "migrate":
        assert service["restart"].startswith("on-failure")
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])


@each_service
def test_every_name_in_it_is_declared(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
    for other, condition in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other == "migrate" else "service_healthy"
        assert (other in SERVICES, condition) == (True, {"condition": wanted})
    for variable, value in service.get("environment", {}).items():
        if variable.endswith("_FILE") and value.startswith("/run/secrets/"):
            assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_the_databases_are_reached_from_inside_alone() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for service in THEIRS.values():
        assert service["networks"] == ["inside"]
        assert "ports" not in service
    assert [name for name, service in OURS.items() if "ports" in service] == ["web"]


def test_each_queue_has_a_worker_of_its_own() -> None:
    queues = [re.findall(r"--queues=(\S+)", service["command"]) for service in WORKERS.values()]
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    assert sorted(queues) == [[queue] for queue in sorted(routed | {settings.CELERY_TASK_DEFAULT_QUEUE})]


@pytest.mark.parametrize("name", [*WORKERS, "beat"])
def test_celery_understands_the_command(name: str) -> None:
    words = OURS[name]["command"].split()
    app, subcommand, *options = words[1:]
    assert words[0] == "celery"
    assert import_module(app.removeprefix("--app=")).app.main == "mask_social"
    command = celery_command.commands[subcommand]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {option.split("=")[0] for option in options} <= known


@pytest.mark.filterwarnings("ignore:No directory at")  # static files are collected in the image alone
def test_gunicorn_understands_the_command_of_the_image() -> None:
    command = json.loads(re.findall(r"^CMD (\[.*\])", DOCKERFILE, re.MULTILINE)[-1])
    assert command[0] == "gunicorn"
    parsed = Config().parser().parse_args(command[1:])
    module, _, name = parsed.args[0].partition(":")
    assert callable(getattr(import_module(module), name))
    assert parsed.bind == ["0.0.0.0:8000"]
    assert SERVICES["web"]["ports"][0].endswith(":8000")


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_one_that_the_code_reads(name: str) -> None:
    code = "".join(path.read_text() for path in (BASE / "mask_social").rglob("*.py"))
    for variable in OURS[name]["environment"]:
        stem = (
            variable
            if variable in {"MASK_SOCIAL_WORKER_FILE", "MASK_SOCIAL_BEAT_FILE"}
            else variable.removesuffix("_FILE")
        )
        assert f'"{stem}"' in code, f"nobody reads {variable}"


# What a compose file is for: what else an operator would set has one right value in containers.
OFFERED = {
    "STORAGE_URL": "s3://bucket?region=eu-central-1",
    "STORAGE_ACCESS_KEY": "access",
    "STORAGE_SECRET_KEY": "secret",
    "MASK_SOCIAL_TRUSTED_PROXIES": "2",
    "MASK_SOCIAL_PUBLIC_URL": "https://masks.example.org",
    "MASK_SOCIAL_REQUIRE_TOTP": "true",
    "MASK_SOCIAL_EMAIL_URL": "smtp+tls://user:password@mail.example.org:587",
    "MASK_SOCIAL_EMAIL_FROM": "masks@example.org",
    "MASK_SOCIAL_OUTGOING_PORTS": "443",
    "MASK_SOCIAL_RATE_KEY": "7",
    "MASK_SOCIAL_RATE_AUTHOR": "8",
    "MASK_SOCIAL_RATE_ADDRESS": "9",
    "MASK_SOCIAL_MAX_QUEUE_SECONDS": "10",
    "MASK_SOCIAL_MAX_QUEUED": "11",
}
READ = """
import json
from django.conf import settings as s
names = "TRUSTED_PROXIES PUBLIC_URL REQUIRE_TOTP EMAIL_BACKEND EMAIL_HOST DEFAULT_FROM_EMAIL OUTGOING_PORTS RATE_KEY"
names += " RATE_AUTHOR RATE_ADDRESS MAX_QUEUE_AGE MAX_QUEUED"
print(json.dumps({name: str(getattr(s, name)) for name in names.split()}))
"""


def passed_on(name: str, **given: str) -> dict[str, str]:
    """Return what a container gets, as compose works it out."""
    return {
        variable: re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda found: given.get(found[1]) or found[2], value)
        for variable, value in OURS[name]["environment"].items()
    }


@pytest.mark.parametrize("name", OURS)
def test_what_an_operator_sets_reaches_every_process(name: str) -> None:
    assert OFFERED.items() <= passed_on(name, **OFFERED).items()


def test_what_an_operator_leaves_out_is_as_the_settings_have_it() -> None:
    passed = {variable: value for variable, value in passed_on("web").items() if variable in OFFERED}
    assert passed.keys() == OFFERED.keys()
    of_settings, of_compose = (
        inside(BASE, "-c", READ, DJANGO_SETTINGS_MODULE="mask_social.settings", MASK_SOCIAL_SECRET_KEY="any", **given)
        for given in ({}, passed)
    )
    assert json.loads(of_compose) == json.loads(of_settings)


def test_who_writes_mails_reaches_a_mail_server() -> None:
    queue = settings.CELERY_TASK_ROUTES.get("incentives.tasks.notify_platforms", {}).get("queue", "default")
    assert "outside" in SERVICES[f"worker-{queue}"]["networks"]


def test_each_probe_is_one_that_there_is() -> None:
    from mask_social.probe import CHECKS

    for name, service in OURS.items():
        if name != "migrate":
            assert service["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "mask_social.probe"]
            assert service["healthcheck"]["test"][4] in CHECKS
    assert all("MASK_SOCIAL_WORKER_FILE" in service["environment"] for service in WORKERS.values())
    beat = OURS["beat"]
    assert f"--schedule={beat['environment']['MASK_SOCIAL_BEAT_FILE']}" in beat["command"]


def test_processes_make_room_before_their_container_is_killed() -> None:
    limit = {
        name: int(service["deploy"]["resources"]["limits"]["memory"].replace("2g", "2048m").rstrip("m"))
        for name, service in OURS.items()
    }
    main_process = 150
    assert settings.ANALYSIS_WORKER_MIB + main_process < limit["worker-analysis"]
    assert limit["worker-default"] > settings.WORKER_MIB < limit["worker-webhooks"]
    processes = int(re.findall(r"--workers=(\d+)", DOCKERFILE)[0])
    assert processes * web_memory.MOST_MIB + main_process < limit["web"]


def test_the_image_is_slim_pinned_and_ordinary() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(stages) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", stage) for stage in stages)
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)
    assert "pip install --requirement requirements.lock" in DOCKERFILE
    assert {service["user"] for service in OURS.values()} == {"10001:10001"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what the Dockerfile copies, and run what it runs."""
    target = tmp_path_factory.mktemp("image")
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            for path in context(BASE / source):
                copy = target / path.relative_to(BASE)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    inside(target, "manage.py", "collectstatic", "--no-input", MASK_SOCIAL_SECRET_KEY="of-the-build-alone")
    return target


def inside(image: Path, *command: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MASK_SOCIAL_")}
    done = subprocess.run(
        [sys.executable, *command], cwd=image, env=kept | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def context(path: Path) -> Iterator[Path]:
    """Walk what .dockerignore leaves of a path: the last line that matches decides."""
    rules = [line for line in (BASE / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for file in [path] if path.is_file() else path.rglob("*"):
        steps = file.relative_to(BASE).parts
        prefixes = ["/".join(steps[: length + 1]) for length in range(len(steps))]
        sent = True
        for rule in rules:
            pattern = rule.removeprefix("!")
            names = steps if pattern.startswith("**/") else prefixes
            if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
                sent = rule.startswith("!")
        if sent and file.is_file():
            yield file


def test_what_the_image_gets_is_enough(image: Path, tmp_path: Path) -> None:
    assert not (image / "mask_social/demo").exists()
    assert not (image / "ml/training").exists()
    assert not (image / "tests").exists()
    inside(image, "-c", "from ml.analyzer import Analyzer; Analyzer().warm()")
    secrets = secret_folder(tmp_path / "secrets")
    environment = {
        name: value.replace("/run/secrets", str(secrets))
        for name, value in passed_on("web", MASK_SOCIAL_ALLOWED_HOSTS="masks.example.org").items()
    }
    inside(image, "manage.py", "check", "--deploy", "--fail-level", "WARNING", **environment)
    urls = inside(
        image,
        "-c",
        "import django; django.setup(); from django.conf import settings as s;"
        "print(s.DATABASES['default']['HOST'], s.REDIS_URL, s.STORAGES['default']['OPTIONS']['location'])",
        DJANGO_SETTINGS_MODULE="mask_social.settings",
        **environment,
    ).split()
    assert urls == ["postgres", (secrets / "redis_url").read_text(), "/srv/media"]


def test_the_secrets_are_strong_kept_and_closed_to_others(tmp_path: Path) -> None:
    folder = secret_folder(tmp_path / "secrets")
    assert {f"./secrets/{path.name}" for path in folder.iterdir()} == {
        secret["file"] for secret in COMPOSE["secrets"].values()
    }
    assert folder.stat().st_mode & 0o077 == 0
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert len(first["secret_key"]) >= 50
    assert first["postgres_password"] in first["database_url"]
    assert {path.name: path.read_text() for path in secret_folder(folder).iterdir()} == first
    assert {path.read_text() for path in secret_folder(tmp_path / "others").iterdir()}.isdisjoint(first.values())


def test_redis_lets_in_whom_the_secrets_name(tmp_path: Path) -> None:
    folder = secret_folder(tmp_path / "secrets")
    command = SERVICES["redis"]["command"].replace("/run/secrets", str(folder)).split()
    command = [str(find_binary()), *(word.strip('"') for word in command[1:])]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([*command, "--port", str(port)], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        url = (folder / "redis_url").read_text().replace("@redis:6379", f"@127.0.0.1:{port}")
        with redis.Redis(port=port, username="probe", password="any") as prober:
            eventually(lambda: answers(prober))
            with pytest.raises(redis.exceptions.NoPermissionError):
                prober.get("key")
        with redis.Redis.from_url(url) as client:
            client.set("key", "value")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.kill()
        server.wait()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
