# The image of CDR Service: from the lock file, with its own store for the case that none is set.
#   docker build -t cdr-service .
#   docker run -p 8080:8080 -v data:/data cdr-service
# The steps use paths below the working directory only, so that tests/image can run them in an empty folder.

FROM python:3.13-slim-trixie AS build
WORKDIR /app
ENV UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN python3 -m venv .tools && .tools/bin/pip install --no-cache-dir --quiet uv==0.13.9
# What the service needs changes less often than the service: a layer of its own.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN .tools/bin/uv sync --quiet --no-cache --locked --no-dev --extra embedded --no-install-project
COPY cdr_service cdr_service
RUN .tools/bin/uv sync --quiet --no-cache --locked --no-dev --extra embedded --no-editable

FROM python:3.13-slim-trixie
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="CDR Service" \
      org.opencontainers.image.description="Receives the CDRs of a Cisco Meeting Server and tells which license each call uses" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /app
COPY --from=build /app/.venv .venv
# A named volume takes over the owner of the folder that it hides.
RUN install -d -o 10001 -g 10001 -m 0700 /data
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CDR_DATA_DIR=/data
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
VOLUME ["/data"]
# Call Bridges push to 8080. The query API is on 127.0.0.1:8081 until CDR_API_BIND and CDR_API_TOKEN say otherwise.
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
ENTRYPOINT ["cdr-service"]
CMD ["serve", "--first-run"]
