"""Who the user of a request is, by what a trusted filter in the proxy verified."""

from authz.identity.header import UserNameHeader
from authz.identity.payload import PayloadHeader

__all__ = ["PayloadHeader", "UserNameHeader"]
