"""The Kubernetes files: against the schemas, JAX's reading of a cluster, and our own flags."""

import copy
import pathlib
import subprocess
import sys
import types

import kubernetes_validate
import pytest
import yaml
from jax._src.clusters import K8sCluster
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "launch").glob("*.yaml"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
# Reasons of a failed Job, of Kubernetes' API.
REASONS = {"BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "PodFailurePolicy"}


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def jobset(path):
    (found,) = [document for document in documents(path) if document["kind"] == "JobSet"]
    return found


def validate(document):
    """Raises where a document has a field that its API does not know, or of another type."""
    document = copy.deepcopy(document)
    if document["kind"] == "JobSet":
        for job in document["spec"]["replicatedJobs"]:
            wrapped = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}}
            validate(wrapped | job["template"])
            job["template"] = {}
        # Fields that JobSet does not know are lost on the way.
        assert JobsetV1alpha2JobSet.from_dict(document).to_dict() == document
    else:
        kubernetes_validate.validate(document, "1.37", strict=True)


@each_file
def test_valid(path):
    for document in documents(path):
        validate(document)


@pytest.mark.parametrize(
    ("at", "name", "value"),
    [
        ((), "replicas", 1),
        (("failurePolicy",), "maxRestart", 3),
        (("failurePolicy",), "maxRestarts", "3"),
        (("failurePolicy", "rules", 0), "on", []),
        (("replicatedJobs", 0), "parallelism", 2),
        (("replicatedJobs", 0, "template", "spec"), "restartPolicy", "Never"),
        (("replicatedJobs", 0, "template", "spec", "template", "spec"), "nodeSelectors", {}),
        (("replicatedJobs", 0, "template", "spec", "podFailurePolicy", "rules", 0), "exit", 2),
    ],
)
def test_what_is_misspelt_is_not_valid(at, name, value):
    document = jobset(FILES[0])
    place = document["spec"]
    for key in at:
        place = place[key]
    place[name] = value
    with pytest.raises((AssertionError, ValueError, kubernetes_validate.ValidationError)):
        validate(document)


def on_exit(document, status):
    """What JobSet does where a pod ends so: its rules and those of the Job, first match first."""
    (job,) = document["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    # A pod that fails fails the Job: no rule, no second try.
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    reason = "BackoffLimitExceeded"
    for rule in spec["podFailurePolicy"]["rules"]:
        (container,) = spec["template"]["spec"]["containers"]
        codes = rule["onExitCodes"]
        assert (rule["action"], codes["operator"]) == ("FailJob", "In")
        assert codes["containerName"] == container["name"]
        if status in codes["values"]:
            reason = "PodFailurePolicy"
    policy = document["spec"]["failurePolicy"]
    for rule in policy["rules"]:
        assert set(rule["onJobFailureReasons"]) <= REASONS
        if reason in rule["onJobFailureReasons"]:
            return rule["action"]
    return "RestartJobSet" if policy["maxRestarts"] else "FailJobSet"


@each_file
def test_what_ends_a_job_and_what_restarts_it(path):
    document = jobset(path)
    assert on_exit(document, 2) == "FailJobSet"  # the user must fix something
    assert on_exit(document, 1) == "FailJobSet"  # a bug
    assert on_exit(document, 75) == "RestartJobSet"  # stopped, or another host lost
    assert on_exit(document, 137) == "RestartJobSet"  # killed
    assert on_exit(document, 134) == "RestartJobSet"  # JAX's end where its coordinator is lost


@each_file
def test_arguments_are_ours(path):
    """The container's command as it stands, but that it stops before the job begins."""
    (job,) = jobset(path)["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "jaxbpc.main"]
    assert "--distributed=on" in container["args"]
    mounts = tuple(mount["mountPath"] + "/" for mount in container["volumeMounts"])
    for argument in container["args"]:
        name, value = argument.split("=", 1)
        if name in ("--config.model.path", "--config.data.dir", "--workdir"):
            assert value.startswith(mounts)
    code = (
        "import sys; from absl import flags; from jaxbpc import cli, config, main;"
        "assert cli._parse(sys.argv) == sys.argv[:1]; config.validate(flags.FLAGS.config)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *container["args"]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_pod_a_host_and_its_chips():
    spec = jobset(ROOT / "launch" / "gke_jobset_tpu.yaml")["spec"]["replicatedJobs"][0]["template"]
    pod = spec["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    rows, columns = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    assert spec["spec"]["parallelism"] * chips == int(rows) * int(columns)
    assert spec["spec"]["completions"] == spec["spec"]["parallelism"]


def test_jax_connects_the_pods(monkeypatch):
    """JAX's own reading of the objects that JobSet makes of the file, and the rights it needs."""
    path = ROOT / "launch" / "k8s_jobset_gpu.yaml"
    document = jobset(path)
    (replicated,) = document["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    name, spec = document["metadata"]["name"], replicated["template"]["spec"]
    # Names as JobSet gives them: <JobSet>-<replicated job>-<index>.
    job_name = f"{name}-{replicated['name']}-0"
    asked = set()

    def list_pods(**_):
        asked.add(("", "pods", "list"))
        controller = types.SimpleNamespace(kind="Job", controller=True)
        labels = {"job-name": job_name}
        meta = types.SimpleNamespace(name="x", labels=labels, owner_references=[controller])
        return types.SimpleNamespace(items=[types.SimpleNamespace(metadata=meta)])

    def read_job(**options):
        asked.add(("batch", "jobs", "get"))
        assert options["name"] == job_name
        labels = {"jobset.sigs.k8s.io/jobset-name": name}
        return types.SimpleNamespace(
            metadata=types.SimpleNamespace(name=job_name, labels=labels),
            spec=types.SimpleNamespace(parallelism=spec["parallelism"]),
        )

    calls = {"list_namespaced_pod": list_pods, "read_namespaced_job": read_job}
    api = types.SimpleNamespace(**calls)
    for attribute, value in (("_core_api", api), ("_batch_api", api), ("_ApiException", OSError)):
        monkeypatch.setattr(K8sCluster, attribute, value, raising=False)
    monkeypatch.setattr(K8sCluster, "_namespace", lambda: "default")
    monkeypatch.setenv("HOSTNAME", "localhost")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    port = spec["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]
    assert K8sCluster.get_coordinator_address(None, None) == f"{job_name}-0.{name}:{port}"
    assert K8sCluster.get_process_count() == spec["parallelism"] == spec["completions"]
    assert K8sCluster.get_process_id() == 1
    assert spec["completionMode"] == "Indexed"
    by_kind = {document["kind"]: document for document in documents(path)}
    allowed = {
        (group, resource, verb)
        for rule in by_kind["Role"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert asked == allowed
    account = spec["template"]["spec"]["serviceAccountName"]
    binding = by_kind["RoleBinding"]
    assert binding["roleRef"]["name"] == by_kind["Role"]["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == [account]
    assert by_kind["ServiceAccount"]["metadata"]["name"] == account
