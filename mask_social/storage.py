"""Where photographs are kept: a folder that all processes share, or a bucket that speaks S3.

    file:///srv/media
    s3://bucket/prefix?region=eu-central-1
    s3://bucket?endpoint=http://127.0.0.1:9000      any other server of the protocol

Whatever goes wrong with a bucket is raised as an OSError, as it is with a folder: callers know one kind of trouble.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.core.exceptions import ImproperlyConfigured

# A presigned address only has to live until the browser has followed the redirect to it.
PRESIGNED_SECONDS = 60
_PARAMETERS = frozenset({"endpoint", "region"})


def backend(url: str, default: Path, *, access_key: str = "", secret_key: str = "") -> Mapping[str, Any]:
    """Return the entry of Django's STORAGES for an address; the folder `default` where none is given.

    Without keys, the bucket is opened by what the machine itself is allowed (a role, say). Raises ImproperlyConfigured.
    """
    if not url:
        return _folder(default)
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and not query:
        return _folder(Path(parts.path))
    if parts.scheme == "s3" and parts.hostname and not query.keys() - _PARAMETERS:
        if bool(access_key) != bool(secret_key):
            raise ImproperlyConfigured("STORAGE_ACCESS_KEY and STORAGE_SECRET_KEY come together.")
        return _bucket(parts.hostname, parts.path.strip("/"), query, access_key or None, secret_key or None)
    raise ImproperlyConfigured(
        f"STORAGE_URL must look like file:///srv/media or s3://bucket/prefix?region=…&endpoint=…, got {url!r}."
    )


def _folder(path: Path) -> Mapping[str, Any]:
    return {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        # No base_url: photographs are served by views that ask who looks, never by path.
        "OPTIONS": {
            "location": path,
            "base_url": None,
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    }


def _bucket(
    name: str, prefix: str, query: Mapping[str, str], access_key: str | None, secret_key: str | None
) -> Mapping[str, Any]:
    from botocore.config import Config  # slow to import, and only wanted here

    return {
        "BACKEND": "mask_social.storage_s3.Bucket",
        "OPTIONS": {
            "bucket_name": name,
            "location": prefix,
            "endpoint_url": query.get("endpoint"),
            "region_name": query.get("region"),
            "access_key": access_key,
            "secret_key": secret_key,
            "default_acl": None,  # the bucket's own, which should be private
            "querystring_auth": True,
            "querystring_expire": PRESIGNED_SECONDS,
            "object_parameters": {"CacheControl": "private, max-age=300"},
            "client_config": Config(
                signature_version="s3v4",
                connect_timeout=3,
                read_timeout=10,
                retries={"total_max_attempts": 3, "mode": "standard"},
                s3={"addressing_style": "path" if "endpoint" in query else "auto"},
            ),
        },
    }
