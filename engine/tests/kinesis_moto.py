#!/usr/bin/env python3
"""kinesis_streams, kinesis_firehose and s3 against moto, with its check of signatures and policies on.

    kinesis_moto.py BINARY [VENV]

The user that BINARY delivers as has the policies of `deploy/ecs/`, and no other right. Each line must arrive once in the
stream, in the bucket of the delivery stream, and in the objects of both kinds of uploads; of one partition key in order.
Before that, with a wrong secret and without the policies, nothing may arrive, and the reason must be told.
Exit status: 0 passed, 1 failed, 77 skipped because pip reaches no registry (said on stderr).
"""
import json, os, pathlib, signal, subprocess, sys, tempfile
import cloudwatch_moto
from cloudwatch_moto import Service, venv_python, wait_until

FILES, LINES, NAME = 4, 700, "example-logs"
ECS = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "ecs"
cloudwatch_moto.ALLOW["Statement"][0]["Action"] = ["kinesis:*", "firehose:*", "s3:*", "iam:*"]

CONF = """
[SERVICE]
    Flush            0.2
    Grace            10

[INPUT]
    Name             tail
    Path             {dir}/*.log
    Tag              app.*
    Path_Key         file
    Read_from_Head   true

[OUTPUT]
    Name             kinesis_streams
    Match            *
    region           us-east-1
    endpoint         http://127.0.0.1:{port}
    stream           example-logs
    partition_key    file

[OUTPUT]
    Name             kinesis_firehose
    Match            *
    region           us-east-1
    endpoint         http://127.0.0.1:{port}
    delivery_stream  example-logs
    data_keys        log
    simple_aggregation on
"""
# Only in the run with rights: what its directory holds would be sent by the next one.
S3 = """
[OUTPUT]
    Name             s3
    Alias            put
    Match            *
    region           us-east-1
    endpoint         http://127.0.0.1:{port}
    bucket           example-logs
    store_dir        {dir}/store
    use_put_object   On
    s3_key_format    /fluent-bit-logs/put/$UUID

[OUTPUT]
    Name             s3
    Alias            multipart
    Match            *
    region           us-east-1
    endpoint         http://127.0.0.1:{port}
    bucket           example-logs
    store_dir        {dir}/store
    s3_key_format    /fluent-bit-logs/multipart/$UUID
"""


def policy(name):
    """A policy of `deploy/ecs/`. moto looks at resources for S3 only, and takes what names one elsewhere for another."""
    found = json.loads((ECS / name).read_text())
    for statement in found["Statement"]:
        if name != "policy-s3.json": statement["Resource"] = "*"
    return json.dumps(found)


def set_up(service):
    """The stream, the delivery stream and its bucket; a user without rights."""
    admin = lambda name: service.client(name, service.writer)
    admin("kinesis").create_stream(StreamName=NAME, ShardCount=2)
    for bucket in (NAME, "delivered"): admin("s3").create_bucket(Bucket=bucket)
    admin("firehose").create_delivery_stream(
        DeliveryStreamName=NAME,
        ExtendedS3DestinationConfiguration={"RoleARN": "arn:aws:iam::123456789012:role/firehose", "BucketARN": "arn:aws:s3:::delivered"})
    admin("iam").create_user(UserName="router")
    key = admin("iam").create_access_key(UserName="router")["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def from_stream(service):
    """Records of each shard, in order."""
    kinesis, found = service.client("kinesis", service.writer), []
    for shard in kinesis.list_shards(StreamName=NAME)["Shards"]:
        at = kinesis.get_shard_iterator(StreamName=NAME, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        while True:
            page = kinesis.get_records(ShardIterator=at, Limit=10000)
            found += page["Records"]
            if not page["Records"]: break
            at = page["NextShardIterator"]
    return found


def from_bucket(service, bucket, prefix=""):
    s3 = service.client("s3", service.writer)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return b"".join(s3.get_object(Bucket=bucket, Key=o["Key"])["Body"].read() for o in listed).decode().splitlines()


def run(binary, service, keys, folder, until, text=CONF):
    """Runs the binary until `until` holds, then stops it; its log."""
    conf, log = folder / "case.conf", folder / "stderr"
    conf.write_text(text.format(dir=folder, port=service.port))
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "AWS_ACCESS_KEY_ID": keys[0],
           "AWS_SECRET_ACCESS_KEY": keys[1], "AWS_EC2_METADATA_DISABLED": "true"}
    with open(log, "w") as err:
        process = subprocess.Popen([binary, "-c", str(conf)], env=env, stdout=subprocess.DEVNULL, stderr=err, cwd=folder)
        try:
            wait_until("delivery", lambda: until(log.read_text(errors="replace")), 60)
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, log.read_text(errors="replace")[-3000:]))
        finally:
            process.send_signal(signal.SIGTERM)
            try: process.wait(30)
            except subprocess.TimeoutExpired: process.kill()
    return log.read_text(errors="replace")


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    venv = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "target/moto-venv").resolve()
    venv_python(venv)
    service = Service(venv)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder, keys = pathlib.Path(name), set_up(service)
            lines = ['file %d line %d "é" \\ %s' % (f, n, "x" * (n % 50)) for f in range(FILES) for n in range(LINES)]
            for f in range(FILES):
                (folder / ("f%d.log" % f)).write_text("".join(line + "\n" for line in lines[f * LINES:(f + 1) * LINES]))
            told = lambda log: "kinesis:PutRecords" in log and "firehose:PutRecordBatch" in log
            log = run(binary, service, (keys[0], "not-the-secret"), folder, told)
            assert "check the secret key" in log, log[-2000:]
            log = run(binary, service, keys, folder, told)
            assert "allow `kinesis:PutRecords` on arn:aws:kinesis:us-east-1:*:stream/example-logs" in log, log[-2000:]
            assert "allow `firehose:PutRecordBatch` on arn:aws:firehose:us-east-1:*:deliverystream/example-logs" in log, log[-2000:]
            assert not from_stream(service) and not from_bucket(service, "delivered"), "taken without rights"
            iam = service.client("iam", service.writer)
            for name in ("policy-kinesis.json", "policy-firehose.json", "policy-s3.json"):
                iam.put_user_policy(UserName="router", PolicyName=name, PolicyDocument=policy(name))
            done = lambda _: len(from_stream(service)) >= len(lines) and len(from_bucket(service, "delivered")) >= len(lines)
            run(binary, service, keys, folder, done, CONF + S3)
            records = from_stream(service)
            for f in range(FILES):
                own = [r for r in records if r["PartitionKey"].endswith("f%d.log" % f)]
                got = [json.loads(r["Data"])["log"] for r in own]
                assert got == lines[f * LINES:(f + 1) * LINES], "file %d: %d of %d, or out of order" % (f, len(got), LINES)
            assert len(records) == len(lines)
            for what, found in (("firehose", from_bucket(service, "delivered")),
                                ("put", from_bucket(service, NAME, "fluent-bit-logs/put/")),
                                ("multipart", from_bucket(service, NAME, "fluent-bit-logs/multipart/"))):
                assert sorted(json.loads(l)["log"] for l in found) == sorted(lines), "%s: %d lines" % (what, len(found))
        print("ok: %d lines four times, signatures and policies checked" % len(lines))
    finally:
        service.process.terminate()


if __name__ == "__main__":
    main()
