"""The tag `url` of all templates (a builtin, in place of Django's): links stay in the organization of their page."""

from typing import Any

from django import template
from django.template import defaulttags

from accounts import links

register = template.Library()


class PageURLNode(defaulttags.URLNode):
    """Django's tag, which puts the organization of the page first among the arguments if the page needs one.

    `{% url 'keys' organization_id=other.pk %}` links to a page of another organization. Where there is no organization,
    as in a mail, the link leads to the reader's own (see `links`).
    """

    def render(self, context: template.Context) -> str:
        name = str(self.view_name.resolve(context))
        if name not in links.names() or "organization_id" in self.kwargs:
            return super().render(context)
        args = [arg.resolve(context) for arg in self.args]
        url = links.page_url(links.organization_id_of(getattr(context, "request", None)), name, *args)
        if self.asvar:
            context[self.asvar] = url
            return ""
        return template.base.render_value_in_context(url, context)


@register.tag
def url(parser: Any, token: Any) -> PageURLNode:
    """Link to a page by its name: `{% url 'transcript' job.pk %}`."""
    node = defaulttags.url(parser, token)
    return PageURLNode(node.view_name, node.args, node.kwargs, node.asvar)
