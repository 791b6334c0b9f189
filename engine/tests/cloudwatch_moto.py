#!/usr/bin/env python3
"""cloudwatch_logs against moto, with its check of signatures and policies on.

    cloudwatch_moto.py BINARY [VENV]

Makes a virtual environment with moto (where VENV is none yet), starts moto_server with authentication, creates a user
with rights on logs, and lets BINARY deliver CRI files: each line must arrive once, in order per stream. Before that,
with a wrong secret and with an unknown key, nothing may arrive, and the reason must be told.
Exit status: 0 passed, 1 failed, 77 skipped because pip reaches no registry (said on stderr).
"""
import datetime, json, os, pathlib, signal, socket, subprocess, sys, tempfile, time

FILES, LINES, GROUP = 5, 400, "/moto/app"
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}]}

CONF = """
[SERVICE]
    Flush            0.2
    Grace            5
    Log_Level        info

[INPUT]
    Name             tail
    Path             {dir}/*.log
    Tag              kube.*
    Read_from_Head   true
    Refresh_Interval 1
    multiline.parser cri

[OUTPUT]
    Name              cloudwatch_logs
    Match             *
    region            us-east-1
    endpoint          127.0.0.1
    port              {port}
    tls               off
    log_group_name    {group}
    log_stream_prefix s-
    log_key           log
    auto_create_group true
    log_retention_days 7
"""


def venv_python(venv):
    python = venv / "bin" / "python"
    if not (venv / "bin" / "moto_server").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", "moto[server]"], check=True, timeout=600)
        except (subprocess.SubprocessError, OSError) as error:
            print("SKIPPED: moto cannot be installed (pip reaches no registry): %s" % error, file=sys.stderr)
            sys.exit(77)
    if os.environ.get("CLOUDWATCH_MOTO_INSIDE") != "1":
        os.execve(str(python), [str(python), *sys.argv], {**os.environ, "CLOUDWATCH_MOTO_INSIDE": "1"})


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, check, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if check(): return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("not within %d s: %s" % (seconds, what))


class Service:
    """moto, and the keys of a user with rights."""

    def __init__(self, venv):
        import boto3
        self.boto3, self.port = boto3, free_port()
        env = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"}
        self.process = subprocess.Popen([str(venv / "bin" / "moto_server"), "-p", str(self.port)], env=env,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("moto listens", lambda: not socket.create_connection(("127.0.0.1", self.port)).close())
        iam = self.client("iam", ("x", "y"))
        iam.create_user(UserName="writer")
        iam.put_user_policy(UserName="writer", PolicyName="logs", PolicyDocument=json.dumps(ALLOW))
        self.writer = self.key(iam, "writer")

    def key(self, iam, user):
        key = iam.create_access_key(UserName=user)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def client(self, service, keys):
        return self.boto3.client(service, region_name="us-east-1", endpoint_url="http://127.0.0.1:%d" % self.port,
                                 aws_access_key_id=keys[0], aws_secret_access_key=keys[1])

    def streams(self):
        """Messages by stream."""
        logs, found = self.client("logs", self.writer), {}
        if not logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]: return {}
        for stream in logs.describe_log_streams(logGroupName=GROUP)["logStreams"]:
            name, token, messages = stream["logStreamName"], None, []
            while True:
                more = {"nextToken": token} if token else {}
                page = logs.get_log_events(logGroupName=GROUP, logStreamName=name, startFromHead=True, **more)
                messages += [event["message"] for event in page["events"]]
                if page["nextForwardToken"] == token or not page["events"]: break
                token = page["nextForwardToken"]
            found[name] = messages
        return found


def write_files(folder):
    now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=5)
    for f in range(FILES):
        with open(folder / ("f%d.log" % f), "w") as out:
            for n in range(LINES):
                stamp = (now + datetime.timedelta(milliseconds=n)).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
                text = 'file %d line %d "é" \\ %s' % (f, n, "x" * (n % 50))
                # Every tenth line comes in two parts, which are one record.
                half = len(text) // 2 if n % 10 == 0 else 0
                if half: out.write("%s stdout P %s\n" % (stamp, text[:half]))
                out.write("%s stdout F %s\n" % (stamp, text[half:]))


def expected(f):
    return ['file %d line %d "é" \\ %s' % (f, n, "x" * (n % 50)) for n in range(LINES)]


def run(binary, service, keys, folder, until, seconds=30):
    """Runs the binary until `until` holds, then stops it; its log."""
    conf = folder / "case.conf"
    conf.write_text(CONF.format(dir=folder, port=service.port, group=GROUP))
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "AWS_ACCESS_KEY_ID": keys[0],
           "AWS_SECRET_ACCESS_KEY": keys[1], "AWS_EC2_METADATA_DISABLED": "true"}
    with open(folder / "stderr", "w+") as err:
        process = subprocess.Popen([binary, "-c", str(conf)], env=env, stdout=subprocess.DEVNULL, stderr=err, cwd=folder)
        log = lambda: (folder / "stderr").read_text(errors="replace")
        try:
            wait_until("delivery; the log ends with:\n" + log()[-2000:], lambda: until(log()), seconds)
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, log()[-3000:]))
        finally:
            process.send_signal(signal.SIGTERM)
            try: process.wait(15)
            except subprocess.TimeoutExpired: process.kill()
        return log()


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    venv = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "target/moto-venv").resolve()
    venv_python(venv)
    service = Service(venv)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_files(folder)
            wrong = (service.writer[0], "not-the-secret")
            log = run(binary, service, wrong, folder, lambda log: "logs:Create" in log)
            assert "SignatureDoesNotMatch" in log and "secret key" in log, log[-2000:]
            assert not service.streams(), "a wrong signature was accepted"
            unknown = ("AKIAUNKNOWNUNKNOWN00", "secret")
            log = run(binary, service, unknown, folder, lambda log: "logs:Create" in log)
            assert "credentials are not valid" in log, log[-2000:]
            done = lambda _: sum(map(len, service.streams().values())) >= FILES * LINES
            run(binary, service, service.writer, folder, done)
            streams = service.streams()
            assert len(streams) == FILES, sorted(streams)
            for f in range(FILES):
                got = next(v for k, v in streams.items() if k.endswith("f%d.log" % f))
                assert got == expected(f), "file %d: %d of %d lines, or out of order" % (f, len(got), LINES)
            retention = service.client("logs", service.writer).describe_log_groups()["logGroups"][0].get("retentionInDays")
            assert retention == 7, retention
        print("ok: %d lines of %d files, each once and in order, signatures checked" % (FILES * LINES, FILES))
    finally:
        service.process.terminate()


if __name__ == "__main__":
    main()
