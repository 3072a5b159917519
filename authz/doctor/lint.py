"""`authz doctor lint`: from files, or a running Envoy's dump, to a report."""

from __future__ import annotations

from collections.abc import Sequence

from authz.doctor.envoy.check_rules import name_unknown_clusters
from authz.doctor.envoy.reading import read_model as read_envoy
from authz.doctor.envoy.snapshot import config_dump, snapshot_of
from authz.doctor.findings import ORDER, ConfigFile, Finding, NotUnderstood, Report, Unreadable, findings_of
from authz.doctor.nginx.model import read_model as read_nginx
from authz.doctor.nginx.reader import is_nginx, read_directives, read_source
from authz.doctor.rules import ENVOY_RULES, NGINX_RULES
from authz.doctor.service_settings import Ours

__all__ = ["Report", "Unreadable", "lint"]


def lint(
    files: Sequence[str], *, admin: str | None = None, ours: Ours | None = None, identity: Sequence[str] = ()
) -> Report:
    """What the rules find in the files of one Envoy, or of one nginx, or of both.

    `admin` is the address of a running Envoy's administration, `identity` names headers by which the application
    knows who asks. Raises `Unreadable`.
    """
    sources = [read_source(name) for name in files]
    if admin is not None:
        sources.append(config_dump(admin))
    return lint_sources(sources, ours=ours, identity=tuple(identity))


def lint_sources(sources: Sequence[ConfigFile], *, ours: Ours | None = None, identity: tuple[str, ...] = ()) -> Report:
    """The same of texts. Raises `Unreadable`."""
    nginx = [source for source in sources if is_nginx(source)]
    envoy = [source for source in sources if source not in nginx]
    findings: list[Finding] = []
    unknown: list[NotUnderstood] = []
    for given, judge in ((envoy, _envoy), (nginx, _nginx)):
        if given:
            judged, named = judge(given, ours, identity)
            findings += judged
            unknown += named
    findings.sort(key=lambda finding: (ORDER[finding.severity], finding.file, finding.line))
    return Report(tuple(findings), tuple(dict.fromkeys(unknown)))


Judged = tuple[list[Finding], list[NotUnderstood]]


def _envoy(sources: list[ConfigFile], ours: Ours | None, identity: tuple[str, ...]) -> Judged:
    snapshot = snapshot_of(sources)
    model = read_envoy(snapshot, ours, identity)
    name_unknown_clusters(model)
    return list(findings_of(ENVOY_RULES, model)), snapshot.not_understood


def _nginx(sources: list[ConfigFile], ours: Ours | None, identity: tuple[str, ...]) -> Judged:
    unknown: list[NotUnderstood] = []
    directives = read_directives(sources, unknown)
    if not directives:
        raise Unreadable(f"{sources[0].name}: no directive in it")
    model = read_nginx(directives, unknown, ours, identity)
    return list(findings_of(NGINX_RULES, model)), model.not_understood
