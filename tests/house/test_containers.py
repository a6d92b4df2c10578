"""Dockerfile and docker-compose.yml: valid, consistent, and without a secret or a privilege in
them. Checked offline, not run.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from house_rules import ROOT

from acclimate.settings import ClientSettings, Settings

Compose = dict[str, Any]
SCRIPTS = Path(sysconfig.get_path("scripts"))
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
OURS = ("migrate", "service", "worker", "beat")
REQUIRED = re.compile(r"\$\{\w+:\?[^}]+\}")


def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPTS / tool, *map(str, arguments)], capture_output=True, text=True)


def compose() -> Compose:
    loaded: Compose = yaml.safe_load(COMPOSE.read_text())
    return loaded


def dependencies(file: Compose) -> list[str]:
    """What a service waits for exists and can reach the state that is waited for."""
    wrong = []
    for name, service in file["services"].items():
        for other, wait in service.get("depends_on", {}).items():
            target = file["services"].get(other)
            if target is None:
                wrong.append(f"{name} waits for {other}, which is not there")
            elif wait["condition"] == "service_healthy" and "test" not in target.get(
                "healthcheck", {}
            ):
                wrong.append(f"{name} waits for the health of {other}, which has no check")
            elif (
                wait["condition"] == "service_completed_successfully"
                and target.get("restart") != "no"
            ):
                wrong.append(f"{name} waits for the end of {other}, which is started again")
    return wrong


def references(file: Compose) -> list[str]:
    """Volumes, networks and secrets: what is used is declared, what is declared is used, and
    mounted files exist.
    """
    used: dict[str, set[str]] = {"volumes": set(), "networks": set(), "secrets": set()}
    wrong = []
    for name, service in file["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith("."):
                used["volumes"].add(source)
            elif not (ROOT / source).exists():
                wrong.append(f"{name} mounts {source}, which is not there")
        used["networks"] |= set(service.get("networks", []))
        used["secrets"] |= set(service.get("secrets", []))
    for kind, names in used.items():
        declared = set(file.get(kind, {}))
        wrong += [f"{kind}: {name} is used and not declared" for name in names - declared]
        wrong += [f"{kind}: {name} is declared and not used" for name in declared - names]
    return wrong


def inline_secrets(file: Compose) -> list[str]:
    """Passwords that do not come from outside. `${NAME:?why}` refuses to start without one;
    `${NAME:-x}` would be a password.
    """
    wrong = []
    for name, service in file["services"].items():
        for variable, value in service.get("environment", {}).items():
            rest = REQUIRED.sub("", str(value))
            in_address = re.search(r"://[^/@]*:[^/@]+@", rest)
            in_name = re.search(r"PASSWORD|SECRET|TOKEN|_KEY", variable) and not variable.endswith(
                "_FILE"
            )
            if in_address or (in_name and rest):
                wrong.append(f"{name}: {variable} holds a secret")
    wrong += [
        f"secrets: {name} is not a file"
        for name, secret in file.get("secrets", {}).items()
        if set(secret) != {"file"}
    ]
    return wrong


def privileges(file: Compose) -> list[str]:
    """Our own containers cannot write outside their volumes, gain rights, or be reached from
    another machine by default.
    """
    wrong = []
    for name, service in file["services"].items():
        if name in OURS:
            if not service.get("read_only") or not any(
                mount.startswith("/tmp") for mount in service.get("tmpfs", [])
            ):
                wrong.append(f"{name} writes outside its volumes")
            if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get(
                "security_opt", []
            ):
                wrong.append(f"{name} may gain rights")
        if (
            service.get("privileged")
            or "network_mode" in service
            or service.get("user") in ("root", "0")
        ):
            wrong.append(f"{name} is privileged")
        wrong += [
            f"{name} listens on {port}"
            for port in service.get("ports", [])
            if not port.startswith("127.0.0.1:")
        ]
    return wrong


def lifecycles(file: Compose) -> list[str]:
    """Pinned images; whatever stays is started again, has time to end, and has a health check or
    says that it has none.
    """
    wrong = []
    for name, service in file["services"].items():
        tag = service["image"].partition(":")[2]
        if tag in ("", "latest"):
            wrong.append(f"{name}: {service['image']} is not pinned")
        if service.get("restart") == "no":
            continue
        if service.get("restart") != "unless-stopped":
            wrong.append(f"{name} stays down after a crash")
        if "stop_grace_period" not in service:
            wrong.append(f"{name} has no time to end")
        if name != "grafana" and not {"test", "disable"} & set(service.get("healthcheck", {})):
            wrong.append(f"{name} has no health check")
    return wrong


def unknown_variables(file: Compose) -> list[str]:
    """Variables of ours that no setting reads, such as a misspelt one."""
    known = {
        f"ACCLIMATE_{field.upper()}"
        for field in (*Settings.model_fields, *ClientSettings.model_fields)
    }
    named = {
        variable: name
        for name in OURS
        for variable in file["services"][name].get("environment", {})
        if variable.startswith("ACCLIMATE_")
    }
    return [
        f"{name}: no setting is called {variable}"
        for variable, name in named.items()
        if variable not in known
    ]


CHECKS = (dependencies, references, inline_secrets, privileges, lifecycles, unknown_variables)


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined, comments left out."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = kept.replace("\\\n", " ").splitlines()
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.strip().partition(" ") for line in lines)
        if word
    ]


def stages(text: str) -> dict[str, list[tuple[str, str]]]:
    """The instructions of each named stage."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions(text):
        if word == "FROM":
            current = found.setdefault(rest.split(" AS ")[1], [])
        current.append((word, rest))
    return found


def wrong_commands(text: str) -> list[str]:
    """Shell forms: a shell between tini and the process swallows the signal that asks it to end."""
    return [
        f"{word} {rest}"
        for word, rest in instructions(text)
        if word in ("CMD", "ENTRYPOINT") and not rest.startswith("[")
    ]


def test_the_compose_file_keeps_the_schema():
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_is_against_the_schema(tmp_path):
    planted = tmp_path / "docker-compose.yml"
    planted.write_text(COMPOSE.read_text().replace("image: postgres", "imagee: postgres"))
    assert (
        run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", planted).returncode == 1
    )


def test_hadolint_has_no_complaint():
    done = run("hadolint", DOCKERFILE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_complains_of_an_unpinned_install(tmp_path):
    planted = tmp_path / "Dockerfile"
    planted.write_text("FROM python:3.11-slim\nRUN pip install --no-cache-dir uv\n")
    assert "DL3013" in run("hadolint", planted).stdout


@pytest.mark.parametrize("check", CHECKS)
def test_the_compose_file_is_consistent(check):
    assert check(compose()) == []


@pytest.mark.parametrize(
    ("check", "service", "key", "value"),
    [
        (dependencies, "worker", "depends_on", {"rediss": {"condition": "service_started"}}),
        (dependencies, "worker", "depends_on", {"beat": {"condition": "service_healthy"}}),
        (
            dependencies,
            "worker",
            "depends_on",
            {"service": {"condition": "service_completed_successfully"}},
        ),
        (references, "worker", "volumes", ["stores:/data/store"]),
        (
            references,
            "prometheus",
            "volumes",
            ["./monitoring/absent:/etc/prometheus:ro", "prometheus:/prometheus"],
        ),
        (references, "prometheus", "secrets", ["another"]),
        (references, "grafana", "networks", ["absent"]),
        (inline_secrets, "postgres", "environment", {"POSTGRES_PASSWORD": "acclimate"}),
        (
            inline_secrets,
            "postgres",
            "environment",
            {"POSTGRES_PASSWORD": "${ACCLIMATE_POSTGRES_PASSWORD:-acclimate}"},
        ),
        (
            inline_secrets,
            "worker",
            "environment",
            {"ACCLIMATE_DATABASE_URL": "postgresql://acclimate:x@postgres/acclimate"},
        ),
        (privileges, "service", "read_only", False),
        (privileges, "service", "cap_drop", []),
        (privileges, "service", "ports", ["8000:8000"]),
        (privileges, "prometheus", "privileged", True),
        (lifecycles, "redis", "image", "valkey/valkey:latest"),
        (lifecycles, "beat", "restart", "on-failure"),
        (lifecycles, "service", "healthcheck", {}),
        (unknown_variables, "service", "environment", {"ACCLIMATE_JOURNAL": "/data/journal"}),
    ],
)
def test_a_planted_mistake_is_caught(check, service, key, value):
    planted = copy.deepcopy(compose())
    planted["services"][service][key] = value
    assert check(planted)


def test_the_broker_never_evicts_and_keeps_its_file():
    command = " ".join(compose()["services"]["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_compose_builds_the_two_targets_that_the_dockerfile_has():
    services = compose()["services"]
    assert (
        {services[name]["build"]["target"] for name in OURS}
        == {"service", "worker"}
        <= set(stages(DOCKERFILE.read_text()))
    )


def test_the_image_runs_as_nobody_special_below_tini():
    found = stages(DOCKERFILE.read_text())
    assert ("USER", "10001:10001") in found["runtime"]
    assert ("ENTRYPOINT", '["tini", "--"]') in found["runtime"]
    for target in ("service", "worker"):
        assert found[target][0] == ("FROM", f"runtime AS {target}")
        assert "USER" not in dict(found[target])


def test_the_image_starts_processes_and_no_shell():
    assert wrong_commands(DOCKERFILE.read_text()) == []
    assert wrong_commands("FROM x AS y\nCMD acclimate serve") == ["CMD acclimate serve"]


def test_the_image_installs_pinned_versions_from_no_named_registry():
    text = DOCKERFILE.read_text()
    installs = [
        part
        for word, rest in instructions(text)
        if word == "RUN"
        for part in rest.split("&&")
        if "uv pip install" in part
    ]
    assert installs
    assert all("-c constraints.txt" in part for part in installs)
    assert not re.search(r"https?://(?!127\.0\.0\.1)|--(?:extra-)?index", text)


def test_the_builder_sees_only_what_the_image_installs():
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions(DOCKERFILE.read_text())
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == allowed


def test_the_files_that_hold_secrets_are_never_committed():
    names = [".env", "store.env", "minio.env", "secrets/metrics.key"]
    done = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout.split() == names
