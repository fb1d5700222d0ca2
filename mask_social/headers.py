"""What browsers are told about every answer: what it may load, who may frame it, whether it may be kept."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

#: For answers that are no pages: nothing of them is ever run, loaded or framed.
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_PAGE = (
    "default-src 'none'; connect-src 'self'; font-src 'self'; img-src 'self' data:; manifest-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
)
# Swagger and the admin write style attributes; neither writes scripts into its pages.
_STYLED = "style-src 'self' 'unsafe-inline'; "
DOCS = _PAGE + _STYLED + "script-src 'self'"
#: Alpine, which the admin's pages are made with, evaluates expressions out of its attributes.
ADMIN = _PAGE + _STYLED + "script-src 'self' 'unsafe-eval'"

# A platform shows a photo to its own people, by a link that dies soon.
_EMBEDDED_ELSEWHERE = {"photo"}
_EVERYWHERE = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def protect(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Add to each answer what its view has not said itself."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.headers.get("Access-Control-Allow-Origin") == "*" or _name(request) in _EMBEDDED_ELSEWHERE:
            response.headers.setdefault("Cross-Origin-Resource-Policy", "cross-origin")
        for name, value in _EVERYWHERE.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", _policy(request))
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return answer


def _name(request: HttpRequest) -> str:
    return (request.resolver_match.url_name if request.resolver_match else None) or ""


def _policy(request: HttpRequest) -> str:
    match = request.resolver_match
    if match is None:
        return NOTHING
    if match.namespace == "admin":
        return ADMIN
    return DOCS if _name(request) == "docs" else NOTHING
