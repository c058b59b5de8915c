# The image of every process of Stakeout: `docker build -t stakeout .`, then `docker run stakeout COMMAND …`.
# The last stage holds Python, the environment and the compiled kernels: no compiler, no pip cache, no sources.

FROM python:3.11.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/stakeout
ENV PATH=/opt/stakeout/bin:$PATH
WORKDIR /src
COPY requirements/run.txt requirements/run.txt
RUN pip install --require-hashes -r requirements/run.txt
COPY LICENSE README.md pyproject.toml ./
COPY alembic alembic
COPY api api
COPY cep cep
COPY deploy deploy
COPY events events
COPY examples examples
COPY features features
COPY models models
RUN pip install --no-index --no-deps --no-build-isolation .
# From here, so that the kernels are those of the installed package. Another kind of processor compiles them again at its
# first start, into the volume that is mounted over this folder.
WORKDIR /
ENV STAKEOUT_CACHE=/var/cache/stakeout
RUN stakeout warm

FROM python:3.11.11-slim-bookworm
RUN groupadd --gid 10001 stakeout \
 && useradd --uid 10001 --gid stakeout --no-create-home --home-dir /var/lib/stakeout --shell /usr/sbin/nologin stakeout \
 && install --directory --owner stakeout --group stakeout /var/lib/stakeout /var/cache/stakeout
COPY --from=build /opt/stakeout /opt/stakeout
COPY --from=build --chown=10001:10001 /var/cache/stakeout /var/cache/stakeout
ENV PATH=/opt/stakeout/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STAKEOUT_CACHE=/var/cache/stakeout
WORKDIR /var/lib/stakeout
VOLUME ["/var/lib/stakeout", "/var/cache/stakeout"]
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9100/healthz', timeout=4)"]
ENTRYPOINT ["stakeout"]
CMD ["worker", "--metrics-port", "9100"]
