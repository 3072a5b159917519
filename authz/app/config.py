"""The settings: a TOML file, and `AUTHZ_…` variables over it. Unknown settings are errors, defaults are safe."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography import x509
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from authz.errors import ConfigError
from authz.headers import READABLE, WITH_HOPS
from authz.model import CertificateForm, StatementForm

HeaderName = Annotated[str, Field(pattern=r"^[a-z0-9!#$%&'*+.^`|~-]{1,64}$")]
"""A header's name in lower case; no underscore, because servers fold it into "-"."""

EndpointPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-]$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CertificateSettings(_Section):
    """Which header a listener reads the certificate from."""

    header: HeaderName = Field("x-forwarded-client-cert", description="The one certificate header the listener takes.")
    form: CertificateForm = Field(
        CertificateForm.XFCC, description="Its form: xfcc, xfcc-json, rfc9440, escaped-pem or base64-der."
    )
    chain_header: HeaderName | None = Field(
        None, description="The header of the chain, for rfc9440; without it one that arrives refuses."
    )

    @field_validator("form")
    @classmethod
    def _readable(cls, form: CertificateForm) -> CertificateForm:
        if form not in READABLE:
            raise ValueError(f"{form} cannot be read by this version")
        return form

    @model_validator(mode="after")
    def _fitting(self) -> CertificateSettings:
        """Another proxy's form under Envoy's name is a mistake, and a chain that nobody reads is one too."""
        if self.form not in WITH_HOPS and "header" not in self.model_fields_set:
            raise ValueError(f"{self.form} needs the name of its header")
        if self.chain_header is not None and self.form is not CertificateForm.RFC9440:
            raise ValueError(f"{self.form} has no chain_header")
        if self.chain_header == self.header:
            raise ValueError("header and chain_header are one")
        return self


class StatementSettings(_Section):
    """How the proxy states whether a client certificate was shown."""

    header: HeaderName = Field("x-authz-peer", description="The header in which the proxy states it.")
    form: StatementForm = Field(
        StatementForm.ENVOY_FINGERPRINT,
        description="envoy-fingerprint or nginx-verify; none believes the certificate header's silence.",
    )


class UserNameSettings(_Section):
    """A user name that a trusted filter verified."""

    kind: Literal["user-name"]
    header: HeaderName = Field(description="The header with the user's name.")
    organization_header: HeaderName | None = Field(
        None, description="The header with the organization's name; needed unless the listener serves one organization."
    )


class PayloadSettings(_Section):
    """The payload of a token that the proxy verified."""

    kind: Literal["payload"]
    header: HeaderName = Field("x-authz-payload", description="The header with the payload, as base64url of its JSON.")


class BearerSettings(_Section):
    """The bearer token in the Authorization header, verified here with the organization's key set."""

    kind: Literal["token"]


IdentitySettings = Annotated[UserNameSettings | PayloadSettings | BearerSettings, Field(discriminator="kind")]


class HopSettings(_Section):
    """A gateway in front of the listener's own proxy, whose header element is skipped once it proved itself."""

    anchors: Path = Field(description="PEM file of the CAs that gateways' certificates must verify to.")
    names: tuple[str, ...] = Field(min_length=1, description="DNS or URI names of the gateways, compared exactly.")
    crl_required: bool = Field(
        False, description="Refuse a gateway for which no current CRL speaks; one that a CRL lists is refused always."
    )


class TlsSettings(_Section):
    """Mutual TLS with the proxy, for a listener at a TCP address; files are read again when they change."""

    certificate: Path = Field(description="PEM file of the service's certificate, its chain behind it.")
    key: Path = Field(description="PEM file of its key.")
    client_ca: Path = Field(description="PEM file of the CAs that the proxy's certificate must verify to.")
    names: tuple[str, ...] = Field(min_length=1, description="DNS or URI names of the proxies, compared exactly.")


class ListenerSettings(_Section):
    """A listener: where a proxy asks, and what is believed there."""

    name: str = Field("envoy", pattern=r"^[a-z0-9-]{1,32}$", description="The listener's name in logs and metrics.")
    address: str = Field(
        "unix:/run/authz/authz.sock", description="unix:/path, 127.0.0.1:port, or with tls any IP:port."
    )
    socket_mode: int = Field(0o660, ge=0, le=0o777, description="Rights of a Unix socket.")
    socket_group: str | None = Field(None, description="Group of a Unix socket; the proxy must be in it.")
    unsafe_plaintext: bool = Field(
        False, description="Listen beyond loopback without tls: whoever can connect can claim any certificate."
    )
    tls: TlsSettings | None = Field(None, description="Mutual TLS with the proxy; none if absent.")
    backlog: int = Field(1024, ge=1, le=65535, description="Connections that may wait to be accepted.")
    prefix: EndpointPath = Field("/v1/check", description="Where Envoy asks with path_prefix.")
    fixed_path: EndpointPath = Field("/v1/verify", description="Where Envoy asks with path_override.")
    auth_request_path: EndpointPath = Field("/v1/auth", description="Where nginx asks with auth_request.")
    certificate: CertificateSettings = Field(default_factory=CertificateSettings)
    statement: StatementSettings = Field(default_factory=StatementSettings)
    identity: tuple[IdentitySettings, ...] = Field(
        (PayloadSettings(kind="payload", header="x-authz-payload"),),
        min_length=1,
        description="Who the user is; several sources must agree.",
    )
    hops: tuple[HopSettings, ...] = Field((), description="The gateways in front, the nearest first; none if absent.")
    organizations: tuple[str, ...] | None = Field(None, description="The organizations served; all if absent.")

    @field_validator("socket_mode", mode="before")
    @classmethod
    def _octal(cls, value: object) -> object:
        """A mode is written as "0660"."""
        return int(value, 8) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _tied(self) -> ListenerSettings:
        """A bare user name says nothing of its organization."""
        one = self.organizations is not None and len(self.organizations) == 1
        for source in self.identity:
            if isinstance(source, UserNameSettings) and source.organization_header is None and not one:
                raise ValueError("user-name needs organization_header, or a listener that serves one organization")
        return self

    @model_validator(mode="after")
    def _stated(self) -> ListenerSettings:
        """What one header says cannot vouch for itself, and a gateway must have somewhere to write."""
        if self.statement.header in {self.certificate.header, self.certificate.chain_header}:
            raise ValueError("the statement needs a header of its own")
        if self.hops and self.certificate.form not in WITH_HOPS:
            raise ValueError(f"{self.certificate.form} has no elements for hops")
        return self

    @model_validator(mode="after")
    def _reached(self) -> ListenerSettings:
        """One transport, and nothing that is set and means nothing."""
        if self.tls is not None and (self.address.startswith("unix:") or self.unsafe_plaintext):
            raise ValueError("tls is for a TCP address, and goes with no unsafe_plaintext")
        return self


class OpsSettings(_Section):
    """The operators' listener."""

    address: str = Field("127.0.0.1:9901", description="Where /healthz, /readyz and /metrics are; loopback only.")


class LimitSettings(_Section):
    """What one service takes on."""

    workers: int = Field(1, ge=1, le=256, description="Processes that answer checks; as many as there are cores.")
    worker_memory: int = Field(
        1024, ge=128, description="MiB of its own at which a worker is replaced; it never gets more than twice that."
    )
    memory: int | None = Field(
        None,
        ge=32,
        description="MiB of it in which a worker remembers, for all tenants; a quarter of worker_memory if absent.",
    )
    concurrent_checks: int = Field(1024, ge=1, description="Checks of a worker that may wait at once; beyond them 503.")
    check_seconds: float = Field(0.3, gt=0, le=30, description="How long a check may wait; below the proxy's time-out.")
    stop_seconds: float = Field(10, gt=0, le=300, description="How long checks in flight may take when stopping.")

    @model_validator(mode="after")
    def _fitting(self) -> LimitSettings:
        """What is remembered comes on top of what a worker is made of, and of what a check needs."""
        if self.memory is not None and self.memory > self.worker_memory // 2:
            raise ValueError("memory is more than half of worker_memory")
        return self

    @property
    def memory_bytes(self) -> int:
        """Bytes in which a worker remembers what it read and verified."""
        return (self.memory or self.worker_memory // 4) << 20


class LogSettings(_Section):
    """What is written to the log."""

    decisions: bool = Field(True, description="One line a decision.")


class HistorySettings(_Section):
    """What is kept of refused requests, and of those that `observe` let pass, for `authz decisions`."""

    rows: int = Field(
        20_000,
        ge=0,
        le=1_000_000,
        description="Decisions kept, of up to 4 KB: a larger one counts as several. 0 keeps none.",
    )
    days: int = Field(30, ge=1, le=3650, description="Days after which a decision is forgotten.")


_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _duration(value: object) -> object:
    """A time is written as "90s", "15m", "12h" or "2d"."""
    if isinstance(value, str) and value[-1:] in _UNITS and value[:-1].isdecimal():
        return timedelta(seconds=int(value[:-1]) * _UNITS[value[-1]])
    if isinstance(value, timedelta):
        return value
    raise ValueError('a time is written as "90s", "15m", "12h" or "2d"')


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class ModeSettings(_Section):
    """What is let pass of certificates whose revocation is unknown; of one issuer's, of one organization's."""

    issuer: str | None = Field(
        None, description='The issuer\'s name as RFC 4514 writes it: "CN=CA,O=Example"; all if absent.'
    )
    organization: str | None = Field(None, description="The organization's name; all if absent.")
    grace: Duration = Field(timedelta(0), description="How long after its nextUpdate a CRL goes on counting.")
    unsafe_soft_fail: bool = Field(False, description="Whether certificates pass for which there is no current CRL.")

    @field_validator("issuer")
    @classmethod
    def _name(cls, issuer: str | None) -> str | None:
        try:
            if issuer is not None:
                x509.Name.from_rfc4514_string(issuer)
        except ValueError as error:
            raise ValueError("not a name as RFC 4514 writes it: CN=Issuing CA,O=Example") from error
        return issuer


class CrlSettings(_Section):
    """Where CRLs come from besides `authz crl add`, and what is let pass while one is missing."""

    folder: Path | None = Field(None, description="Where the last good copies are kept; beside the database if absent.")
    files: tuple[Path, ...] = Field((), description="Files and folders of CRLs, in DER or PEM; a change is noticed.")
    urls: tuple[str, ...] = Field((), description="URLs of CRLs, asked from the start.")
    points: bool = Field(
        True, description="Whether the distribution points of certificates whose path verified are asked."
    )
    points_each: int = Field(64, ge=1, le=10_000, description="Distribution points of one organization, at most.")
    hosts: tuple[str, ...] = Field((), description="Hosts that CRLs may come from: a name, or *.name; all if absent.")
    networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that are allowed though they are not public: 127.0.0.0/8, 10.1.0.0/16."
    )
    ca_file: Path | None = Field(None, description="PEM file of the CAs of https servers; the system's if absent.")
    max_octets: int = Field(128 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024, description="Octets of one CRL, at most.")
    kept_octets: int = Field(
        1024 * 1024 * 1024,
        ge=1024 * 1024,
        description="Octets of all CRLs that sources gave, on the disk and in the memory that processes share.",
    )
    fetch_seconds: float = Field(60, gt=0, le=600, description="How long one transfer may take.")
    first_sight_seconds: float = Field(
        0.25, ge=0, le=30, description="How long a check waits for a CRL never asked for; below limits.check_seconds."
    )
    floor: Duration = Field(timedelta(seconds=30), description="The least time between two fetches of one source.")
    ceiling: Duration = Field(timedelta(minutes=15), description="The most time between two fetches of one source.")
    ahead: Duration = Field(timedelta(hours=1), description="How long before its nextUpdate a CRL is asked for again.")
    grace: Duration = Field(timedelta(0), description="How long after its nextUpdate a CRL goes on counting.")
    unsafe_soft_fail: bool = Field(False, description="Whether certificates pass for which there is no current CRL.")
    exception: tuple[ModeSettings, ...] = Field((), description="Other rules for some issuers or organizations.")


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="AUTHZ_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    database: str = Field("sqlite:///authz.db", description="The directory: sqlite:///relative or sqlite:////absolute.")
    listener: tuple[ListenerSettings, ...] = Field(
        (ListenerSettings(),), min_length=1, description="The listeners, one for each proxy in front."
    )
    ops: OpsSettings = Field(default_factory=OpsSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    history: HistorySettings = Field(default_factory=HistorySettings)
    crl: CrlSettings = Field(default_factory=CrlSettings)

    @field_validator("listener")
    @classmethod
    def _distinct(cls, listeners: tuple[ListenerSettings, ...]) -> tuple[ListenerSettings, ...]:
        if len({one.name for one in listeners}) < len(listeners):
            raise ValueError("two listeners have one name")
        if "ops" in {one.name for one in listeners}:
            raise ValueError("ops is the name of the operators' listener")
        return listeners

    @model_validator(mode="after")
    def _in_time(self) -> Settings:
        """A check that waits for a CRL must be answered before the check's own time is over."""
        if self.crl.first_sight_seconds >= self.limits.check_seconds:
            raise ValueError("crl.first_sight_seconds must be below limits.check_seconds")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A variable wins over the file."""
        return env_settings, init_settings


def with_workers(settings: Settings, workers: int | None) -> Settings:
    """The settings with another number of workers, if one is given."""
    if workers is None:
        return settings
    return settings.model_copy(update={"limits": settings.limits.model_copy(update={"workers": workers})})


def load_settings(path: Path | None = None) -> Settings:
    """The settings of a TOML file (none: defaults), with `AUTHZ_…` variables over them. Raises `ConfigError`."""
    return parse_settings({} if path is None else _read(path), origin=str(path or "environment"))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check the path given to --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="see docs/configuration.md for an example") from error


def parse_settings(values: dict[str, Any], *, origin: str) -> Settings:
    """The settings in `values`. Raises `ConfigError` that names every setting that is wrong."""
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"{origin}: {problems}", hint="see docs/configuration.md for every setting") from error
