"""The service's HTTP side: the checks of proxies, the pages of operators."""
