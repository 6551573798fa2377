"""A public S3 bucket, read without an account: what is in it, and its bytes from any offset.

The only module that knows boto3; every fault of the network or the server leaves it as one of
the named errors below.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mindeye.errors import DataError, MindEyeError, MissingDependencyError

BUCKET = "natural-scenes-dataset"
REGION = "us-east-2"
"""Where NSD lies: the bucket is named in the NSD Data Manual, "How to get the data", the region in
AWS's Registry of Open Data; both are read without an account."""

BLOCK = 1 << 16
"""Bytes read at once; also what a cut connection may lose at most."""

SECONDS_OF_SILENCE = 60
"""After this long without a byte a connection counts as cut."""


class TransferError(MindEyeError):
    """A connection that failed or broke off; the same command goes on later."""


class ChangedError(TransferError):
    """A file in the bucket is no longer the one that was announced."""


class AbsentError(DataError):
    """A file that the bucket does not have."""


class RefusedError(DataError):
    """A file that the bucket does not give out."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as the bucket announces it.

    Parameters
    ----------
    key
        Place in the bucket, with `/` between folders.
    size
        Size of the file in bytes.
    etag
        The server's mark of this content, in quotes; empty where a server gives none. It is the
        MD5 of the content for files uploaded in one piece and ends in `-PARTS` for others
        (Amazon S3 API reference, type Object); no reader needs to know which.
    """

    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class Answer:
    """Bytes of a file on their way.

    Parameters
    ----------
    begin
        Offset of the first byte: 0 also where a server ignores that a later one was asked for.
    blocks
        The bytes; breaks off with a `TransferError`.
    """

    begin: int
    blocks: Iterator[bytes]


class Bucket:
    """A bucket behind an S3 client.

    Parameters
    ----------
    client
        boto3's S3 client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def head(self, key: str) -> RemoteFile:
        """Return size and mark of one file.

        Raises
        ------
        AbsentError, RefusedError, TransferError
            If there is no such file, it is not given out, or the server cannot be asked.
        """
        with _named(key):
            facts = self._client.head_object(Bucket=BUCKET, Key=key)
        size = facts.get("ContentLength")
        if not isinstance(size, int) or size < 0:
            raise TransferError(f"{key}: the server does not say how large the file is")
        return RemoteFile(key, size, str(facts.get("ETag", "")))

    def listed(self, prefix: str) -> list[RemoteFile]:
        """Return all files whose key begins with `prefix`; marks of empty folders are left out.

        Raises
        ------
        RefusedError, TransferError
            If the bucket gives out no list or cannot be asked.
        DataError
            If the server lists what was not asked for.
        """
        found = []
        with _named(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=BUCKET, Prefix=prefix):
                found += page.get("Contents", [])
        files = [RemoteFile(f["Key"], int(f["Size"]), str(f.get("ETag", ""))) for f in found]
        for file in files:
            if not file.key.startswith(prefix):
                raise DataError(f"the server lists {file.key!r} although {prefix!r} was asked for")
        return [file for file in files if not file.key.endswith("/")]

    def read(self, file: RemoteFile, start: int) -> Answer:
        """Ask for the bytes of a file from an offset on.

        Parameters
        ----------
        file
            What `head` or `listed` announced; another content under the same key is refused.
        start
            Offset of the first byte wanted.

        Raises
        ------
        ChangedError
            If mark or size differ from what was announced.
        AbsentError, RefusedError, TransferError
            As for `head`.
        """
        asked: dict[str, Any] = {"Range": f"bytes={start}-"} if start else {}
        if file.etag:
            asked["IfMatch"] = file.etag
        with _named(file.key):
            answer = self._client.get_object(Bucket=BUCKET, Key=file.key, **asked)
        # A server may ignore If-Match, so that mark and size are compared here as well.
        if file.etag and answer.get("ETag", file.etag) != file.etag:
            answer["Body"].close()
            raise ChangedError(f"{file.key} was changed in the bucket since it was listed")
        begin, total = _extent(answer)
        if total is not None and total != file.size:
            answer["Body"].close()
            raise ChangedError(
                f"{file.key}: the server sends {total} bytes but announced {file.size}"
            )
        return Answer(begin, _blocks(answer["Body"], file.key))


def open_bucket(endpoint: str = "") -> Bucket:
    """Return NSD's public bucket, or the same bucket on another server.

    Parameters
    ----------
    endpoint
        Address of the other server, empty for Amazon's.

    Raises
    ------
    MissingDependencyError
        If boto3 is not installed.
    DataError
        If the settings of boto3 on this machine (AWS_PROFILE and the like) are broken.
    """
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise MissingDependencyError("boto3", "fetch") from error
    settings = Config(
        signature_version=UNSIGNED,
        region_name=REGION,
        s3={"addressing_style": "path"},
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=20,
        read_timeout=SECONDS_OF_SILENCE,
        # Checksums of our own: boto3's cover whole files only, not the rest of a cut one.
        response_checksum_validation="when_required",
    )
    try:
        client = boto3.client("s3", endpoint_url=endpoint or None, config=settings)
    except (BotoCoreError, ValueError) as error:
        raise DataError(f"boto3 cannot be set up: {error}; check the AWS_* variables") from error
    return Bucket(client)


def _extent(answer: dict[str, Any]) -> tuple[int, int | None]:
    """Return offset of the first byte and size of the whole file, None where it is not told."""
    match = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", str(answer.get("ContentRange", "")))
    if match:
        return int(match[1]), int(match[2])
    length = answer.get("ContentLength")
    return 0, length if isinstance(length, int) else None


def _blocks(body: Any, key: str) -> Iterator[bytes]:
    """Yield a body's bytes and close it, also where the reader stops early."""
    with contextlib.closing(body):
        while True:
            with _named(key):
                block = body.read(BLOCK)
            if not block:
                return
            yield block


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
    """Turn what boto3 and the layers below it raise into this module's errors."""
    from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        raise _refusal(key, error.response) from error
    except EndpointConnectionError as error:
        raise TransferError(f"no connection for {key}: {error}; is there a network?") from error
    except (BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
        raise TransferError(f"{key}: the transfer broke off ({error})") from error


def _refusal(key: str, response: dict[str, Any]) -> MindEyeError:
    """Return the error for a server's answer that is not the file."""
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status == 404:
        return AbsentError(f"{key} is not in the bucket (404)")
    if status in (401, 403):
        return RefusedError(f"{key} is not given out by the bucket ({status})")
    if status in (412, 416):
        return ChangedError(f"{key} was changed in the bucket since it was listed")
    if status >= 500 or status == 429:
        return TransferError(f"{key}: the server cannot answer now ({status})")
    code = response.get("Error", {}).get("Code", "no code")
    return DataError(f"{key}: the server answers {status} ({code})")
