"""Signed images as boards hold them, and updates: an image for each of a board's two slots in one file.

An image is a header of 256 bytes (`struct strop_header` in firmware/boot/boot.h) and its payload, vectors first.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from firmware.update.keys import SigningKey, signature_holds
from targets.model import Target, Update
from toolchain.errors import RunError

MAGIC = b"StropIm1"
FIELDS = struct.Struct("<8sIIII16s32s")
SIGNATURE_BYTES, HEADER_BYTES = 64, 256
PAYLOAD_UNIT = 32
"""A payload is filled up to the largest unit that flash is programmed by."""

VERSION_MOST = (1 << 32) - 2
_MAX_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class SlotImage:
    """One signed image. address: of the slot it is linked for. data: header and payload."""

    address: int
    version: int
    build_id: bytes
    target: str
    data: bytes

    @property
    def header(self) -> bytes:
        """The first 256 bytes."""
        return self.data[:HEADER_BYTES]

    @property
    def check(self) -> int:
        """CRC-32 of all bytes."""
        return zlib.crc32(self.data)

    def signed_by(self, public: bytes) -> bool:
        """True where the key with these 32 public bytes signed it."""
        return signature_holds(public, self.data[:SIGNATURE_BYTES], self.data[SIGNATURE_BYTES:])


def slot_room(update: Update) -> int:
    """The most bytes of a payload."""
    return update.slot_bytes - HEADER_BYTES


def sign_image(payload: bytes, address: int, version: int, build_id: bytes, target: str, key: SigningKey) -> SlotImage:
    """Put a signed header before a payload."""
    payload += b"\xff" * (-len(payload) % PAYLOAD_UNIT)
    fields = FIELDS.pack(MAGIC, address, len(payload), version, 0, build_id, target.encode("ascii"))
    message = fields + bytes(HEADER_BYTES - SIGNATURE_BYTES - FIELDS.size) + payload
    return SlotImage(address, version, build_id, target, key.sign(message) + message)


def parse_image(data: bytes, place: str) -> SlotImage:
    """The image that data begins with. Raises RunError E511 where it is none. The signature is not checked."""
    if len(data) < HEADER_BYTES:
        raise _damaged(place, f"{len(data)} B are no image")
    magic, address, length, version, zero, build_id, target = FIELDS.unpack_from(data, SIGNATURE_BYTES)
    if magic != MAGIC or zero:
        raise _damaged(place, "it does not begin with an image's header")
    if length % PAYLOAD_UNIT or len(data) < HEADER_BYTES + length:
        raise _damaged(place, f"an image has {len(data) - HEADER_BYTES:,} B, its header says {length:,} B")
    name = target.rstrip(b"\0").decode("ascii", "replace")
    return SlotImage(address, version, build_id, name, data[: HEADER_BYTES + length])


def pack_update(images: tuple[SlotImage, ...]) -> bytes:
    """A file with the images of one build, one for each slot."""
    return b"".join(image.data for image in images)


def split_update(data: bytes, place: str) -> tuple[SlotImage, ...]:
    """The images of an update. Raises RunError E511 where it is damaged."""
    if len(data) > _MAX_BYTES:
        raise _damaged(place, f"{len(data):,} B are no update")
    images: list[SlotImage] = []
    while data or not images:
        images.append(parse_image(data, place))
        data = data[len(images[-1].data) :]
    if len({(image.version, image.build_id, image.target) for image in images}) != 1:
        raise _damaged(place, "its images are of different builds")
    return tuple(images)


def image_for(images: tuple[SlotImage, ...], target: Target, address: int) -> SlotImage:
    """The image for a board's slot. Raises RunError E511 where there is none."""
    for image in images:
        if image.target != target.name:
            raise _damaged(target.name, f"the update is for {image.target}")
        if image.address == address:
            return image
    raise _damaged(target.name, f"the update has no image for the slot at {address:#010x}")


def _damaged(place: str, what: str) -> RunError:
    return RunError(511, place, what, "Make the update again")
