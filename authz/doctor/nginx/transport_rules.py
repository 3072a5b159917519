"""Rules over connections: the client's TLS and sessions, and the way to the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.doctor.addresses import is_local
from authz.doctor.findings import Edit, Hit, Rule, Severity, rule
from authz.doctor.nginx.header_rules import takes_certificates
from authz.doctor.nginx.model import Location, NginxModel, ServerBlock, hit
from authz.doctor.nginx.reader import Directive


def _guarded_servers(model: NginxModel) -> Iterator[ServerBlock]:
    seen: dict[int, ServerBlock] = {id(location.server): location.server for location in model.guarded}
    yield from seen.values()


@rule("nginx-listener-cleartext", Severity.FATAL, "ngx_http_core_module, listen")
def _cleartext(model: NginxModel) -> Iterator[Hit]:
    """requests to the application are taken without TLS.

    There is no certificate there, and tokens pass in the clear, whatever is answered.
    """
    for server in _guarded_servers(model):
        for listen in server.listens:
            if not server.encrypted(listen):
                mend = listen.replaced(f"{listen.text} ssl;")
                yield hit(listen, f"{listen.text}: requests are taken without TLS", "speak TLS there", mend)
        if not server.listens:
            yield hit(server.directive, "without a listen it is port 80, without TLS", "listen with ssl")


@rule("nginx-no-certificate-request", Severity.FATAL, "ngx_http_ssl_module, ssl_verify_client")
def _no_certificate(model: NginxModel) -> Iterator[Hit]:
    """no client is asked for a certificate.

    ssl_verify_client is off by default: no client can show one.
    """
    servers = list(_guarded_servers(model))
    if not servers or not takes_certificates(model) or any(_verifies(server) for server in servers):
        return
    for server in servers:
        setting = server.top.scalar("ssl_verify_client")
        mend = setting.replaced("ssl_verify_client optional_no_ca;") if setting else _at_top(server, "optional_no_ca")
        yield hit(setting or server.directive, "no client is asked for a certificate", "ask for one", mend)


def _verifies(server: ServerBlock) -> bool:
    return server.top.value("ssl_verify_client", "off") != "off"


def _at_top(server: ServerBlock, value: str) -> tuple[Edit, ...]:
    first = (server.directive.block or (server.directive,))[0]
    return first.preceded(f"ssl_verify_client {value};")


@rule("nginx-servers-differ", Severity.WARNING, "ngx_http_ssl_module, ssl_verify_client; CVE-2025-23419")
def _shared_port(model: NginxModel) -> Iterator[Hit]:
    """servers of one port differ in whether they ask for a certificate.

    The client's SNI chooses whether it is asked, its Host which of them serves.
    """
    by_port: dict[str, dict[str, Directive]] = {}
    for server in model.servers:
        for listen in server.listens:
            how = server.top.value("ssl_verify_client", "off")
            if server.encrypted(listen):
                by_port.setdefault(listen.arg, {}).setdefault(how, listen)
    for port, ways in by_port.items():
        if len(ways) > 1 and any(_verifies(server) for server in _guarded_servers(model)):
            listen = list(ways.values())[-1]
            what = f"servers at {port} differ in ssl_verify_client: {', '.join(ways)}"
            yield hit(listen, what, "give each a port, or ask alike")


@rule("nginx-session-cache", Severity.WARNING, "ngx_http_ssl_module, ssl_session_cache")
def _session_cache(model: NginxModel) -> Iterator[Hit]:
    """sessions are kept in a shared cache.

    It survives a reload: a client that was revoked since then resumes with SUCCESS.
    """
    for server in _guarded_servers(model):
        setting = server.top.scalar("ssl_session_cache")
        if setting and any(word.startswith("shared") for word in setting.args) and _verifies(server):
            mend = setting.replaced("ssl_session_cache off;")
            yield hit(
                setting, "sessions outlive a reload, and what nginx thought of the certificate", "keep none", mend
            )


@rule("nginx-session-tickets", Severity.INFO, "ngx_http_ssl_module, ssl_session_tickets")
def _tickets(model: NginxModel) -> Iterator[Hit]:
    """sessions are resumed by ticket.

    The certificate of the first handshake is handed over again; the service checks it each time all the same.
    """
    for server in _guarded_servers(model):
        setting = server.top.scalar("ssl_session_tickets")
        if _verifies(server) and (setting is None or setting.arg != "off"):
            what = "sessions are resumed without showing the certificate again"
            first = (server.directive.block or ())[0]
            off = "ssl_session_tickets off;"
            yield hit(
                setting or server.directive,
                what,
                "switch tickets off",
                setting.replaced(off) if setting else first.preceded(off),
            )


@rule("nginx-early-data", Severity.WARNING, "RFC 8470; ngx_http_ssl_module, ssl_early_data")
def _early_data(model: NginxModel) -> Iterator[Hit]:
    """requests are taken in early data.

    A request that can be replayed is served before the client proved its key.
    """
    for server in _guarded_servers(model):
        setting = server.top.scalar("ssl_early_data")
        if setting and setting.arg == "on":
            what = "requests are taken before the handshake ends: they can be replayed"
            yield hit(setting, what, "switch it off", setting.replaced("ssl_early_data off;"))


@rule(
    "nginx-tls-old",
    Severity.WARNING,
    "RFC 8996; ngx_http_ssl_module, ssl_protocols",
    proof="Debian's OpenSSL speaks no TLS 1.1 at its level of security, whatever nginx is configured to",
)
def _old_tls(model: NginxModel) -> Iterator[Hit]:
    """TLS before 1.2 is taken.

    RFC 8996 withdrew it; its handshakes are signed with SHA-1.
    """
    for server in _guarded_servers(model):
        setting = server.top.scalar("ssl_protocols")
        if setting and {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"} & set(setting.args):
            yield hit(setting, setting.text, "begin with TLS 1.2", setting.replaced("ssl_protocols TLSv1.2 TLSv1.3;"))


@rule("nginx-real-ip", Severity.WARNING, "ngx_http_realip_module, set_real_ip_from")
def _real_ip(model: NginxModel) -> Iterator[Hit]:
    """the client's address is taken from a header of any client.

    Logs, limits and allow go by what the client wrote.
    """
    for server in _guarded_servers(model):
        for setting in server.top.array("set_real_ip_from"):
            if setting.arg in {"0.0.0.0/0", "::/0"} and server.top.scalar("real_ip_header"):
                yield hit(
                    setting, "any client writes its own address", "name the proxies in front", setting.replaced("")
                )


@rule("nginx-service-cleartext", Severity.FATAL, "docs/listeners.md")
def _service_cleartext(model: NginxModel) -> Iterator[Hit]:
    """the service is asked in clear text beyond this machine.

    A host on the way can answer yes; a host that reaches the port can claim any certificate.
    """
    for check in model.checks:
        beyond = [place for place in _addresses(model, check) if not is_local(place)]
        if check.passes and beyond and not check.passes.arg.startswith(("https://", "grpcs://")):
            what = f"checks go to {', '.join(beyond)} in clear text"
            mend = check.passes.replaced(f"{check.passes.name} {check.passes.arg.replace('http://', 'https://')};")
            yield hit(check.passes, what, "use mutual TLS (deploy/nginx-mtls.conf), or a Unix socket", mend)


def _addresses(model: NginxModel, location: Location) -> list[str]:
    """Where a location leads, without the name of the upstream."""
    places = model.places(location)
    return sorted(places - set(model.upstreams)) if places else []


@rule("nginx-service-unverified", Severity.FATAL, "ngx_http_proxy_module, proxy_ssl_verify")
def _service_unverified(model: NginxModel) -> Iterator[Hit]:
    """the service's certificate is not verified.

    The host that answers at the address decides: nginx verifies nothing by default.
    """
    for check in model.checks:
        verify = check.scalar("proxy_ssl_verify")
        if check.passes and check.passes.arg.startswith("https://") and (verify is None or verify.arg != "on"):
            on = "proxy_ssl_verify on;"
            mend = verify.replaced(on) if verify else check.passes.preceded(on)
            yield hit(verify or check.passes, "any certificate is taken for the service's", "verify it", mend)


TRANSPORT_RULES: Final[tuple[Rule[NginxModel], ...]] = (
    _cleartext, _no_certificate, _shared_port, _session_cache, _tickets, _early_data, _old_tls, _real_ip,
    _service_cleartext, _service_unverified,
)  # fmt: skip
