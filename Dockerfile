FROM node:22-bookworm-slim AS web
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-fund --no-audit
COPY web ./
RUN npm run build

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock ./
# The builder comes from the lock with its hash, and takes what it builds with from there too.
RUN awk '/^uv==/ { on = 1; print; next } on && /^    / { print; next } { on = 0 }' requirements.lock > uv.lock \
 && pip install --no-cache-dir --require-hashes --no-deps -r uv.lock
COPY deploy/requirements.lock deploy/
RUN python -m venv --without-pip /opt/waybill \
 && VIRTUAL_ENV=/opt/waybill uv pip sync --require-hashes --compile-bytecode --no-cache deploy/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY storage storage
COPY access access
COPY graph graph
COPY sync sync
COPY worker worker
COPY waybill waybill
COPY --from=web /src/waybill/static waybill/static
RUN uv build --wheel --no-cache --require-hashes --build-constraints requirements.lock --out-dir dist \
 && VIRTUAL_ENV=/opt/waybill uv pip install --no-deps --compile-bytecode --no-cache dist/*.whl

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin waybill
# A volume that is mounted here is its owner's, too.
RUN install --directory --owner=waybill --group=waybill --mode=700 /var/lib/waybill /var/lib/waybill/copies
COPY --from=build /opt/waybill /opt/waybill
# A published port reaches a container only from outside its loopback.
ENV PATH=/opt/waybill/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 WAYBILL_HOST=0.0.0.0 WAYBILL_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --start-interval=1s \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"WAYBILL_PORT\"]}/readyz', timeout=4)"]
CMD ["waybill", "serve"]
