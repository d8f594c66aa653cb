"""Servers that speak S3, on the loopback address, for tests of stores at ``s3://``.

Two, since neither is all of S3. OpenStack Swift (Debian's packages) is a real object store: it
checks signatures and keeps objects in files, but answers 501 to a conditional PUT, so TensorStore
needs ``use_conditional_write: False`` for it. Moto (PyPI) is a mock over real HTTP: it takes any
signature, and honours If-Match and If-None-Match as Amazon does.
"""

import select
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import tensorstore as ts

HERE = Path(__file__).parent
DEBIAN_PYTHON = "/usr/bin/python3"  # Debian's Swift is a package of Debian's Python
MOTO_PYTHON = Path(sys.prefix) / "s3" / "bin" / "python"  # its dependencies clash with the tests'
SECONDS = 60  # a server that is not ready by then is broken
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing"}
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"
)
"""A header that moto takes: it looks at no signature."""


class NotInstalledError(Exception):
    """The server is not on this machine; the message says what to install."""


class Bucket(NamedTuple):
    """A bucket, and where it is."""

    name: str
    endpoint: str
    server: str  # "swift" or "moto"

    @property
    def conditional_writes(self) -> bool:
        """Whether the server honours If-Match and If-None-Match on PUT."""
        return self.server == "moto"

    def url(self, path: str = "") -> str:
        return f"s3://{self.name}/{path}"

    def spec(self, path: str = "") -> dict[str, Any]:
        """TensorStore's spec of the key-value store at ``path``."""
        return {
            "driver": "s3",
            "bucket": self.name,
            "path": path,
            "endpoint": self.endpoint,
            "aws_region": "us-east-1",
            "aws_credentials": {"type": "environment"},
            "use_conditional_write": self.conditional_writes,
            "s3_request_retries": {
                "max_retries": 2,
                "initial_delay": "100ms",
                "max_delay": "200ms",
            },
        }


def environment(endpoint: str) -> dict[str, str]:
    """The variables that name a server to AWS's clients, s3fs and obstore."""
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",  # obstore
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def command(server: str, folder: Path) -> list[str]:
    """What starts a server, or NotInstalledError."""
    if server == "swift":
        found = (
            Path(DEBIAN_PYTHON).exists()
            and not subprocess.run(
                [DEBIAN_PYTHON, "-c", "import swift.obj.server"], capture_output=True, cwd=folder
            ).returncode
        )
        if not found:
            raise NotInstalledError("Swift is not installed: apt-get install python3-swift")
        return [DEBIAN_PYTHON, str(HERE / "swift_node.py"), str(folder)]
    if not MOTO_PYTHON.exists():
        raise NotInstalledError(f"Moto is not installed: {MOTO_PYTHON} is not there (see .ci/run)")
    return [str(MOTO_PYTHON), str(HERE / "moto_node.py")]


@contextmanager
def running(server: str, folder: Path) -> Iterator[str]:
    """Starts a server with its files in ``folder``, yields its endpoint, and stops it."""
    arguments = command(server, folder)
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, cwd=folder) as process,
    ):
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], SECONDS)
            port = process.stdout.readline().strip() if ready else b""
            assert port, f"{server} did not start:\n{(folder / 'log').read_text()}"
            yield f"http://127.0.0.1:{int(port)}"
        finally:
            process.kill()


def make_bucket(server: str, endpoint: str) -> Bucket:
    """Makes a bucket of a new name; the environment must name the server.

    To a store without a bucket, a key of one part is a bucket's name: TensorStore signs the PUT.
    """
    bucket = Bucket(f"test-{uuid.uuid4().hex}", endpoint, server)
    spec = {key: value for key, value in bucket.spec().items() if key != "bucket"}
    root = ts.KvStore.open(spec, context=ts.Context()).result()
    try:
        root.write(bucket.name, b"").result()
    except ValueError as error:
        if "etag" not in str(error).lower():  # the answer to a new bucket has none
            raise
    return bucket


def publish(bucket: Bucket, keys: list[str]) -> None:
    """Let anybody read these objects, of a bucket of moto's."""
    assert bucket.server == "moto"
    for key in keys:
        request = urllib.request.Request(
            f"{bucket.endpoint}/{bucket.name}/{key}?acl",
            method="PUT",
            headers={"x-amz-acl": "public-read", "Authorization": AUTHORIZATION},
        )
        urllib.request.urlopen(request, timeout=SECONDS).close()
