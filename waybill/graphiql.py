"""GraphiQL, the page that browsers get at ``/graphql``: built from ``web/``, or from a CDN where it was not built."""

import json
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"
CDN_PAGE = Path(__file__).parent / "graphiql_cdn.html"

NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# Monaco places its text by inline styles and draws its squiggles as data: images.
OWN_ORIGIN = (
    "script-src 'self'; worker-src 'self'; connect-src 'self'; font-src 'self'; "
    f"img-src 'self' data:; style-src 'self' 'unsafe-inline'; {NOTHING_ELSE}"
)
# What the CDN sends can read the key in the page; connect-src lets it go nowhere but here.
CDN = (
    "script-src 'unsafe-inline' https://esm.sh data:; worker-src blob: https://esm.sh; connect-src 'self'; "
    f"font-src data:; img-src data:; style-src 'unsafe-inline' https://esm.sh; {NOTHING_ELSE}"
)


def graphiql_page(key: str | None = None, static: Path = STATIC) -> Callable[[Request], Response]:
    """Reads the page once. ``key`` is for `waybill dev` only: whoever can open the page can read it."""
    built = (static / "index.html").exists()
    html = (static / "index.html" if built else CDN_PAGE).read_text(encoding="utf-8")
    config = json.dumps({"endpoint": "/graphql", "key": key})
    for character in "<>&":  # JSON has these in strings only, where the escape means the same
        config = config.replace(character, f"\\u{ord(character):04x}")
    html = html.replace('id="waybill"></script>', f'id="waybill">{config}</script>')
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": OWN_ORIGIN if built else CDN,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    # A response for each request, because middleware writes into its headers.
    return lambda _request: HTMLResponse(html, headers=headers)


class GraphiqlAssets(StaticFiles):
    """The files of the built page, for ``/graphiql/assets``. Their names hold a hash, so browsers may keep them."""

    def __init__(self, static: Path = STATIC) -> None:
        assets = static / "assets"
        super().__init__(directory=assets if assets.exists() else None)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
