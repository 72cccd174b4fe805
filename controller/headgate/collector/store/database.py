"""Opens the database of a URL, and brings its tables up to date."""

import os
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from headgate.collector.private_files import make_private
from sqlalchemy import Connection, Dialect, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

BUSY_SECONDS: Final = 10.0
"""How long SQLite waits for another process that writes."""
_POSTGRES: Final[Mapping[str, int]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""libpq's, where a URL does not say otherwise: its own wait for ever, or for hours, for a machine that has gone."""
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 4_829_337_120
"""Any number: who migrates a Postgres holds it."""


class StoreError(Exception):
    """The database cannot be used; one line for the user."""


def default_url() -> str:
    """Where usage is kept if nobody says otherwise: the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return f"sqlite:///{Path(data) / 'headgate' / 'usage.db'}"


def url_of(given: str) -> str:
    """A URL as SQLAlchemy takes it, of a URL or of the path of an SQLite file."""
    if "://" not in given:
        return f"sqlite:///{Path(given).absolute()}"
    scheme, _, rest = given.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else given


def open_engine(given: str) -> Engine:
    """The engine for a URL or path; nothing is connected yet, but a missing file and its folder are made, for us
    alone. Raises StoreError."""
    url = url_of(given)
    try:
        if url.startswith("sqlite:///"):
            make_private(Path(url.removeprefix("sqlite:///")))  # its journal becomes as the file is
            engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
            event.listen(engine, "connect", _tune_sqlite)
            return engine
        if not url.startswith("postgresql+psycopg://"):
            raise StoreError("usage is kept in SQLite (a path, or sqlite:///PATH) or in Postgres (postgresql://…)")
        said = make_url(url).query
        options = {name: value for name, value in _POSTGRES.items() if name not in said}
        return create_engine(url, pool_size=2, pool_pre_ping=True, connect_args=options)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError(f"not the URL of a database: {error}") from None
    except ModuleNotFoundError:
        raise StoreError("Postgres needs psycopg: pip install 'headgate[postgres]'") from None
    except OSError as error:
        raise StoreError(f"cannot make {url}: {error.strerror}") from error


def _tune_sqlite(connection: sqlite3.Connection, record: object) -> None:
    """Readers never wait for the writer; a power failure may cost the last moments, never the file."""
    del record
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}").close()


def migrate(engine: Engine, revision: str = "head") -> None:
    """Makes or changes the tables, wholly or not at all; safe to be called by several processes at once. Raises
    StoreError."""
    # Imported here: asking needs no migrations.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    try:
        with engine.begin() as connection:
            _lock(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except SQLAlchemyError as error:
        raise StoreError(f"cannot bring the tables up to date: {reason(error)}") from error
    except CommandError as error:
        raise StoreError(f"the tables are of a newer Headgate than this one ({error}): upgrade it") from None


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    else:
        # Python's module begins no transaction before a statement that changes tables
        connection.execute(text("BEGIN IMMEDIATE"))


def reason(error: SQLAlchemyError) -> str:
    """What the database said, in one line and without the statement's values."""
    said = getattr(error, "orig", None) or error
    return str(said).strip().partition("\n")[0]


class Sockets:
    """The connections that an engine has to a Postgres."""

    def __init__(self, engine: Engine) -> None:
        self._open: WeakSet[Any] = WeakSet()
        if engine.dialect.name == "postgresql":
            event.listen(engine, "do_connect", self._connect)

    def _connect(self, dialect: Dialect, record: object, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        del record
        connection = dialect.connect(*arguments, **options)
        self._open.add(connection)
        return connection

    def shut_down(self) -> None:
        """Has threads that wait for the database fail at once: Python cannot end them."""
        for connection in self._open:
            if not connection.closed:
                with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as shared:
                    shared.shutdown(socket.SHUT_RDWR)
