"""Identifies the user of a request: by the header of a trusted filter in the proxy, or by a token verified here."""

from authz.identity.header import UserNameHeader
from authz.identity.keys import JwksCache
from authz.identity.payload import PayloadHeader
from authz.identity.token import BearerToken

__all__ = ["BearerToken", "JwksCache", "PayloadHeader", "UserNameHeader"]
