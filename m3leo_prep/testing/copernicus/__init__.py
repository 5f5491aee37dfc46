"""A stand-in for the Copernicus Data Space and for open catalogues on this machine, which the real clients talk to.

``python -m m3leo_prep.testing.copernicus`` starts it and prints what to type in another terminal. In tests:

    with CopernicusStandIn() as copernicus:
        os.environ.update(copernicus.environment)
        copernicus.add(safe.product)

It is the Data Space's login, OData, downloads, STAC catalogue and object store, Earth Search, Planetary Computer with
its tokens, and public buckets. The STAC servers (stac-fastapi-pgstac on PostgreSQL) and the object store (SeaweedFS)
are real ones; what the rest answers is what documentation and recorded answers show; see each module.
"""

from m3leo_prep.testing.copernicus.products import Product
from m3leo_prep.testing.copernicus.stand_in import EODATA, PUBLIC, CopernicusStandIn, lacking

__all__ = ["EODATA", "PUBLIC", "CopernicusStandIn", "Product", "lacking"]
