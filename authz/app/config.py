"""The settings: a TOML file, and `AUTHZ_…` variables over it. Unknown settings are errors, defaults are safe."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeGuard, get_args

from cryptography import x509
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from authz.app.variables import DEFAULT_DATABASE, PREFIX, setting_of, variables
from authz.errors import ConfigError
from authz.headers import READABLE, WITH_ELEMENTS
from authz.model import CertificateForm, ClientRequestHeaders, IndicatorForm, KeptAllowed

HeaderText = Annotated[str, Field(pattern=r"^(|[!-~]|[!-~][ -~]{0,126}[!-~])$")]
"""A header's value: printable ASCII, without blanks at its ends, where servers drop them."""

_HEX_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")

_EMPTY = re.compile(r"(?:-----(?:BEGIN|END)(?: |%20)CERTIFICATE-----|%[0-9A-Fa-f]{2}|\W)*")
"""What is left of a template around an empty value, which proxies also write for a certificate too large for them."""

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
    chain_header: HeaderName | None = Field(None, description="The chain's, for rfc9440; if absent, a chain refuses.")
    none: tuple[HeaderText, ...] = Field(
        (),
        description='What a proxy that always sends the header writes for no certificate: [""], ["::"] or ["(null)"]; '
        "without client_cert_indicator, a request without the header is refused then.",
    )

    @field_validator("form")
    @classmethod
    def _readable(cls, form: CertificateForm) -> CertificateForm:
        if form not in READABLE:
            raise ValueError(f"{form} cannot be read by this version")
        return form

    @model_validator(mode="after")
    def _fitting(self) -> CertificateSettings:
        """Another proxy's form under Envoy's name is a mistake, and so is a chain that no form reads."""
        if self.form not in WITH_ELEMENTS and "header" not in self.model_fields_set:
            raise ValueError(f"{self.form} needs the name of its header")
        if self.chain_header is not None and self.form is not CertificateForm.RFC9440:
            raise ValueError(f"{self.form} has no chain_header")
        if self.none and self.form in WITH_ELEMENTS:
            raise ValueError(f"{self.form} has no value for none: without a certificate the header is absent")
        return self


class ClientCertIndicatorSettings(_Section):
    """The header in which the proxy states whether the client presented a certificate."""

    header: HeaderName = Field("x-authz-peer", description="The header in which the proxy states it.")
    form: IndicatorForm = Field(
        IndicatorForm.ENVOY_FINGERPRINT,
        description="envoy-fingerprint, nginx-verify (also Apache's SSL_CLIENT_VERIFY), sha256 (hexadecimal) or flag; "
        "none takes an absent certificate header for no certificate, and warns at every start.",
    )
    prefix: HeaderText = Field("", description='What stands before a sha256: "sha256=", for instance.')
    presented: tuple[HeaderText, ...] = Field((), description='The values of a flag for a certificate: ["1"].')
    none: tuple[HeaderText, ...] = Field(
        (), description='The values of a flag, or of sha256, for no certificate, each with a word of its own: ["0"].'
    )

    @model_validator(mode="after")
    def _fitting(self) -> ClientCertIndicatorSettings:
        """A flag has values for both, which differ; a digest none that could be one; the others fixed values."""
        flag, digest = self.form is IndicatorForm.FLAG, self.form is IndicatorForm.SHA256
        if (self.presented and not flag) or (self.none and not (flag or digest)) or (self.prefix and not digest):
            raise ValueError(f"{self.form} has values of its own: prefix is for sha256, presented and none for flag")
        if flag and not (self.presented and self.none):
            raise ValueError('flag needs the values for a certificate and for none: presented = ["1"], none = ["0"]')
        if digest and (not self.none or any(_EMPTY.fullmatch(value.removeprefix(self.prefix)) for value in self.none)):
            raise ValueError(
                'sha256 needs a word for no certificate, as none = ["none"]: an empty digest is also that of a '
                "certificate too large for the proxy"
            )
        if set(self.presented) & set(self.none) or "" in {*self.presented, *(self.none if flag else ())}:
            raise ValueError("presented and none have a value in common, or one that is empty")
        if digest and any(_HEX_DIGEST.search(value) for value in self.none):
            raise ValueError("a value for none that holds a SHA-256")
        return self


_PRESETS = {
    "x-forwarded": ClientRequestHeaders("x-forwarded-host", None, "x-forwarded-method", "x-forwarded-uri"),
    "x-original": ClientRequestHeaders(None, "x-original-url", "x-original-method", None),
}


class ClientRequestSettings(_Section):
    """Where host, method and target of the client's request are, if the proxy asks with a request of its own."""

    preset: Literal["host", "x-forwarded", "x-original"] = Field(
        "host",
        description="host: in the request itself. x-forwarded: X-Forwarded-Host, -Method and -Uri. x-original: "
        "X-Original-URL and X-Original-Method.",
    )
    host_header: HeaderName | None = Field(None, description="A header of another name for the host.")
    url_header: HeaderName | None = Field(None, description="A header of another name for the whole URL.")
    method_header: HeaderName | None = Field(None, description="A header of another name for the method.")
    target_header: HeaderName | None = Field(None, description="A header of another name for path and query.")

    @model_validator(mode="after")
    def _one_place(self) -> ClientRequestSettings:
        """Each fact has one place."""
        named = self.model_fields_set - {"preset"}
        if named and self.preset != "host":
            raise ValueError("preset excludes headers of one's own")
        if self.url_header is not None and named & {"host_header", "target_header"}:
            raise ValueError("url_header holds host and target already")
        return self

    @property
    def headers(self) -> ClientRequestHeaders | None:
        """The headers' names; None if the request itself is the client's."""
        own = ClientRequestHeaders(self.host_header, self.url_header, self.method_header, self.target_header)
        return _PRESETS.get(self.preset, None if own == ClientRequestHeaders() else own)


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
    status_header: HeaderName = Field(
        "x-authz-token-status", description="The header in which Envoy says why there is no payload."
    )


class BearerSettings(_Section):
    """The token in a header, verified here with the organization's key set."""

    kind: Literal["token"]
    header: HeaderName = Field(
        "authorization", description="The header with the token: authorization behind Bearer, any other alone."
    )


IdentitySettings = Annotated[UserNameSettings | PayloadSettings | BearerSettings, Field(discriminator="kind")]


class TrustedProxySettings(_Section):
    """A gateway in front of the listener's own proxy, whose header element is skipped once it is authenticated."""

    anchors: Path = Field(description="PEM file of the CAs that gateways' certificates must verify to.")
    names: tuple[str, ...] = Field(min_length=1, description="DNS or URI names of the gateways, compared exactly.")
    crl_required: bool = Field(False, description="Refuse a gateway without a current CRL; a revoked one always.")


class TlsSettings(_Section):
    """Mutual TLS with proxies, or operators' clients, at a TCP address; files are reloaded when they change."""

    certificate: Path = Field(description="PEM file of the service's certificate, its chain behind it.")
    key: Path = Field(description="PEM file of its key.")
    client_ca: Path = Field(description="PEM file of the CAs that the client's certificate must verify to.")
    names: tuple[str, ...] = Field(
        min_length=1, description="DNS or URI names of the clients (proxies, or Prometheus), compared exactly."
    )


def _one_transport(section: ListenerSettings | OpsSettings) -> None:
    """No setting without effect. Raises `ValueError`."""
    if section.tls is not None and (section.address.startswith("unix:") or section.unsafe_plaintext):
        raise ValueError("tls needs a TCP address, and excludes unsafe_plaintext")


def _mode(value: object) -> int:
    """The bits of a file mode, written in octal as text: the integer 440 would be the mode 0670."""
    if not isinstance(value, str) or not re.fullmatch(r"0[0-7]{3}", value):
        raise ValueError('a mode is text of four octal digits, the first 0: write "0660", with its quotes')
    mode = int(value, 8)
    if mode & stat.S_IRWXO:
        raise ValueError(
            f"{value} lets every account of the machine connect, and so claim any certificate: "
            'write "0660", and set socket_group to a group that the proxy is in'
        )
    return mode


Mode = Annotated[int, BeforeValidator(_mode)]


class ListenerSettings(_Section):
    """A listener: where a proxy asks, and what is trusted there."""

    name: str = Field("envoy", pattern=r"^[a-z0-9-]{1,32}$", description="The listener's name in logs and metrics.")
    address: str = Field("unix:/run/authz/authz.sock", description="unix:/path, 127.0.0.1:port; with tls any IP:port.")
    socket_mode: Mode = Field(
        "0660", validate_default=True, description='Mode of a Unix socket, as text: "0660"; closed to other accounts.'
    )
    socket_group: str | None = Field(None, description="Group of a Unix socket; the proxy must be in it.")
    unsafe_plaintext: bool = Field(
        False, description="Listen beyond loopback without tls: every client that connects can claim any certificate."
    )
    tls: TlsSettings | None = Field(None, description="Mutual TLS with the proxy; none if absent.")
    backlog: int = Field(1024, ge=1, le=65535, description="Connections that may wait to be accepted.")
    prefix: EndpointPath = Field("/v1/check", description="Where Envoy asks with path_prefix.")
    fixed_path: EndpointPath = Field("/v1/verify", description="Where Envoy asks with path_override.")
    auth_request_path: EndpointPath = Field("/v1/auth", description="Where nginx asks with auth_request.")
    certificate: CertificateSettings = Field(default_factory=CertificateSettings)
    client_cert_indicator: ClientCertIndicatorSettings = Field(default_factory=ClientCertIndicatorSettings)
    client_request: ClientRequestSettings = Field(default_factory=ClientRequestSettings)
    identity: tuple[IdentitySettings, ...] = Field(
        (PayloadSettings(kind="payload", header="x-authz-payload"),),
        min_length=1,
        description="Who the user is; several sources must agree.",
    )
    trusted_proxies: tuple[TrustedProxySettings, ...] = Field(
        (), description="The gateways in front, the nearest first; none if absent."
    )
    organizations: tuple[str, ...] | None = Field(None, description="The organizations served; all if absent.")

    @model_validator(mode="after")
    def _tied(self) -> ListenerSettings:
        """A bare user name does not identify its organization."""
        single = self.organizations is not None and len(self.organizations) == 1
        for source in self.identity:
            if isinstance(source, UserNameSettings) and source.organization_header is None and not single:
                raise ValueError("user-name needs organization_header, or a listener that serves one organization")
        return self

    @model_validator(mode="after")
    def _stated(self) -> ListenerSettings:
        """A value that is also written for other reasons needs a statement, and a gateway an element of its own."""
        # Envoy alone writes an empty digest for nothing but no certificate, and it sends no empty header.
        envoys = self.client_cert_indicator.form is IndicatorForm.ENVOY_FINGERPRINT
        if envoys and self.certificate.form not in {*WITH_ELEMENTS, CertificateForm.ESCAPED_PEM}:
            raise ValueError(f"envoy-fingerprint is Envoy's, not of {self.certificate.form}: use flag or sha256")
        unstated = envoys or self.client_cert_indicator.form is IndicatorForm.NONE
        if unstated and any(map(_EMPTY.fullmatch, self.certificate.none)):
            raise ValueError(
                "certificate.none is a value that proxies also write for a certificate too large for them: "
                "client_cert_indicator must state whether one was shown, in words (flag, nginx-verify or sha256)"
            )
        if self.trusted_proxies and self.certificate.form not in WITH_ELEMENTS:
            raise ValueError(f"{self.certificate.form} has no elements for trusted_proxies")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> ListenerSettings:
        """A header holds one fact: none confirms itself."""
        request, indicator = self.client_request.headers or ClientRequestHeaders(), self.client_cert_indicator
        facts = [self.certificate.header, self.certificate.chain_header, request.method, request.target]
        facts.append(request.url or request.host or "host")
        for key in ("header", "organization_header"):
            facts += {getattr(source, key, None) for source in self.identity}
        facts += [] if indicator.form is IndicatorForm.NONE else [indicator.header]
        twice = [name for name in facts if name is not None and facts.count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is named for two things, each of which needs a header of its own")
        return self

    @model_validator(mode="after")
    def _bounded(self) -> ListenerSettings:
        """A client that can set the header of the host chooses the organization: at most among those listed."""
        request = self.client_request.headers
        if request is None or (request.host or request.url) in {None, "host"}:
            return self
        bare = [source for source in self.identity if isinstance(source, UserNameSettings)]
        if self.organizations is None or any(source.organization_header is None for source in bare):
            raise ValueError(
                "client_request takes the host from a header, which the client may be able to set: "
                "list the listener's organizations, and give user-name its organization_header"
            )
        return self

    @model_validator(mode="after")
    def _reached(self) -> ListenerSettings:
        """One transport."""
        _one_transport(self)
        return self


class OpsSettings(_Section):
    """The operators' listeners."""

    address: str = Field(
        "127.0.0.1:9901",
        description="Where /healthz, /readyz and /metrics are: unix:/path, 127.0.0.1:port; with tls any IP:port.",
    )
    unsafe_plaintext: bool = Field(
        False,
        description="Listen beyond loopback without tls: every client that connects reads the names of organizations "
        "and of sources of CRLs.",
    )
    tls: TlsSettings | None = Field(None, description="Mutual TLS with those who may read; none if absent.")
    health_probe_address: str | None = Field(
        None,
        description="Where /healthz and /readyz are besides, in plain text, for probes, which show no certificate: "
        "unix:/path or 127.0.0.1:port.",
    )

    @model_validator(mode="after")
    def _reached(self) -> OpsSettings:
        """One transport."""
        _one_transport(self)
        return self


class LimitSettings(_Section):
    """Bounds of the service."""

    workers: int = Field(1, ge=1, le=256, description="Processes that answer checks; as many as there are cores.")
    worker_memory: int = Field(
        1024, ge=128, description="MiB of its own at which a worker is replaced; twice that is its hard limit."
    )
    cache_memory: int | None = Field(
        None, ge=32, description="MiB of it for a worker's caches; a quarter of worker_memory if absent."
    )
    concurrent_checks: int = Field(1024, ge=1, description="Checks of a worker that may wait at once; beyond them 503.")
    check_seconds: float = Field(0.3, gt=0, le=30, description="How long a check may wait; below the proxy's time-out.")
    stop_seconds: float = Field(10, gt=0, le=300, description="How long checks in flight may take when stopping.")

    @model_validator(mode="after")
    def _fitting(self) -> LimitSettings:
        """Caches come on top of a worker's code and of the memory that checks need."""
        if self.cache_memory is not None and self.cache_memory > self.worker_memory // 2:
            raise ValueError("cache_memory is more than half of worker_memory")
        return self

    @property
    def cache_bytes(self) -> int:
        """Bytes for a worker's caches."""
        return (self.cache_memory or self.worker_memory // 4) << 20


class LogSettings(_Section):
    """What is written to the log."""

    decisions: bool = Field(True, description="One line for each decision; false: only for each refusal.")


class HistorySettings(_Section):
    """The history of refused requests, and of those that `observe` allowed, for `authz decisions`."""

    rows: int = Field(
        20_000, ge=0, le=1_000_000, description="Decisions kept; one above 4 KB counts as several. 0 keeps none."
    )
    days: int = Field(30, ge=1, le=3650, description="Days after which a decision is deleted.")
    allowed: KeptAllowed = Field(
        KeptAllowed.NONE,
        description="Allowed requests that are kept as well: `none`; `first-per-day`, of each user; or `all`.",
    )


_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _duration(value: object) -> object:
    """A time is written as "90s", "15m", "12h" or "2d"."""
    if isinstance(value, str) and value[-1:] in _UNITS and value[:-1].isdecimal():
        return timedelta(seconds=int(value[:-1]) * _UNITS[value[-1]])
    if isinstance(value, timedelta):
        return value
    raise ValueError('a time is written as "90s", "15m", "12h" or "2d"')


Duration = Annotated[timedelta, BeforeValidator(_duration)]


def _network(value: object) -> object:
    """A network is written as "10.1.0.0/16" or "fd00::/8"."""
    try:
        return ip_network(str(value))
    except ValueError as error:
        raise ValueError(f'{error}; a network is written as "10.1.0.0/16" or "fd00::/8"') from error


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]


class ModeSettings(_Section):
    """How certificates of one issuer, or of one organization, are judged while their revocation is unknown."""

    issuer: str | None = Field(None, description="The issuer's RFC 4514 name, as CN=CA,O=Example; all if absent.")
    organization: str | None = Field(None, description="The organization's name; all if absent.")
    grace: Duration = Field(timedelta(0), description="How long after its nextUpdate a CRL still counts.")
    unsafe_soft_fail: bool = Field(False, description="Whether certificates without a current CRL are allowed.")

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
    """Where CRLs come from besides `authz crl add`, and how certificates are judged while one is missing."""

    folder: Path | None = Field(
        None,
        description="Where the last good CRLs are kept; beside SQLite's file if absent, and needed with PostgreSQL.",
    )
    files: tuple[Path, ...] = Field((), description="Files and folders of CRLs, in DER or PEM; a change is noticed.")
    urls: tuple[str, ...] = Field((), description="URLs of CRLs, fetched from the start.")
    distribution_points: bool = Field(True, description="Whether those of verified paths are asked for CRLs.")
    distribution_points_each: int = Field(64, ge=1, le=10_000, description="Those of one organization, at most.")
    hosts: tuple[str, ...] = Field((), description="Hosts that CRLs may come from: a name, or *.name; all if absent.")
    networks: tuple[Network, ...] = Field(
        (), description="Networks that are allowed though they are not public: 127.0.0.0/8, 10.1.0.0/16."
    )
    ca_file: Path | None = Field(None, description="PEM file of the CAs of https servers; the system's if absent.")
    max_bytes: int = Field(128 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024, description="Bytes of one CRL, at most.")
    kept_bytes: int = Field(
        1024 * 1024 * 1024, ge=1024 * 1024, description="Bytes of all CRLs from sources, on disk and in shared memory."
    )
    fetch_seconds: float = Field(60, gt=0, le=600, description="How long one transfer may take.")
    first_fetch_wait_seconds: float = Field(
        0.25, ge=0, le=30, description="How long a check waits for a CRL's first fetch; below limits.check_seconds."
    )
    min_interval: Duration = Field(timedelta(seconds=30), description="Least time between a source's fetches.")
    max_interval: Duration = Field(timedelta(minutes=15), description="Most time between a source's fetches.")
    refresh_ahead: Duration = Field(
        timedelta(hours=1), description="How long before nextUpdate a CRL is fetched again."
    )
    grace: Duration = Field(timedelta(0), description="How long after its nextUpdate a CRL still counts.")
    unsafe_soft_fail: bool = Field(False, description="Whether certificates without a current CRL are allowed.")
    exception: tuple[ModeSettings, ...] = Field((), description="Other rules for some issuers or organizations.")


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    database: str = Field(
        DEFAULT_DATABASE,
        description="The directory: sqlite:///relative, sqlite:////absolute, or postgresql://user@host/database.",
        repr=False,
    )
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
        if len({listener.name for listener in listeners}) < len(listeners):
            raise ValueError("two listeners have the same name")
        if "ops" in {listener.name for listener in listeners}:
            raise ValueError("ops is the name of the operators' listener")
        return listeners

    @model_validator(mode="after")
    def _in_time(self) -> Settings:
        """A check that waits for a CRL must be answered before the check's own time is over."""
        if self.crl.first_fetch_wait_seconds >= self.limits.check_seconds:
            raise ValueError("crl.first_fetch_wait_seconds must be below limits.check_seconds")
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
    unknown = [name for name in variables() if not _is_variable(setting_of(name))]
    if unknown:
        names = (name.replace(".", "__") for name in _dotted(Settings))
        nearest = _nearest(setting_of(unknown[0]), filter(_is_variable, names))
        advice = f"; {PREFIX}{nearest.upper()} does" if nearest else ""
        raise ConfigError(f"the variable {unknown[0]} names no setting{advice}", hint=_HINT)
    return parse_settings({} if path is None else _read(path), origin=str(path or "environment"))


_HINT: Final = "see docs/configuration.md for every setting"


def _is_variable(name: str) -> bool:
    """Whether a setting, with two underscores behind its section, can be set by a variable: of lists only the whole."""
    section: Any = Settings
    for part in name.split("__"):
        if not _is_section(section) or part not in section.model_fields:
            return False
        annotation = section.model_fields[part].annotation
        section = (
            next(filter(_is_section, get_args(annotation)), annotation) if _is_optional(annotation) else annotation
        )
    return True


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def _nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that is most like `name`; empty where none is like it."""
    return next(iter(get_close_matches(name, list(names), n=1, cutoff=0.75)), "")


def _dotted(annotation: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all settings below, without the indices of lists."""
    if _is_section(annotation):
        for name, field in annotation.model_fields.items():
            yield ".".join((*path, name))
            yield from _dotted(field.annotation, (*path, name))
    else:
        for inner in get_args(annotation):
            yield from _dotted(inner, path)


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
        problems = "; ".join(map(_problem, _mistakes(error.errors())))
        raise ConfigError(f"{origin}: {problems}", hint=_HINT) from error
    except SettingsError as error:
        # The library quotes the name of the field, which its error does not have by itself.
        variable = PREFIX + str(error).split('"')[1].upper()
        raise ConfigError(f"{variable} is not JSON, as the value of a list or a section is", hint=_HINT) from error


def _mistakes(errors: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """The errors, without those that a list is too short because what is in it is wrong."""
    places = [error["loc"] for error in errors]
    for error in errors:
        here = error["loc"]
        inside = any(len(place) > len(here) and place[: len(here)] == here for place in places)
        if error["type"] != "too_short" or not inside:
            yield error


_IN_TOML: Final = {
    "tuple_type": "a list is wanted, in brackets",
    "model_type": "a section with settings is wanted",
    "union_tag_not_found": "kind is missing",
}
"""What the library says of Python's types."""


def _problem(problem: ErrorDetails) -> str:
    """One mistake in one sentence: where it stands, and what is wrong there."""
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        setting = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
        nearest = _nearest(setting, _dotted(Settings))
        return f"{place} is no setting" + (f"; {nearest} is one" if nearest else "")
    message = _IN_TOML.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return f"{place}: {message}" if place else message
