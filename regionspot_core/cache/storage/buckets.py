"""How a bucket is asked: with which credentials, how patiently, and what its refusals mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorstore as ts

from regionspot_core.errors import CacheError
from regionspot_core.support.error_text import first_line

RETRIES = {"max_retries": 6, "initial_delay": "500ms", "max_delay": "8s"}
"""Half a minute: TensorStore's own patience is a quarter of an hour."""
FIRST_RETRIES = {"max_retries": 2, "initial_delay": "500ms", "max_delay": "1s"}
"""A second or two, for the first request: a wrong address or a missing network is told at once."""

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_SOURCES = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables that say where else Amazon's own clients find credentials."""
_EC2_MARKS = (("/sys/class/dmi/id/sys_vendor", "Amazon EC2"), ("/sys/hypervisor/uuid", "ec2"))
"""Files by which a machine of Amazon's is known, and how they begin."""


def bucket_spec(url: str, key: str, *, retries: dict[str, Any] = RETRIES) -> dict[str, Any]:
    """Return TensorStore's specification of the folder ``key`` of a store at s3:// or gs://."""
    scheme, rest = url.split("://", 1)
    bucket, _, path = rest.partition("/")
    below = "/".join(part for part in (path, key) if part) + "/"
    spec = {"bucket": bucket, "path": below}
    if scheme == "gs":
        return {"driver": "gcs", **spec, "gcs_request_retries": retries}
    # TensorStore looks for no such variable itself, as Amazon's own clients do.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    credentials = _aws_credentials()
    return {
        "driver": "s3",
        **spec,
        "s3_request_retries": retries,
        **({"endpoint": endpoint} if endpoint else {}),
        **({"aws_credentials": {"type": credentials}} if credentials else {}),
    }


def _aws_credentials() -> str | None:
    """Return how TensorStore is to find credentials; None: in the way of Amazon's clients.

    That way ends in asking Amazon's machines for those of the machine. Anywhere else nobody
    answers, so without credentials a bucket is asked as anybody may: a public one answers.
    """
    if all(os.environ.get(key) for key in _KEYS):
        return "environment"
    files = (Path("~/.aws/credentials").expanduser(), Path("~/.aws/config").expanduser())
    if any(os.environ.get(source) for source in _SOURCES) or any(f.is_file() for f in files):
        return None
    return None if _is_on_ec2() else "anonymous"


def _is_on_ec2() -> bool:
    for file, beginning in _EC2_MARKS:
        try:
            if Path(file).read_text().startswith(beginning):
                return True
        except (OSError, ValueError):
            continue
    return False


def open_bucket(url: str) -> Any:  # noqa: ANN401 - TensorStore is untyped
    """Open the objects of a store at a URL; ask for one first, to know soon that nobody answers.

    Raises:
        ValueError: TensorStore's, if it cannot be reached, or must not be read.
    """
    hasty = ts.KvStore.open(bucket_spec(url, "", retries=FIRST_RETRIES)).result()
    try:
        hasty.read("zarr.json").result()
    except ValueError as error:
        if _is_denied(error) or _is_unreachable(error):
            raise
    return ts.KvStore.open(bucket_spec(url, "")).result()


def bucket_error(url: str, key: str, error: Exception) -> CacheError:
    """Return what a bucket's refusal means, in a sentence."""
    if _is_denied(error):
        if url.startswith("gs://"):
            advice = "set GOOGLE_APPLICATION_CREDENTIALS to credentials that may"
        elif _aws_credentials() == "anonymous":
            advice = (
                "it is not public, and no AWS credentials were found: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        else:
            advice = "the AWS credentials that were found may not; set others"
        return CacheError(f"{url}: no permission for {key or 'its objects'}; {advice}")
    if _is_unreachable(error):
        reason = first_line(error).partition("CURL error ")[2].partition(" [")[0]
        return CacheError(
            f"{url}: the bucket cannot be reached ({reason}); check the URL, AWS_ENDPOINT_URL and "
            f"the network"
        )
    return CacheError(f"{url}: {key}: {first_line(error)}")


def _is_denied(error: Exception) -> bool:
    return any(word in str(error) for word in ("PERMISSION_DENIED", "UNAUTHENTICATED"))


def _is_unreachable(error: Exception) -> bool:
    return "CURL error" in str(error)
