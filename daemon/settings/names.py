"""AE titles and callers."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

# PS3.5 table 6.2-1, VR AE: 1 to 16 characters of the default repertoire,
# no backslash, no control character, not only spaces.
_AE_TITLE = re.compile(r"(?! +$)[ -\[\]-~]{1,16}")


def _ae_title(value: str) -> str:
    if not _AE_TITLE.fullmatch(value):
        raise ValueError(
            "an AE title has 1 to 16 printable ASCII characters without a backslash (PS3.5 6.2)"
        )
    return value.strip()


def _caller(value: str) -> str:
    title, separator, address = value.rpartition("@")
    if not separator:
        raise ValueError(
            'a caller is "AE@address", "AE@network/bits", "AE@*" or "*@*",'
            ' for instance "CR1@10.0.0.5"'
        )
    if title != "*":
        _ae_title(title)
    if address != "*":
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            raise ValueError(
                "the part after @ is an IP address, a network such as 10.0.0.0/24, or *"
            ) from None
    return value


AeTitle = Annotated[str, AfterValidator(_ae_title)]
Caller = Annotated[str, AfterValidator(_caller)]
