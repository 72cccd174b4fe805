# One image with all roles: headgate-controller, headgate-extproc, headgate-ratelimit, headgate, and Envoy.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY protos/headgate protos/headgate
COPY extproc/headgate extproc/headgate
COPY ratelimit/headgate ratelimit/headgate
COPY controller/headgate controller/headgate
COPY envoy/headgate envoy/headgate
RUN python -m pip wheel --no-cache-dir --wheel-dir /wheels '.[postgres]'
RUN python -m venv --without-pip /opt/headgate \
    && python -m pip --python /opt/headgate/bin/python install --no-cache-dir --no-index --find-links /wheels 'headgate[postgres]' \
    && ln -sf "$(/opt/headgate/bin/python -c 'from headgate.runtime.envoy import find_envoy; print(find_envoy())')" \
        /opt/headgate/bin/envoy

FROM ${BASE}
COPY --from=build /opt/headgate /opt/headgate
# For Envoy Gateway's own rate limit Deployment, which runs /bin/ratelimit.
COPY manifests/image/ratelimit /bin/ratelimit
# Bytecode is in the image already, and its file system is read-only. The user has no entry in /etc/passwd, so no home of
# its own, which libraries look for.
ENV PATH=/opt/headgate/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 65532:65532
CMD ["headgate", "--help"]
