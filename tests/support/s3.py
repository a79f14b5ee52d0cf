"""An S3 server on loopback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SERVERS: list[Any] = []  # the one that runs


@contextmanager
def away() -> Iterator[None]:
    """Meanwhile nothing answers at the address of the server, which forgets nothing."""
    from moto.server import ThreadedMotoServer

    host, port = SERVERS[0].get_host_and_port()
    SERVERS.pop().stop()
    try:
        yield
    finally:
        server = ThreadedMotoServer(host, port, verbose=False)
        server.start()
        SERVERS[:] = [server]


@contextmanager
def s3_bucket() -> Iterator[str]:
    """The URL of an empty bucket. Endpoint and keys are in the environment, for other processes."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    SERVERS[:] = [server]
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    s3fs.S3FileSystem.clear_instance_cache()  # an earlier instance would use the server of an earlier test
    try:
        boto3.client("s3").create_bucket(Bucket="videos")
        yield "s3://videos"
    finally:
        SERVERS.pop().stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        s3fs.S3FileSystem.clear_instance_cache()
