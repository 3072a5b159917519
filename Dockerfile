# The service in a container: `docker build -t mtls-authz .`; docker-compose.yml shows it at work.
#
# The final image has no installer and needs no shell: the interpreter, a virtual environment in which every package was
# installed by its hash, and a numeric user that writes only to /var/lib/authz and /run/authz.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
# Empty means PyPI; a mirror of it has the same hashes.
ARG PIP_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/authz && python -m venv /opt/build
# The locks first, so that a change of the code does not install them again.
COPY requirements-service.lock requirements-build.lock ./
RUN python -m pip --python /opt/authz/bin/python install --quiet --require-hashes --no-deps --only-binary :all: -r requirements-service.lock \
 && /opt/build/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY authz authz
COPY deploy deploy
RUN /opt/build/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m pip --python /opt/authz/bin/python install --quiet --no-deps --no-index /wheels/*.whl

FROM ${BASE_IMAGE}
COPY --from=build /opt/authz /opt/authz
# A new volume takes owner and mode from here, so that no process has to be root.
RUN ["python3", "-c", "import os\nfor path in ('/var/lib/authz', '/run/authz', '/run/authz/envoy', '/run/authz/nginx', '/demo/client', '/demo/crls', '/demo/envoy', '/demo/nginx', '/demo/keys', '/demo/postgres', '/demo/owner', '/demo/operator', '/demo/checks', '/demo/database'):\n    os.makedirs(path, exist_ok=True)\n    os.chown(path, 10001, 10001)\n    os.chmod(path, 0o750)"]
ENV PATH=/opt/authz/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 AUTHZ_DATABASE=sqlite:////var/lib/authz/authz.db
USER 10001:10001
# On the container's own loopback, whatever becomes of the operators' listener.
ENV AUTHZ_OPS__HEALTH_PROBE_ADDRESS=127.0.0.1:9902
HEALTHCHECK --interval=2s --timeout=5s --retries=30 \
    CMD ["python", "-ISc", "import urllib.request as u; u.urlopen('http://127.0.0.1:9902/readyz', timeout=4)"]
ENTRYPOINT ["authz"]
CMD ["serve"]
