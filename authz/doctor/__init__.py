"""`authz doctor`: can this proxy be got round? Rules over the configurations of Envoy and nginx.

It needs the extra `mtls-authz[doctor]`; nothing of the service imports it, and it imports nothing that decides.
"""
