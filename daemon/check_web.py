"""What `hilum check` says of the pages: where they are, how they are reached, who may sign in."""

from __future__ import annotations

from pathlib import Path

from daemon.check_storage import Finding
from daemon.errors import CannotListen
from daemon.settings import Settings
from daemon.web.tls import tls_context
from storage.accounts import Accounts
from storage.database import Database
from storage.errors import StorageError
from storage.people import Role


def look(settings: Settings, config: Path, database: Database | None) -> Finding:
    """Say whether somebody can look at the pages, and if not, what to do."""
    web = settings.web
    host = f"[{web.bind}]" if ":" in web.bind else web.bind
    address = f"{'http' if web.tls is None else 'https'}://{host}:{web.port or 'a free port'}"
    if web.tls is None:
        way = "HTTP, behind a proxy that has HTTPS" if web.insecure_http else "this machine alone"
    else:
        way = f"certificate {web.tls.certificate}"
        try:
            tls_context(web.tls)
        except CannotListen as error:
            remedy = "set web.tls.certificate and web.tls.key to a PEM chain and its own key"
            return Finding("pages", False, str(error), remedy)
    says = f"{address}, {way}"
    first = f"make the first account: hilum user add LOGIN --role administrator --config {config}"
    try:
        accounts = () if database is None else Accounts(database).rows()
    except StorageError as error:
        return Finding("pages", False, str(error), "restore the database")
    enabled = [one for one in accounts if one.disabled_at is None]
    if web.oidc is not None:
        return Finding("pages", True, f"{says}; sign-in by {web.oidc.issuer}")
    if not enabled:
        return Finding("pages", True, f"{says}; nobody can sign in yet", first)
    counted = ", ".join(f"{sum(one.role is role for one in enabled)} {role}s" for role in Role)
    lacks = "" if any(one.role is Role.ADMINISTRATOR for one in enabled) else first
    return Finding("pages", True, f"{says}; {counted}", lacks.replace("first account", "account"))
