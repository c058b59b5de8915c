"""What every test may ask for: real Kafka, Redis and Postgres, and names that no other test uses.

A service's address comes from the environment (STAKEOUT_KAFKA, STAKEOUT_REDIS, STAKEOUT_POSTGRES) or else the service
is started, once per session and only if a test asks for it. One that can't be had is a failure, never a skip.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from deploy.kind import ServiceError
from deploy.servers import NAMES, Services, start


@pytest.fixture(scope="session")
def _host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Nothing is started yet. Logs lie in the session's temporary folder."""
    with start([], tmp_path_factory.mktemp("services")) as host:
        yield host


def _address(host: Services, name: str) -> str:
    try:
        return host.start_one(name)
    except ServiceError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def services(_host: Services) -> Services:
    """All three, answering. A test that stops one starts its own instead: `start([...], environ={})`."""
    for name in NAMES:
        _address(_host, name)
    return _host


@pytest.fixture(scope="session")
def kafka(_host: Services) -> str:
    """host:port for `bootstrap.servers`."""
    return _address(_host, "kafka")


@pytest.fixture(scope="session")
def redis_url(_host: Services) -> str:
    """redis://host:port/0."""
    return _address(_host, "redis")


@pytest.fixture(scope="session")
def postgres_url(_host: Services) -> Iterator[str]:
    """A fresh database of this session, dropped at its end, as a URL for SQLAlchemy with psycopg 3."""
    url = _address(_host, "postgres")
    name = f"stakeout_test_{uuid.uuid4().hex[:12]}"
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield urlsplit(url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def unique() -> str:
    """A short name for topics, keys and tables, valid in each of the services: 't' and eight hexadecimal digits."""
    return f"t{uuid.uuid4().hex[:8]}"
