#!/usr/bin/env python3
"""s3 against S3 servers of other people, which check signatures and the sizes of parts.

    s3_peers.py BINARY FOLDER

Sets up in FOLDER, once: a virtual environment with moto and decoders, and the server s3s-fs by `cargo install`. BINARY then
delivers to each of them, in every compression, by PutObject and by parts; objects are read back with boto3 and unpacked
by independent programs. Before that, with a wrong secret, nothing may arrive, and the reason must be told.
Exit status: 0 passed, 1 failed, 77 skipped because a registry cannot be reached (said on stderr).
"""
import gzip, json, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, time

BUCKET, S3S_FS = "logs", "0.14.1"
KEYS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY")
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}

CONF = """
[SERVICE]
    Flush            0.2
    Grace            20
    Log_Level        info

[INPUT]
    Name             tail
    Path             {dir}/in.log
    Tag              app.web
    Read_from_Head   true

[OUTPUT]
    Name             s3
    Match            *
    bucket           {bucket}
    region           us-east-1
    endpoint         http://127.0.0.1:{port}
    store_dir        {dir}/store
    log_key          log
    upload_timeout   2s
    s3_key_format    /{case}/$TAG[0]/$TAG[1]/$UUID
    {options}
"""

# Name, lines of a kilobyte, options.
CASES = [
    ("put", 500, "use_put_object on\n    send_content_md5 on\n    content_type text/plain\n    storage_class STANDARD"),
    ("put-gzip", 500, "use_put_object on\n    compression gzip"),
    ("put-zstd", 500, "use_put_object on\n    compression zstd"),
    ("put-snappy", 500, "compression snappy"),
    ("put-large", 20000, "use_put_object on"),
    ("parts", 12000, "total_file_size 50M\n    send_content_md5 on"),
    ("parts-gzip", 14000, "total_file_size 50M\n    compression gzip"),
    ("parts-zstd", 14000, "total_file_size 50M\n    compression zstd"),
]


def skip(what, error):
    print("SKIPPED: %s cannot be set up: %s" % (what, error), file=sys.stderr)
    sys.exit(77)


def venv_python(folder):
    venv = folder / "venv"
    python = venv / "bin" / "python"
    if not (venv / "ready").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            packages = ["moto[server]", "boto3", "zstandard", "cramjam"]
            subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True, timeout=900)
            (venv / "ready").touch()
        except (subprocess.SubprocessError, OSError) as error:
            skip("moto", error)
    if os.environ.get("S3_PEERS_INSIDE") != "1":
        os.execve(str(python), [str(python), *sys.argv], {**os.environ, "S3_PEERS_INSIDE": "1"})


def s3s_fs(folder):
    binary = folder / "s3s-fs" / "bin" / "s3s-fs"
    if not binary.exists():
        try:
            subprocess.run(["cargo", "install", "-q", "s3s-fs", "--version", S3S_FS, "--features", "binary", "--locked",
                            "--root", str(folder / "s3s-fs"), "--target-dir", str(folder / "s3s-fs" / "build")],
                           check=True, timeout=1800)
            shutil.rmtree(folder / "s3s-fs" / "build", ignore_errors=True)
        except (subprocess.SubprocessError, OSError) as error:
            skip("s3s-fs", error)
    return str(binary)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, check, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if check(): return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("not within %d s: %s" % (seconds, what))


class Service:
    """A server, and a client of it that is not ours."""

    def __init__(self, command, env=None):
        self.port = free_port()
        command = [word.format(port=self.port) for word in command]
        self.process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_until("%s listens" % command[0], lambda: not socket.create_connection(("127.0.0.1", self.port)).close())
        self.keys = KEYS

    def client(self, service="s3", keys=None):
        import boto3, botocore.config
        access, secret = keys or self.keys
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        return boto3.client(service, region_name="us-east-1", endpoint_url="http://127.0.0.1:%d" % self.port,
                            aws_access_key_id=access, aws_secret_access_key=secret, config=config)

    def objects(self, case):
        """Objects of a case: key to (head, body)."""
        s3, found = self.client(), {}
        for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=case + "/").get("Contents", []):
            answer = s3.get_object(Bucket=BUCKET, Key=item["Key"])
            found[item["Key"]] = (answer, answer["Body"].read())
        return found


def moto(folder):
    service = Service([str(folder / "venv" / "bin" / "moto_server"), "-p", "{port}"],
                      {"INITIAL_NO_AUTH_ACTION_COUNT": "3"})
    iam = service.client("iam", ("x", "y"))
    iam.create_user(UserName="writer")
    iam.put_user_policy(UserName="writer", PolicyName="s3", PolicyDocument=json.dumps(ALLOW))
    key = iam.create_access_key(UserName="writer")["AccessKey"]
    service.keys = (key["AccessKeyId"], key["SecretAccessKey"])
    service.client().create_bucket(Bucket=BUCKET)
    return service


def independent(folder, data):
    (data / BUCKET).mkdir()
    return Service([s3s_fs(folder), "--host", "127.0.0.1", "--port", "{port}", "--access-key", KEYS[0],
                    "--secret-key", KEYS[1], str(data)])


def unpacked(case, body):
    """By programs that are not ours, and by the command line's where it is there."""
    if "gzip" in case:
        text = gzip.decompress(body)
        assert subprocess.run(["gzip", "-dc"], input=body, capture_output=True, check=True).stdout == text
        return text
    if "zstd" in case:
        import io, zstandard
        text = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True).read()
        if shutil.which("zstd"):
            assert subprocess.run(["zstd", "-dc"], input=body, capture_output=True, check=True).stdout == text
        return text
    if "snappy" in case:
        import cramjam
        return bytes(cramjam.snappy.decompress_raw(body))
    return body


def lines(case, count):
    import random
    dice = random.Random(case)
    return ["%d %s" % (n, "".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=60)) + format(dice.getrandbits(3600), "0900x"))
            for n in range(count)]


def run(binary, service, case, count, options, keys, until):
    """Delivers a case; its log."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "in.log").write_text("\n".join(lines(case, count)) + "\n")
        (folder / "c.conf").write_text(CONF.format(dir=name, port=service.port, bucket=BUCKET, case=case, options=options))
        env = {"PATH": os.environ.get("PATH", ""), "HOME": name, "AWS_ACCESS_KEY_ID": keys[0],
               "AWS_SECRET_ACCESS_KEY": keys[1], "AWS_EC2_METADATA_DISABLED": "true"}
        log = lambda: (folder / "stderr").read_text(errors="replace")
        with open(folder / "stderr", "w") as err:
            process = subprocess.Popen([binary, "-c", str(folder / "c.conf")], env=env, stdout=subprocess.DEVNULL,
                                       stderr=err, cwd=name)
            try:
                wait_until("delivery of " + case, lambda: until(log()))
            except AssertionError as error:
                raise AssertionError("%s\n%s" % (error, log()[-3000:]))
            finally:
                process.send_signal(signal.SIGTERM)
                try: process.wait(30)
                except subprocess.TimeoutExpired: process.kill()
        return log()


def check(binary, what, service):
    case, count, options = CASES[0]
    log = run(binary, service, case, count, options, (service.keys[0], "not-the-secret"), lambda log: "s3:PutObject" in log)
    assert "SignatureDoesNotMatch" in log and "secret key" in log, log[-2000:]
    assert not service.objects(case), "%s accepted a wrong signature" % what
    for case, count, options in CASES:
        run(binary, service, case, count, options, service.keys, lambda _: service.objects(case))
        found, expected = service.objects(case), lines(case, count)
        text = b"".join(unpacked(case, body) for _, body in found.values()).decode()
        assert sorted(text.splitlines()) == sorted(expected), "%s, %s: %d of %d lines" % (what, case, text.count("\n"), count)
        for key, (head, _) in found.items():
            assert key.startswith(case + "/app/web/"), key
            for name in ("gzip", "zstd", "snappy"):
                if name in case: assert head.get("ContentEncoding") == name, (what, case, head)
        if case == "put": assert head["ContentType"] == "text/plain", head
        if case.startswith("parts"):
            assert any("-" in head["ETag"] for head, _ in found.values()), "%s, %s: no upload by parts" % (what, case)
    left = service.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) if what == "moto" else []
    assert not left, "%s: uploads are left half-made: %s" % (what, left)


def main():
    binary, folder = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    venv_python(folder)
    with tempfile.TemporaryDirectory() as data:
        for what, start in (("moto", lambda: moto(folder)), ("s3s-fs", lambda: independent(folder, pathlib.Path(data)))):
            service = start()
            try:
                check(binary, what, service)
                print("ok: %s: %d cases, signatures and parts checked" % (what, len(CASES)))
            finally:
                service.process.terminate()


if __name__ == "__main__":
    main()
