"""Which scope of a key each address of the API needs. Nothing else decides it.

A test holds this table against every address of the product, so none can be added without a line here.
"""

from collections.abc import Mapping
from types import MappingProxyType

from django.http import HttpRequest

from accounts.errors import Forbidden, InsufficientScope
from accounts.models import ApiKey, Scope

# Scopes of which one is enough. Whoever may transcribe may see what becomes of a job whose id they know; only `read`
# lists and searches the jobs of the whole organization. A token meets its own jobs only (`steps.jobs_of`).
TRANSCRIBE = frozenset({Scope.TRANSCRIBE})
READ = frozenset({Scope.READ})
SEE_JOB = frozenset({Scope.TRANSCRIBE, Scope.READ})
CHAT = frozenset({Scope.CHAT})
BILLING = frozenset({Scope.BILLING})
ADMIN = frozenset({Scope.ADMIN})
ANY = frozenset(Scope)

# Name of the address in the URLconf -> HTTP method -> scopes. HEAD is as GET.
ROUTES: Mapping[str, Mapping[str, frozenset[Scope]]] = MappingProxyType(
    {
        "v1-balance": {"GET": BILLING},
        "v1-usage": {"GET": BILLING},
        "v1-limits": {"GET": ADMIN, "PUT": ADMIN},
        "v1-alerts": {"GET": ADMIN, "PUT": ADMIN},
        "v1-keys": {"GET": ADMIN, "POST": ADMIN},
        "v1-key": {"GET": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN},
        "v1-key-rotate": {"POST": ADMIN},
        # The view refuses tokens. A key gives no more scopes than it has.
        "v1-tokens": {"GET": ANY, "POST": ANY},
        "v1-token": {"GET": ANY, "DELETE": ANY},
        # Who raises the cap lets keys charge more to the card: only an admin.
        "v1-automatic-topup": {"GET": BILLING | ADMIN, "PUT": ADMIN, "DELETE": ADMIN},
        "v1-transcribe": {"POST": TRANSCRIBE},
        "v1-upload": {"POST": TRANSCRIBE},
        # The view then asks for the scope of the call that is estimated.
        "v1-estimate": {"POST": TRANSCRIBE | CHAT | READ},
        "v1-models": {"GET": ANY},
        "v1-languages": {"GET": ANY},
        "v1-jobs": {"GET": READ},
        "v1-job": {"GET": SEE_JOB, "DELETE": TRANSCRIBE},
        "v1-status": {"GET": SEE_JOB},
        "v1-cancel": {"POST": TRANSCRIBE},
        "v1-events": {"GET": SEE_JOB},
        "v1-items": {"GET": SEE_JOB},
        "v1-result": {"GET": SEE_JOB},
        "v1-result-text": {"GET": SEE_JOB},
        "v1-result-document": {"GET": SEE_JOB},
        "apex-chat-completions": {"POST": CHAT},
        "apex-models": {"GET": ANY},
        "openai-transcriptions": {"POST": TRANSCRIBE},
        "openai-translations": {"POST": TRANSCRIBE},
        "voxnexus-stt": {"POST": TRANSCRIBE},
        "deepgram-listen": {"POST": TRANSCRIBE},
        "deepgram-projects": {"GET": ANY},
        "deepgram-project": {"GET": ANY},
        "deepgram-balances": {"GET": BILLING},
        "asr": {"POST": TRANSCRIBE},
        "asr-detect-language": {"POST": TRANSCRIBE},
        "transcribeapi-transcribe": {"POST": TRANSCRIBE},
        "transcribeapi-job": {"GET": SEE_JOB},
        "transcribeapi-job-result": {"GET": SEE_JOB},
        "transcribeapi-upload-completed": {"POST": TRANSCRIBE},
        "transcribeapi-jobs": {"POST": TRANSCRIBE},
        "transcribeapi-upload-urls": {"POST": TRANSCRIBE},
        "transcribeapi-resume": {"POST": TRANSCRIBE},
        "transcribeapi-add-funds": {"POST": BILLING},
    }
)


# What a token would store there without a job could be ordered by nobody, and would fill the organization's space.
NOT_FOR_TOKENS = frozenset({"v1-upload"})


def route_of(request: HttpRequest) -> str:
    """Return the name of the address that a request was routed to."""
    match = request.resolver_match
    assert match is not None, "a view runs after its address was resolved"
    return match.view_name


def require(api_key: ApiKey, *, route: str, method: str) -> None:
    """Raise InsufficientScope unless the key has a scope that this method of the address needs.

    Raises Forbidden for a token at an address that is closed to tokens.
    A method without a line passes, because the address answers it with 405. Raises KeyError for an address without one.
    """
    if api_key.is_token and route in NOT_FOR_TOKENS:
        raise Forbidden("A token cannot store files for later. Send the file with its job, or use an API key.")
    require_one_of(ROUTES[route].get("GET" if method == "HEAD" else method, frozenset(Scope)), api_key=api_key)


def require_one_of(needed: frozenset[Scope], *, api_key: ApiKey) -> None:
    """Raise InsufficientScope unless the key has one of these scopes."""
    if not needed & api_key.scope_set:
        raise InsufficientScope([scope.value for scope in Scope if scope in needed])
