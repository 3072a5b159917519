"""What clients may send: the methods and the header fields that IANA has registered, and a few more."""

from __future__ import annotations

_METHODS = """
ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR
MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT QUERY REBIND REPORT
SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL
"""
_FIELDS = """
A-IM Accept Accept-Additions Accept-Charset Accept-CH Accept-Datetime Accept-Encoding Accept-Features Accept-Language
Accept-Patch Accept-Post Accept-Query Accept-Ranges Accept-Signature Access-Control-Request-Headers Access-Control-
Request-Method Age Allow ALPN Alt-Svc Alt-Used Alternates AMP-Cache-Transform Apply-To-Redirect-Ref Authentication-
Control Authentication-Info Available-Dictionary C-Ext C-Man C-Opt C-PEP C-PEP-Info Cache-Control Cache-Status CalDAV-
Timezones Capsule-Protocol CDN-Cache-Control CDN-Loop Cert-Not-After Cert-Not-Before Close CMCD-Object CMCD-Request
CMCD-Session CMCD-Status Concealed-Auth-Export Configuration-Context Connection Content-Base Content-Digest Content-
Disposition Content-Encoding Content-ID Content-Language Content-Length Content-Location Content-MD5 Content-Range
Content-Script-Type Content-Style-Type Content-Type Content-Version Cookie Cookie2 Cross-Origin-Embedder-Policy CTA-
Common-Access-Token DASL Date DAV Default-Style Delta-Base Deprecation Depth Derived-From Destination Detached-JWS
Dictionary-ID Differential-ID Digest DNT DPoP Early-Data EDIINT-Features Expect Expires Ext Forwarded From GetProfile
Hobareg HTTP2-Settings If If-Match If-Modified-Since If-None-Match If-Range If-Schedule-Tag-Match If-Unmodified-Since
IM Include-Referred-Token-Binding-ID Incremental Isolation Keep-Alive Label Last-Event-ID Last-Modified Link Lock-
Token Man Max-Forwards Memento-Datetime Meter Method-Check Method-Check-Expires MIME-Version Negotiate NEL OData-
EntityId OData-Isolation OData-MaxVersion OData-Version Opt Ordering-Type Origin Origin-Agent-Cluster OSCORE OSLC-
Core-Version Overwrite P3P PEP Pep-Info Position Pragma Prefer Preference-Applied Priority ProfileObject Protocol
Protocol-Info Protocol-Query Protocol-Request Proxy-Authorization Proxy-Features Proxy-Instruction Public Range
Redirect-Ref Referer Referer-Root Referrer-Policy Repeatability-Client-ID Repeatability-First-Sent Repeatability-
Request-ID Repeatability-Result Replay-Nonce Reporting-Endpoints Repr-Digest Retry-After Safe Schedule-Reply Sec-
Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-GPC Sec-Purpose Sec-Token-Binding Sec-WebSocket-Accept
Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Key1 Sec-WebSocket-Protocol Sec-WebSocket-Version Security-
Scheme Server-Timing Set-Cookie Set-Cookie2 SetProfile Signature Signature-Input SLUG SoapAction Status-URI Surrogate-
Capability Surrogate-Control TCN TE Timeout Timing-Allow-Origin Topic Traceparent Tracestate Trailer Transfer-Encoding
TTL Upgrade Urgency URI Use-As-Dictionary User-Agent Variant-Vary Via Want-Content-Digest Want-Digest Want-Repr-Digest
Warning WWW-Authenticate X-Content-Type-Options X-Frame-Options X-Forwarded-Proto X-Forwarded-Port X-HTTP-Method-
Override X-Method-Override X-Original-Method X-Original-URL X-Rewrite-URL X-Request-ID X-Requested-With
"""

METHODS = tuple(_METHODS.split())
"""HTTP Method Registry (RFC 9110 section 16.1)."""

FIELDS = tuple(_FIELDS.split())
"""HTTP Field Name Registry (RFC 9110 section 16.3); Host and Authorization, which decide, are not in it."""
