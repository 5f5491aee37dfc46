"""Items as the catalogues tell of products: what CDSE says of every file, and collections.

The layout is that of recorded items and of the generator of CDSE's catalogue (github.com/eu-cdse/eometadatatool,
``stac/framework``), with the addresses of the real services.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

if TYPE_CHECKING:
    from m3leo_prep.testing.copernicus.products import Product

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
STORAGE = MappingProxyType({"alternate:name": "S3", "auth:refs": ["s3"], "storage:refs": ["cdse-s3", "creodias-s3"]})
_IDENTITY = "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/.well-known/openid-configuration"
COMMON: Mapping[str, Any] = MappingProxyType(
    {
        "auth:schemes": {"s3": {"type": "s3"}, "oidc": {"type": "openIdConnect", "openIdConnectUrl": _IDENTITY}},
        "storage:schemes": {
            name: {"type": "custom-s3", "platform": platform, "requester_pays": pays}
            for name, platform, pays in (
                ("cdse-s3", "https://eodata.dataspace.copernicus.eu", False),
                ("creodias-s3", "https://eodata.cloudferro.com", True),
            )
        },
        "expires": "9999-01-01T00:00:00.000000Z",
    }
)
"""Properties of each of CDSE's items."""


def extensions(**versions: str) -> list[str]:
    """Return addresses of extensions by their versions: without them clients overlook what they say of projections."""
    return [f"https://stac-extensions.github.io/{name}/v{version}/schema.json" for name, version in versions.items()]


def moment(when: datetime) -> str:
    """Return a time as the catalogues write it."""
    return f"{when:%Y-%m-%dT%H:%M:%S.%fZ}"


def product_id(name: str) -> str:
    """Return the id of a product by its name with ``.SAFE``, as the stand-in's OData has it."""
    return str(UUID(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()))


def cdse_file(product: Product, path: str, **about: Any) -> dict[str, Any]:
    """Return what CDSE's item says of a product's file: where it is in the object store and by https, its size."""
    file = product.folder / path
    nodes = "".join(f"/Nodes({quote(part)})" for part in (product.name, *path.split("/")))
    address = f"https://zipper.dataspace.copernicus.eu/odata/v1/Products({product_id(product.name)}){nodes}/$value"
    checksum = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    return {
        **about,
        "file:checksum": f"d50110{checksum}",  # multihash of MD5
        "file:size": file.stat().st_size,
        "file:local_path": f"{product.name}/{path}",
        "href": f"s3://eodata/{product.key}/{path}",
        **STORAGE,
        "alternate": {"https": {"href": address, "alternate:name": "HTTPS", "auth:refs": ["oidc"], "storage:refs": []}},
    }


def cdse_item(
    product: Product, collection: str, properties: Mapping[str, Any], assets: Mapping[str, Any]
) -> dict[str, Any]:
    """Return CDSE's item of a product; an asset with the whole archive is added."""
    from shapely.geometry import mapping

    archive = {
        "type": "application/zip",
        "title": "Zipped product",
        "roles": ["data", "metadata", "archive"],
        "file:local_path": f"{product.name}.zip",
        "href": f"https://download.dataspace.copernicus.eu/odata/v1/Products({product_id(product.name)})/$value",
        "auth:refs": ["oidc"],
    }
    times = {"datetime": product.start, "start_datetime": product.start, "end_datetime": product.end}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            *extensions(authentication="1.1.0", eo="2.0.0", file="2.1.0", grid="1.1.0", processing="1.2.0"),
            *extensions(product="1.0.0", projection="2.0.0", raster="2.0.0", sar="1.3.0", sat="1.1.0", storage="2.0.0"),
        ],
        "collection": collection,
        "id": Path(product.name).stem,
        "bbox": list(product.footprint.bounds),
        "geometry": mapping(product.footprint),
        "properties": {
            **{name: moment(when) for name, when in times.items()},
            **{name: moment(product.end) for name in ("created", "updated", "published")},
            **properties,
            **COMMON,
        },
        "links": [
            {
                "rel": "enclosure",
                "href": f"s3://eodata/{product.key}/",
                "type": "application/x-directory",
                "title": "S3 path to source directory",
            }
        ],
        "assets": {**assets, "Product": archive},
    }


def collection(name: str, title: str) -> dict[str, Any]:
    """Return a collection that says little of itself."""
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "title": title,
        "description": f"{title}, of the stand-in",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2014-10-04T00:00:00Z", None]]},
        },
        "links": [
            {"rel": "license", "href": "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"}
        ],
    }
