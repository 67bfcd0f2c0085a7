"""deploy/kubernetes and what is beside compose.yaml: Kubernetes' own schemas, and the names that the product knows."""

import ast
import copy
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands
from rq.queue import Queue

from tests.voxsite import test_switches
from voxsite import metrics
from voxsite.serve import programs

ROOT = Path(settings.BASE_DIR)
FOLDER = ROOT / "deploy/kubernetes"
# The oldest one that is meant, and the newest one whose schemas the package has.
VERSIONS = ("1.27", kubernetes_validate.latest_version())
OWN_SCHEMAS = ("ScaledObject",)  # of KEDA
# Names in `env` that are no switches: libpq's, and what only `$(NAME)` of another one uses.
OTHER_NAMES = {"PGOPTIONS", "SITE_HOSTS", "POD_IP"}
PROGRAMS = {program.name for program in programs.all_programs({"REDIS_URL": "redis://x"})}


def resources(folder: str) -> list[dict[str, Any]]:
    """Return what a folder applies, with its patches."""
    kustomization = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
    found: list[dict[str, Any]] = []
    for name in kustomization["resources"]:
        path = (FOLDER / folder / name).resolve()
        found += resources(path.name) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for patch in kustomization.get("patches", []):
        targets = [
            each
            for each in found
            if (each["kind"], each["metadata"]["name"]) == (patch["target"]["kind"], patch["target"]["name"])
        ]
        (target,) = targets
        merge(target, yaml.safe_load((FOLDER / folder / patch["path"]).read_text()))
    return found


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """Do what kustomize does with a strategic merge patch: lists of what has a name are merged by it."""
    for name, value in patch.items():
        old = target.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        elif isinstance(old, list) and all("name" in each for each in [*old, *value]):
            by_name = {each["name"]: each for each in old}
            for each in value:
                merge(by_name.setdefault(each["name"], {}), each)
            target[name] = list(by_name.values())
        else:
            target[name] = copy.deepcopy(value)


BASE, GPU, KEDA = resources("base"), resources("gpu"), resources("keda")


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in BASE if each["kind"] == kind}


def pods(found: list[dict[str, Any]] = BASE) -> dict[str, dict[str, Any]]:
    return {
        each["metadata"]["name"]: each["spec"]["template"] for each in found if each["kind"] in ("Deployment", "Job")
    }


def containers(found: list[dict[str, Any]] = BASE) -> list[dict[str, Any]]:
    specs = [pod["spec"] for pod in pods(found).values()]
    return [each for spec in specs for each in (*spec.get("initContainers", []), *spec["containers"])]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "resource", [*BASE, *GPU, *KEDA], ids=lambda each: f"{each['kind']} {each['metadata']['name']}"
)
def test_schemas_of_kubernetes_accept_it(resource: dict[str, Any], version: str) -> None:
    if resource["kind"] not in OWN_SCHEMAS:
        kubernetes_validate.validate(resource, version, strict=True)


def test_each_program_runs_once() -> None:
    started = [words[3] for each in containers() if (words := each["command"])[1:3] == ["-m", "voxsite.serve.child"]]
    assert sorted(started) == sorted(PROGRAMS - {"announce"})


def test_commands_exist() -> None:
    for each in containers():
        for command in re.findall(r"manage\.py (\w+)", " ".join(each["command"])):
            assert command in get_commands()


def test_probe_of_the_engine_calls_a_function_as_it_is() -> None:
    (engine,) = [each for each in containers() if each["name"] == "engine"]
    for probe in (engine["startupProbe"], engine["livenessProbe"]):
        python, option, code = probe["exec"]["command"]
        assert (python, option) == ("python", "-c")
        tree = ast.parse(code)
        (found,) = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        function = getattr(import_module(str(found.module)), found.names[0].name)
        (call,) = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == found.names[0].name
        ]
        address, seconds = (ast.literal_eval(argument) for argument in call.args)
        inspect.signature(function).bind(address, seconds)
        # The socket that VOXSITE_DATA_DIR of the image leads to.
        assert address == "ipc:///data/engine.sock"
        assert seconds < probe["timeoutSeconds"]


def test_variables_are_switches_of_the_product() -> None:
    names = set(named("ConfigMap")["voxsite"]["data"])
    names |= {each["name"] for container in containers(GPU) for each in container.get("env", [])}
    assert names - OTHER_NAMES <= test_switches.names_in_code()


def test_probes_ask_addresses_that_answer(client) -> None:
    for each in containers():
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if asked := each.get(probe, {}).get("httpGet"):
                assert asked["port"] in {port["name"] for port in each["ports"]}
                # Ready or not, it is a check and no missing page.
                assert client.get(asked["path"]).status_code in (200, 503)


def test_names_lead_to_pods() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods().values()]

    def fits(selector: dict[str, str]) -> bool:
        return any(selector.items() <= each.items() for each in labels)

    for each in named("Deployment").values():
        assert each["spec"]["selector"]["matchLabels"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
    for each in named("PodDisruptionBudget").values():
        assert fits(each["spec"]["selector"]["matchLabels"])
    for each in named("NetworkPolicy").values():
        assert fits(each["spec"]["podSelector"].get("matchLabels", {}))
    for each in named("Service").values():
        assert fits(each["spec"]["selector"])
    for each in named("HorizontalPodAutoscaler").values():
        assert each["spec"]["scaleTargetRef"]["name"] in named("Deployment")
    for each in named("Ingress").values():
        for rule in each["spec"]["rules"]:
            assert rule["host"] in named("ConfigMap")["voxsite"]["data"]["VOXSITE_HOSTS"].split(",")
            for path in rule["http"]["paths"]:
                assert path["backend"]["service"]["name"] in named("Service")


def test_scaling_reads_metrics_and_queues_that_there_are() -> None:
    source = inspect.getsource(metrics)
    for scaled in KEDA:
        assert scaled["spec"]["scaleTargetRef"]["name"] in named("Deployment")
    for trigger in (each for scaled in KEDA for each in scaled["spec"]["triggers"]):
        told = trigger["metadata"]
        if trigger["type"] == "prometheus":
            metric, queue = re.fullmatch(r'max\((\w+)\{queue="(\w+)"\}\)', told["query"]).groups()  # type: ignore[union-attr]
            assert f'"{metric}"' in source
            assert queue in programs.QUEUES
        else:
            assert told["listName"] in {f"{Queue.redis_queue_namespace_prefix}{name}" for name in programs.QUEUES}


def test_only_engines_get_their_secret_key_and_are_reached_where_they_listen() -> None:
    def secrets_of(each: dict[str, Any]) -> set[str]:
        return {source["secretRef"]["name"] for source in each["envFrom"] if "secretRef" in source}

    assert [each["name"] for each in containers() if "voxsite-engine" in secrets_of(each)] == ["engine"]
    (engine,) = [each for each in containers() if each["name"] == "engine"]
    (port,) = engine["ports"]
    told = {each["name"]: each.get("value") for each in engine["env"]}
    assert told["VOXSITE_ENGINE_LISTEN"] == f"tcp://0.0.0.0:{port['containerPort']}"
    (rule,) = named("NetworkPolicy")["engine"]["spec"]["ingress"]
    assert rule["ports"] == [{"port": port["name"]}]
    (source,) = rule["from"]
    (expression,) = source["podSelector"]["matchExpressions"]
    assert set(expression["values"]) <= set(pods())


def test_pods_reach_the_cluster_and_its_dns_but_no_credentials_of_the_cloud() -> None:
    (rule,) = named("NetworkPolicy")["no-metadata-of-the-cloud"]["spec"]["egress"]
    assert rule.keys() == {"to"}
    # Cilium matches no pod by an address: without this, there would be no DNS and no engine.
    assert {"namespaceSelector": {}} in rule["to"]
    blocks = [each["ipBlock"] for each in rule["to"] if "ipBlock" in each]

    def is_reached(address: str) -> bool:
        at = ip_address(address)
        return any(
            at in ip_network(block["cidr"]) and not any(at in ip_network(each) for each in block["except"])
            for block in blocks
        )

    # NodeLocal DNSCache, a public server, and one of a private network.
    for address in ("169.254.20.10", "1.1.1.1", "10.1.2.3", "2606:4700::1111", "fd00::53"):
        assert is_reached(address), address
    # All clouds; ECS and EKS of AWS.
    for address in ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23"):
        assert not is_reached(address), address


def test_no_container_has_more_rights_than_it_needs() -> None:
    for pod in pods().values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["runAsUser"] == int(
            re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text()).group(1)  # type: ignore[union-attr]
        )
        assert pod["spec"]["automountServiceAccountToken"] is False
    for each in containers():
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_web_has_time_to_end() -> None:
    spec = named("Deployment")["web"]["spec"]["template"]["spec"]
    switches = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
    drain, grace = int(switches["VOXSITE_WEB_DRAIN_SECONDS"]), int(switches["VOXSITE_WEB_GRACE_SECONDS"])
    probe = spec["containers"][0]["readinessProbe"]
    # The pod is known to be unready before it stops to listen.
    assert drain > probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert grace > settings.APEX_TOTAL_SECONDS
    assert spec["terminationGracePeriodSeconds"] > drain + grace


@pytest.mark.long
def test_settings_accept_the_configuration() -> None:
    told = named("ConfigMap")["voxsite"]["data"]
    secrets = {
        "SECRET_KEY": "made up for this test, of more than fifty characters in all",
        "DATABASE_URL": "postgresql://voxsite@localhost/none",
        "REDIS_URL": "redis://localhost",
        "S3_ACCESS_KEY_ID": "made up",
        "S3_SECRET_ACCESS_KEY": "made up",
        "VOXSITE_ENGINE_CLIENT_SECRET_KEY": "1" * 64,
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "ERROR"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "VOXSITE_DATA_DIR": os.environ["VOXSITE_DATA_DIR"], **told, **secrets},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["compose.gpu.yaml", "compose.s3.yaml"])
def test_additions_to_compose_change_what_there_is(name: str) -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for service, added in yaml.safe_load((ROOT / name).read_text())["services"].items():
        assert service in services or {"image", "restart"} <= added.keys()
        known = test_switches.names_in_code() | test_switches.INTERNAL
        assert service not in services or set(added.get("environment", {})) <= known
