"""An external authorizer for Envoy and nginx: which user's certificate does this request carry?"""

__version__ = "0.1.0"
