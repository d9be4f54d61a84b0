"""The machine's own time zone, also where it has no name that the time zone database knows."""

import io
import os
import struct
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

_LOCALTIME = Path("/etc/localtime")


def machine_zone() -> ZoneInfo:
    """By its name where it has one, else by the rules of its C library; UTC where there are none."""
    from tzlocal import get_localzone_name

    if (rule := os.environ.get("TZ", "").removeprefix(":")) != "":
        for read in (ZoneInfo, _zone_of_file, _zone_of_rule):
            # A zone may be unknown, or not one at all, in many ways.
            with suppress(Exception):
                return read(rule)
        return ZoneInfo("UTC")
    with suppress(Exception):
        return ZoneInfo(get_localzone_name())
    with suppress(Exception):  # a plain file, as in many images, says when but not where
        return _zone_of_file(str(_LOCALTIME))
    return ZoneInfo("UTC")


def agrees_with_machine(zone: ZoneInfo) -> bool:
    """Whether it is as late there as on the machine's own clock."""
    offset = datetime.now(zone).utcoffset()
    return offset is not None and offset.total_seconds() == time.localtime().tm_gmtoff


def _zone_of_file(name: str) -> ZoneInfo:
    with Path(name).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def _zone_of_rule(rule: str) -> ZoneInfo:
    """A zone of a POSIX rule such as `JST-9`: a file (RFC 8536) that holds nothing but the rule."""
    block = b"TZif2" + bytes(15) + struct.pack(">6L", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0"
    zone = ZoneInfo.from_file(io.BytesIO(block + block + b"\n" + rule.encode("ascii") + b"\n"), key=rule)
    if not agrees_with_machine(zone):
        raise ValueError("read otherwise than the C library does")
    return zone
