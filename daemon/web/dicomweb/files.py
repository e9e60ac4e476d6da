"""Bytes of stored objects, verified before the first of them is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import uuid4

from fastapi import HTTPException, Request
from fastapi.responses import StreamingResponse

from daemon.web.context import Site
from daemon.web.dicomweb.media import MULTIPART
from daemon.web.integrity import note
from storage.catalogue import StoredObject
from storage.errors import ObjectDamaged, ObjectMissing
from storage.objects import VerifiedObjects

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an answer: pieces of one file, each its offset and length in bytes."""

    path: Path
    media_type: str
    spans: tuple[tuple[int, int], ...]

    @property
    def size_bytes(self) -> int:
        """Of all the pieces."""
        return sum(length for _, length in self.spans)


def verified_path(request: Request, here: Site, one: StoredObject) -> Path:
    """Return where an object's sound bytes are.

    Raises 410 where retention has deleted them, and 500 where they are damaged or lost, which is
    noted for the administrator.
    """
    if one.removed:
        raise HTTPException(410, f"The object {one.sop_instance_uid} is past its retention time.")
    known = cast("VerifiedObjects | None", getattr(request.app.state, "verified", None))
    if known is None:
        known = request.app.state.verified = VerifiedObjects(here.objects)
    try:
        return known.path(one.sha256)
    except (ObjectDamaged, ObjectMissing) as error:
        lost = isinstance(error, ObjectMissing)
        note(here, request.state.person.login, one, lost=lost)
        what = "are lost" if lost else "are damaged"
        raise HTTPException(
            500,
            f"The stored bytes of {one.sop_instance_uid} {what}, and are not shown. It is noted for"
            " the administrator; the PACS may have a sound copy.",
        ) from None


def multipart(parts: Sequence[Part], inner: str) -> StreamingResponse:
    """Answer with the parts (RFC 2387), streamed; its length is told, so that a loss shows."""
    boundary = uuid4().hex
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {part.media_type}\r\n"
        f"Content-Length: {part.size_bytes}\r\n\r\n".encode("ascii")
        for part in parts
    ]
    end = f"\r\n--{boundary}--\r\n".encode("ascii")
    length = len(end) + sum(len(head) for head in heads) + sum(one.size_bytes for one in parts)

    def body() -> Iterator[bytes]:
        for head, part in zip(heads, parts, strict=True):
            yield head
            yield from chunks(part)
        yield end

    media_type = f'{MULTIPART}; type="{inner}"; boundary={boundary}'
    headers = {"Content-Length": str(length), "Content-Type": media_type}
    return StreamingResponse(body(), headers=headers)


def chunks(part: Part) -> Iterator[bytes]:
    """Read the pieces of a part."""
    with part.path.open("rb") as file:
        for offset, length in part.spans:
            file.seek(offset)
            while length > 0:
                chunk = file.read(min(length, CHUNK_BYTES))
                if not chunk:
                    raise ObjectDamaged("The file became shorter while it was sent.")
                length -= len(chunk)
                yield chunk
