"""Small files that browsers and search engines ask every site for: the icon, robots.txt and the site map."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import escape
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from voxsite import doc_pages, guides

# Pages of members, files and tools.
HIDDEN = (
    *("/accounts/", "/admin/", "/billing/", "/dev/", "/invitations/", "/keys/", "/o/", "/organization/", "/overview/"),
    *("/playground/", "/transcripts/", "/uploads/", "/webhooks/"),
)


@require_safe
@cache_control(max_age=86_400, public=True)
def favicon(_: HttpRequest) -> HttpResponse:
    """Lead programs that do not read the page to the icon that it names."""
    return redirect(static("favicon.svg"))


@require_safe
@cache_control(max_age=3600, public=True)
def robots(_: HttpRequest) -> HttpResponse:
    rules = "".join(f"Disallow: {path}\n" for path in HIDDEN)
    text = f"User-agent: *\n{rules}\nSitemap: {settings.SITE_URL}/sitemap.xml\n"
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@require_safe
@cache_control(max_age=3600, public=True)
def sitemap(_: HttpRequest) -> HttpResponse:
    """List the pages for everybody. Addresses begin with the configured one: a request's Host can be forged."""
    paths = [reverse(name) for name in ("landing", "pricing", "status")]
    paths += [page.path for page in doc_pages.PAGES]
    paths += [reverse("coming-from", args=[guide.slug]) for guide in guides.GUIDES]
    places = "".join(f"<url><loc>{escape(settings.SITE_URL + path)}</loc></url>\n" for path in paths)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{places}</urlset>\n'
    )
    return HttpResponse(text, content_type="application/xml; charset=utf-8")
