"""``python -m m3leo_prep.testing.copernicus.catalogue_server PORT DATABASE_PORT``: STAC APIs on one PostgreSQL server.

The real server, stac-fastapi-pgstac, once for each catalogue: their collections have the same names.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from m3leo_prep.testing.copernicus.catalogue import CATALOGUES, USER

if TYPE_CHECKING:
    from fastapi import FastAPI


def application(database_port: int) -> Any:
    """Return the catalogues as one ASGI application, each below its path."""
    apis = {path: _api(name, path, database_port) for name, path in CATALOGUES.items()}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(apis.values(), receive, send)
            return
        asked = next((path for path in apis if f"{scope['path']}/".startswith(f"{path}/")), next(iter(apis)))
        if scope["path"] == asked:  # as the real ones, which answer there and redirect nobody
            scope = {**scope, "path": f"{asked}/"}
        await apis[asked](scope, receive, send)

    return serve


async def _live(apis: Iterable[FastAPI], receive: Any, send: Any) -> None:
    """Open the connections of all APIs, and close them at the end; see the lifespan protocol of ASGI."""
    async with AsyncExitStack() as stack:
        await receive()
        for api in apis:
            await stack.enter_async_context(api.router.lifespan_context(api))
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _api(name: str, path: str, database_port: int) -> FastAPI:
    from stac_fastapi.pgstac.app import instantiate_api
    from stac_fastapi.pgstac.config import PostgresSettings, Settings
    from stac_fastapi.pgstac.db import close_db_connection, connect_to_db

    database = PostgresSettings(
        pguser=USER,
        pgpassword="",
        pghost="127.0.0.1",
        pgport=database_port,
        pgdatabase=name,
        db_min_conn_size=1,
        db_max_conn_size=4,
    )

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await connect_to_db(app, postgres_settings=database)
        yield
        await close_db_connection(app)

    made: FastAPI = instantiate_api(lifespan=lifespan, settings=Settings(prefix_path=path, stac_fastapi_title=name)).app
    return made


def main() -> None:
    """Serve until killed."""
    import uvicorn

    port, database_port = map(int, sys.argv[1:])
    uvicorn.run(application(database_port), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
