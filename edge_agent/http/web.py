"""The web page's static files. They hold no data; the page asks for the token."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)

_PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
# Nothing from elsewhere, no inline script, no frame around the page.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _serve(path: str, name: str, media_type: str) -> None:
    content = (files("edge_agent") / "web" / name).read_bytes()

    async def page() -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    router.add_api_route(path, page, methods=["GET", "HEAD"])


for _path, (_name, _media_type) in _PAGES.items():
    _serve(_path, _name, _media_type)
