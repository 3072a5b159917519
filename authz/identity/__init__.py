"""Who the user of a request is: by what a trusted filter in the proxy verified, or by a token verified here."""

from authz.identity.header import UserNameHeader
from authz.identity.keys import JwksCache
from authz.identity.payload import PayloadHeader
from authz.identity.token import BearerToken

__all__ = ["BearerToken", "JwksCache", "PayloadHeader", "UserNameHeader"]
