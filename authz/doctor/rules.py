"""The table of all rules, and the page of the documentation that is made of it."""

from __future__ import annotations

from typing import Any, Final

from authz.doctor.envoy.certificate_rules import CERTIFICATE_RULES
from authz.doctor.envoy.check_rules import CHECK_RULES as ENVOY_CHECK_RULES
from authz.doctor.envoy.identity_rules import IDENTITY_RULES
from authz.doctor.envoy.model import EnvoyModel
from authz.doctor.envoy.route_rules import ROUTE_RULES
from authz.doctor.envoy.settings_rules import ENVOY_SETTINGS_RULES
from authz.doctor.envoy.transport_rules import TRANSPORT_RULES as ENVOY_TRANSPORT_RULES
from authz.doctor.findings import Rule
from authz.doctor.nginx.check_rules import CHECK_RULES as NGINX_CHECK_RULES
from authz.doctor.nginx.header_rules import HEADER_RULES
from authz.doctor.nginx.model import NginxModel
from authz.doctor.nginx.settings_rules import NGINX_SETTINGS_RULES
from authz.doctor.nginx.transport_rules import TRANSPORT_RULES as NGINX_TRANSPORT_RULES

ENVOY_RULES: Final[tuple[Rule[EnvoyModel], ...]] = (
    *ENVOY_CHECK_RULES,
    *ROUTE_RULES,
    *IDENTITY_RULES,
    *CERTIFICATE_RULES,
    *ENVOY_TRANSPORT_RULES,
    *ENVOY_SETTINGS_RULES,
)
NGINX_RULES: Final[tuple[Rule[NginxModel], ...]] = (
    *NGINX_CHECK_RULES,
    *HEADER_RULES,
    *NGINX_TRANSPORT_RULES,
    *NGINX_SETTINGS_RULES,
)
RULES: Final[tuple[Rule[Any], ...]] = (*ENVOY_RULES, *NGINX_RULES)
