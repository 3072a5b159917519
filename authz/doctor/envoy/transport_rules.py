"""Rules over connections: to the client, to the service, to the application, to Envoy's own administration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.doctor.addresses import is_local
from authz.doctor.envoy.check_rules import checks
from authz.doctor.envoy.model import EnvoyModel, address_text, endpoints, hit, local, name_of, service_cluster
from authz.doctor.findings import Edit, Hit, Rule, Severity, rule
from authz.doctor.tree import ABSENT, Node


@rule("envoy-listener-cleartext", Severity.FATAL, "filter_chains.transport_socket")
def _cleartext_listener(model: EnvoyModel) -> Iterator[Hit]:
    """a listener leads to the application without TLS.

    There is no certificate there, and tokens pass in the clear.
    """
    for hcm in model.hcms:
        guarded = [route for route in hcm.routes if model.is_guarded(route.cluster.text)]
        if guarded and not hcm.chain.at("transport_socket"):
            what = f"{name_of(hcm.listener)} takes requests without TLS"
            yield hit(hcm.listener, what, "give it a transport_socket, or redirects only", _as_other(model, hcm.chain))


def _as_other(model: EnvoyModel, chain: Node) -> tuple[Edit, ...]:
    """The transport socket of a listener that has one."""
    others = (hcm.chain.at("transport_socket") for hcm in model.checked)
    socket = next(filter(None, others), None)
    return chain.put("transport_socket", socket.value()) if socket else ()


def _services(model: EnvoyModel) -> Iterator[Node]:
    """The clusters at which the checks ask."""
    names = {service_cluster(check): None for _, check in checks(model)}
    yield from filter(None, (model.snapshot.clusters.get(name) for name in names))


def upstream_tls(cluster: Node) -> Node:
    """A cluster's TLS context, or nothing."""
    config = cluster.at("transport_socket.typed_config")
    return config.unwrapped() if config.inner_type() == "UpstreamTlsContext" else ABSENT


@rule("envoy-service-cleartext", Severity.FATAL, "docs/listeners.md")
def _service_cleartext(model: EnvoyModel) -> Iterator[Hit]:
    """the service is asked in clear text beyond this machine.

    A host on the way can answer yes; a host that reaches the port can claim any certificate.
    """
    for cluster in _services(model):
        if cluster.at("transport_socket_matches"):
            model.snapshot.unknown(cluster, "transport sockets that endpoints' metadata choose")
            continue
        for address in endpoints(cluster):
            if not upstream_tls(cluster) and not local(address):
                what = f"checks go to {address_text(address)} in clear text"
                yield hit(address, what, "use mutual TLS (deploy/envoy-mtls.yaml), or a Unix socket", _tls(cluster))
    for _, check in checks(model):
        google = check.config.at("grpc_service.google_grpc")
        target = google.at("target_uri").text
        if (
            google
            and not google.at("channel_credentials.ssl_credentials")
            and not is_local(target.removeprefix("dns:///"))
        ):
            what = f"checks go to {target} in clear text"
            mend = google.put("channel_credentials", {"ssl_credentials": {}})
            yield hit(google, what, "give it ssl_credentials", mend)


def _tls(cluster: Node) -> tuple[Edit, ...]:
    name = next((address.at("socket_address.address").text for address in endpoints(cluster)), "")
    tls = "envoy.extensions.transport_sockets.tls.v3"
    pem = {"certificate_chain": {"filename": "/etc/envoy/tls/proxy.pem"}}
    common = {
        "tls_certificates": [pem | {"private_key": {"filename": "/etc/envoy/tls/proxy.key"}}],
        "validation_context": _verified(name),
    }
    config = {"@type": f"type.googleapis.com/{tls}.UpstreamTlsContext", "sni": name, "common_tls_context": common}
    return cluster.put("transport_socket", {"name": "envoy.transport_sockets.tls", "typed_config": config})


def _verified(name: str) -> dict[str, object]:
    names = [{"san_type": "DNS", "matcher": {"exact": name}}]
    return {"trusted_ca": {"filename": "/etc/envoy/tls/authz-ca.pem"}, "match_typed_subject_alt_names": names}


@rule("envoy-service-unverified", Severity.FATAL, "UpstreamTlsContext, validation_context")
def _service_unverified(model: EnvoyModel) -> Iterator[Hit]:
    """the service's certificate is not verified.

    The host that answers at the address decides: Envoy verifies nothing by default.
    """
    for cluster in _services(model):
        tls = upstream_tls(cluster)
        context = model.validation(tls)
        if not tls or context.at("sds_config"):
            continue
        pinned = context.at("verify_certificate_spki") or context.at("verify_certificate_hash")
        trusted = bool(context.at("trusted_ca") or pinned)
        exact = bool(context.at("match_typed_subject_alt_names").items)
        named = exact or bool(pinned) or tls.at("auto_sni_san_validation").flag()
        if not trusted or not named:
            what = "any certificate" if not trusted else "any name of the CA"
            sni = tls.at("sni").text or "authz.internal.example"
            mend = tls.put("common_tls_context.validation_context", _verified(sni))
            yield hit(tls, f"{what} is taken for the service's", "name its CA and its name", mend)


@rule("envoy-tls-old", Severity.WARNING, "RFC 8996")
def _old_tls(model: EnvoyModel) -> Iterator[Hit]:
    """TLS before 1.2 is taken.

    RFC 8996 withdrew it; its handshakes are signed with SHA-1.
    """
    for hcm in model.hcms:
        common = hcm.tls.at("common_tls_context")
        node = common.at("tls_params.tls_minimum_protocol_version")
        if node.choice("TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3") in {"TLSv1_0", "TLSv1_1"}:
            mend = common.put("tls_params.tls_minimum_protocol_version", "TLSv1_2")
            yield hit(node, f"{node.text} is taken", "begin with TLS 1.2", mend)


@rule(
    "envoy-early-data",
    Severity.WARNING,
    "RFC 8470; QuicDownstreamTransport.enable_early_data, true by default",
    proof="the tests have no client that speaks QUIC",
)
def _early_data(model: EnvoyModel) -> Iterator[Hit]:
    """QUIC takes requests in early data.

    A request that can be replayed is served before the client proved its key.
    """
    for hcm in model.checked:
        quic = hcm.chain.at("transport_socket.typed_config").unwrapped()
        is_quic = hcm.chain.at("transport_socket.typed_config").inner_type() == "QuicDownstreamTransport"
        if is_quic and quic.at("enable_early_data").flag(default=True):
            mend = quic.put("enable_early_data", False)
            yield hit(quic, "requests in early data are taken: they can be replayed", "switch it off", mend)


@rule(
    "envoy-session-keys-kept",
    Severity.WARNING,
    "DownstreamTlsContext.session_ticket_keys",
    proof="the key would have to be stolen first",
)
def _ticket_keys(model: EnvoyModel) -> Iterator[Hit]:
    """sessions are resumed with configured ticket keys.

    A thief of the key resumes every session that it saw; a session outlives restarts of the proxy.
    """
    for hcm in model.checked:
        for kind in ("session_ticket_keys", "session_ticket_keys_sds_secret_config"):
            if node := hcm.tls.at(kind):
                what = "sessions are resumed with keys that outlive this Envoy"
                yield hit(node, what, "take the keys away, or exchange them often")


@rule("envoy-client-address", Severity.WARNING, "HttpConnectionManager.use_remote_address")
def _client_address(model: EnvoyModel) -> Iterator[Hit]:
    """the client's address is taken from what the client wrote.

    Logs, rate limits and rules by address go by x-forwarded-for: 8.8.8.8.
    """
    for hcm in model.checked:
        detects = hcm.node.at("original_ip_detection_extensions")
        hops = hcm.node.at("xff_num_trusted_hops").text not in {"", "0"}
        if hcm.tls and not hcm.node.at("use_remote_address").flag() and not detects and not hops:
            mend = hcm.node.put("use_remote_address", True)
            yield hit(hcm.node, "the client's address is what it wrote into x-forwarded-for", "take the peer's", mend)


@rule("envoy-admin-open", Severity.FATAL, "envoy.config.bootstrap.v3.Admin")
def _admin(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy's administration can be reached from elsewhere.

    It shows the whole configuration, drains listeners and ends Envoy, without asking who asks.
    """
    address = model.snapshot.bootstrap.at("admin.address")
    if address and not local(address):
        what = f"Envoy's administration listens at {address_text(address)}"
        mend = address.put("socket_address.address", "127.0.0.1")
        yield hit(address, what, "let it listen on loopback", mend)


TRANSPORT_RULES: Final[tuple[Rule[EnvoyModel], ...]] = (
    _cleartext_listener, _service_cleartext, _service_unverified, _old_tls, _early_data, _ticket_keys,
    _client_address, _admin,
)  # fmt: skip
