"""The plain user name that a trusted filter verified, in a header of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.identity.single_header import is_name, single_value
from authz.model import Identity
from authz.reasons import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from authz.model import CheckRequest, Organization


@dataclass(frozen=True, slots=True)
class UserNameHeader:
    """A user name in `header`, tied to the organization that `organization_header` names.

    `organization_header` is None only for a listener that serves one organization, which the configuration
    checks. A plain name has no issuer and no `cnf`: prefer `PayloadHeader` if there is a token.
    """

    header: str
    organization_header: str | None = None

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:  # noqa: ARG002
        """The identity; see `authz.view.IdentitySource`. A joined value ("a, b") is ambiguous."""
        if self.organization_header is not None:
            stated = single_value(check, self.organization_header)
            if stated != organization.name.encode("utf-8"):
                raise Refused(Reason.IDENTITY_OF_ANOTHER_ORGANIZATION, f"{self.organization_header} names another")
        value = single_value(check, self.header)
        if b"," in value:
            raise Refused(Reason.IDENTITY_AMBIGUOUS, f"{self.header} holds several values joined")
        try:
            name = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused(Reason.IDENTITY_MALFORMED, f"{self.header} is not UTF-8") from error
        if not is_name(name):
            raise Refused(Reason.IDENTITY_MALFORMED, f"{self.header} is not a user name")
        return Identity(name)
