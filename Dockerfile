# Two targets: `service` (the API and `acclimate migrate`) and `worker` (Celery, beat and the trainer that a task starts).
# TORCH_BACKEND picks the build of torch: cpu, or what uv's --torch-backend knows, cu130 for one. No image was built with CUDA.

FROM python:3.11-slim AS build
ARG TORCH_BACKEND=cpu
ARG EXTRAS=s3
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/acclimate
ENV VIRTUAL_ENV=/opt/acclimate UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src
# The pins first: a change of our own code then rebuilds nothing below this line but the last install.
COPY constraints.txt ./
RUN uv pip install --torch-backend="${TORCH_BACKEND}" -c constraints.txt torch
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY acclimate ./acclimate
COPY service ./service
COPY workers ./workers
COPY migrations ./migrations
RUN uv pip install --torch-backend="${TORCH_BACKEND}" -c constraints.txt ".[${EXTRAS}]"

FROM python:3.11-slim AS runtime
# tini: signals reach the process, and orphans of a killed trainer are reaped.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 acclimate \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin acclimate \
 && install -d -o 10001 -g 10001 /data /data/home /data/keys /data/store /data/journal
COPY --from=build /opt/acclimate /opt/acclimate
COPY LICENSE NOTICE /opt/acclimate/
# A volume mounted over a folder of /data takes its owner from here.
ENV PATH=/opt/acclimate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ACCLIMATE_HOME=/data/home \
    ACCLIMATE_STORE_URL=file:///data/store \
    ACCLIMATE_JOURNAL_DIR=/data/journal
WORKDIR /data/home
USER 10001:10001
ENTRYPOINT ["tini", "--"]

FROM runtime AS service
ENV ACCLIMATE_HOST=0.0.0.0 ACCLIMATE_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=2)"]
CMD ["acclimate", "serve"]

FROM runtime AS worker
ENV ACCLIMATE_WORKER_METRICS_PORT=9101
EXPOSE 9101
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9101/metrics', timeout=2)"]
CMD ["acclimate", "worker"]
