"""Settings, read from the environment; docs/operations.md lists each name.

Without ``MASK_SOCIAL_SECRET_KEY`` this is a local checkout: it keeps its own secret under ``var/``, serves
plain HTTP on loopback names and talks to the embedded PostgreSQL and Redis. With it, it is a deployment and
every protection is on.
"""

import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import django_stubs_ext
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy

from mask_social import clock, embedded, guarded_http, storage
from mask_social.env import env, local_secret, log_format, log_level, positive, public_url, var_directory, whole
from mask_social.observability import logs

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = var_directory(BASE_DIR)

LOCAL = not env.str("MASK_SOCIAL_SECRET_KEY", default="")
SECRET_KEY = local_secret(VAR_DIR / "secret_key") if LOCAL else env.str("MASK_SOCIAL_SECRET_KEY")
DEBUG = env.bool("MASK_SOCIAL_DEBUG", default=False)
if clock_file := env.str("MASK_SOCIAL_CLOCK_FILE", default=""):
    if not LOCAL:
        raise ImproperlyConfigured("MASK_SOCIAL_CLOCK_FILE is for trials; a deployment goes by the machine's time.")
    clock.follow(Path(clock_file))
ALLOWED_HOSTS: list[str] = (
    ["localhost", "127.0.0.1", "[::1]"] if LOCAL else env.list("MASK_SOCIAL_ALLOWED_HOSTS", default=[])
)
CSRF_TRUSTED_ORIGINS: list[str] = env.list("MASK_SOCIAL_CSRF_TRUSTED_ORIGINS", default=[])
# How many proxies of ours write X-Forwarded-For: mask_social.addresses.
TRUSTED_PROXIES = env.int("MASK_SOCIAL_TRUSTED_PROXIES", default=0 if LOCAL else 1)

_services = embedded.running(VAR_DIR)
_NOWHERE = VAR_DIR / "no-service-is-running"
DATABASES = {
    "default": env.db_url(
        "DATABASE_URL",
        default=_services.database_url if _services else f"postgresql:///mask_social?host={_NOWHERE}",
    )
    | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
}
if env.bool("MASK_SOCIAL_PREPARE", default=False):
    # A statement is parsed and planned at its first calls, and no longer at each.
    DATABASES["default"].setdefault("OPTIONS", {}).update(server_side_binding=True, prepare_threshold=3)
REDIS_URL = env.str("REDIS_URL", default=_services.redis_url if _services else f"unix://{_NOWHERE}")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "mask_social.admin_config.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "pgtrigger",
    "mask_social",
    "moderation",
    "incentives",
]
MIDDLEWARE = [
    "mask_social.observability.middleware.FollowMiddleware",  # first: it tells of whatever the others answer
    "mask_social.headers.protect",  # outside of all that answers
    "mask_social.observability.exposition.metrics_first",  # Prometheus asks by address, not by one of our names
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "mask_social.asking.RememberRequest",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "moderation.throttling.rate_limit_headers",
    "mask_social.bodies.require_length",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "mask_social.urls"
WSGI_APPLICATION = "mask_social.wsgi.application"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = reverse_lazy("admin:login")

# The staff's door: moderation.sign_in.
CSRF_FAILURE_VIEW = "mask_social.error_pages.csrf_failure"
REQUIRE_TOTP = env.bool("MASK_SOCIAL_REQUIRE_TOTP", default=False)
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = None if LOCAL else VAR_DIR / "static"  # a checkout serves them from the packages
WHITENOISE_USE_FINDERS = LOCAL
# Links to photos die so soon that one passed on is of little use.
PHOTO_LINK_SECONDS = positive("MASK_SOCIAL_LINK_SECONDS", 300)
STORAGES = {
    "default": storage.backend(
        env.str("STORAGE_URL", default=""),
        VAR_DIR / "media",
        access_key=env.str("STORAGE_ACCESS_KEY", default=""),
        secret_key=env.str("STORAGE_SECRET_KEY", default=""),
    ),
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if LOCAL
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

if not LOCAL:
    SECURE_SSL_REDIRECT = env.bool("MASK_SOCIAL_SSL_REDIRECT", default=True)
    SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz)$"]  # probes come from inside, by plain HTTP
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = env.int("MASK_SOCIAL_HSTS_SECONDS", default=31_536_000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
else:
    # Cookies know no ports: two checkouts on one machine must not sign each other out.
    _checkout = f"{zlib.crc32(str(VAR_DIR).encode()):08x}"
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"session_{_checkout}", f"csrf_{_checkout}"

# Uploads: the limits are stated in docs/api.md and enforced in moderation.uploads.
MAX_PHOTO_BYTES = 15 * 1024 * 1024
MAX_PHOTOS = 10
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # of the fields that are no files
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100
DATA_UPLOAD_MAX_NUMBER_FILES = 50  # more than MAX_PHOTOS, so that the eleventh photo gets our own error
FILE_UPLOAD_TEMP_DIR = None

# How much one caller may ask: moderation.throttling. When no more posts are taken: moderation.overload.
RATE_KEY = whole("MASK_SOCIAL_RATE_KEY", 6000)
RATE_AUTHOR = whole("MASK_SOCIAL_RATE_AUTHOR", 60)
RATE_ADDRESS = whole("MASK_SOCIAL_RATE_ADDRESS", 60)
MAX_QUEUE_AGE = timedelta(seconds=positive("MASK_SOCIAL_MAX_QUEUE_SECONDS", 900))
MAX_QUEUED = whole("MASK_SOCIAL_MAX_QUEUED", 100_000)

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["moderation.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["moderation.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["moderation.parsers.JsonParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "mask_social.errors.problem_response",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "mask_social",
    "DESCRIPTION": "Photo posts in; verdicts, badges, boosts and matched donations out.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "moderation.schema.describe_limits",
        "moderation.schema_requests.describe_requests",
        "mask_social.schema_links.describe_links",
    ],
    "ENUM_NAME_OVERRIDES": {
        "PostStatus": "moderation.models.Post.Status",
        "DeliveryStatus": "incentives.models.Delivery.Status",
        "CampaignStatus": "incentives.models.Campaign.Status",
        "MatchStatus": "incentives.models.Match.Status",
        "BadgeStatus": "incentives.models.BadgeAward.Status",
        "WebhookEndpointStatus": "incentives.models.WebhookEndpoint.Status",
        "EventType": "incentives.models.Event.Type",
        "EventSubjectType": "incentives.models.Event.SubjectType",
    },
}

# Analysis
ANALYZER = env.str("MASK_SOCIAL_ANALYZER", default="ml.analyzer.Analyzer")
ANALYSIS_MAX_ATTEMPTS = 3
ANALYSIS_TIME_LIMIT = positive("MASK_SOCIAL_ANALYSIS_SECONDS", 60)
# A lease outlives the hard time limit, so that no live worker loses its claim.
ANALYSIS_LEASE = timedelta(seconds=ANALYSIS_TIME_LIMIT * 1.5)
SWEEP_SECONDS = positive("MASK_SOCIAL_SWEEP_SECONDS", 10)

# Fetching photos and posting webhooks: public addresses only, unless a developer says otherwise.
ALLOW_PRIVATE_ADDRESSES = env.bool("MASK_SOCIAL_ALLOW_PRIVATE_ADDRESSES", default=False)
OUTGOING_PORTS = frozenset(env.list("MASK_SOCIAL_OUTGOING_PORTS", cast=int, default=sorted(guarded_http.ALLOWED_PORTS)))
FETCH_DEADLINE_SECONDS = positive("MASK_SOCIAL_FETCH_SECONDS", 15)
WEBHOOK_TIMEOUT_SECONDS = positive("MASK_SOCIAL_WEBHOOK_SECONDS", 10)
# Waits before the second and later tries, 75 hours in all; the last try over, the delivery has failed.
WEBHOOK_RETRY_SECONDS: list[int] = env.list(
    "MASK_SOCIAL_WEBHOOK_RETRY_SECONDS",
    cast=int,
    default=[5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400],
)
WEBHOOK_SWEEP_SECONDS = positive("MASK_SOCIAL_WEBHOOK_SWEEP_SECONDS", 2)  # the first wait is 5 s
WEBHOOK_PARALLEL = whole("MASK_SOCIAL_WEBHOOK_PARALLEL", 4)
WEBHOOK_SLOW_PLACES = whole("MASK_SOCIAL_WEBHOOK_SLOW_PLACES", 8)
WEBHOOK_FAILING_LIMIT = timedelta(days=positive("MASK_SOCIAL_WEBHOOK_FAILING_DAYS", 5))
EVENT_RETENTION = timedelta(days=positive("MASK_SOCIAL_EVENT_DAYS", 30))

# Mail: who is told that an endpoint was disabled.
vars().update(env.email_url("MASK_SOCIAL_EMAIL_URL", default="consolemail://"))
DEFAULT_FROM_EMAIL = env.str("MASK_SOCIAL_EMAIL_FROM", default="mask_social@localhost")
EMAIL_TIMEOUT = 10

# Badges as credentials to carry elsewhere: incentives.credentials.
PUBLIC_URL = public_url("MASK_SOCIAL_PUBLIC_URL")  # empty: the host that was asked
ISSUER_NAME = env.str("MASK_SOCIAL_ISSUER_NAME", default="mask_social")
BADGE_KEY = env.str("MASK_SOCIAL_BADGE_KEY", default="")
LOCAL_BADGE_KEY = VAR_DIR / "badge_key.pem"

CELERY_BROKER_URL = f"redis+socket://{REDIS_URL[7:]}" if REDIS_URL.startswith("unix://") else REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False  # leases decide who tries again, so that a deadly photo is counted
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "moderation.tasks.analyze_photo": {"queue": "analysis"},
    "incentives.tasks.send_webhooks": {"queue": "webhooks"},
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 60  # a worker loads its models before it reports; 4 s could be a loop
# A broker that is away is waited for, at most half a minute between two tries and for as long as it takes.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Longer than any task. A message that comes again all the same (celery issue 5935) finds its row claimed or done.
    "visibility_timeout": 3600,
    # A broker that is gone without a word must hold up neither a request nor a worker.
    "socket_connect_timeout": 3,
    "socket_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    # One that timed out may have been sent: the sweep decides, after looking at the row.
    "retry_on_timeout": False,
}
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
# What runs goes on without its broker; its message comes again and finds the work done.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False

# Watching the workers: mask_social.canary and mask_social.watchdog. A worker behind the longest photo is not silent.
CANARY_SECONDS = positive("MASK_SOCIAL_CANARY_SECONDS", 5)
SILENCE_SECONDS = positive("MASK_SOCIAL_SILENCE_SECONDS", ANALYSIS_LEASE.total_seconds())
# Above these a process is changed for a fresh one once its task is done.
ANALYSIS_WORKER_MIB = positive("MASK_SOCIAL_ANALYSIS_WORKER_MIB", 1000)
WORKER_MIB = positive("MASK_SOCIAL_WORKER_MIB", 400)
CELERY_WORKER_MAX_MEMORY_PER_CHILD = round(ANALYSIS_WORKER_MIB * 1024)  # KiB, and of the most it ever held

CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULE = {
    name: {"task": task, "schedule": SWEEP_SECONDS, "options": {"expires": SWEEP_SECONDS}}
    for name, task in {
        "requeue stale analyses": "moderation.tasks.sweep_analyses",
        "go on with re-evaluations": "moderation.tasks.sweep_reevaluations",
        "apply missed verdicts": "incentives.tasks.sweep_verdicts",
        "write to platforms": "incentives.tasks.notify_platforms",
        "settle matches": "incentives.tasks.settle_matches",
        "tend campaigns": "incentives.tasks.tend_campaigns",
        "bring the daily figures up to now": "incentives.tasks.roll_up_figures",
        "let badges run out": "incentives.tasks.expire_badges",
        "go on with backfills of badges": "incentives.tasks.sweep_backfills",
    }.items()
}
CELERY_BEAT_SCHEDULE["send due deliveries"] = {
    "task": "incentives.tasks.sweep_deliveries",
    "schedule": WEBHOOK_SWEEP_SECONDS,
    "options": {"expires": WEBHOOK_SWEEP_SECONDS},
}
CELERY_BEAT_SCHEDULE["forget old events"] = {
    "task": "incentives.tasks.forget_events",
    "schedule": 600,
    "options": {"expires": 600},
}
CELERY_BEAT_SCHEDULE["prove ledgers"] = {
    "task": "incentives.tasks.prove_ledgers",
    "schedule": crontab(hour=3, minute=0),
}
CELERY_BEAT_SCHEDULE["verify the audit log"] = {
    "task": "moderation.tasks.verify_audit",
    "schedule": crontab(hour=4, minute=0),
}
CELERY_BEAT_SCHEDULE["count the daily figures anew"] = {
    "task": "incentives.tasks.rebuild_figures",
    "schedule": crontab(hour=3, minute=30),
}
CELERY_BEAT_SCHEDULE["forget the keys that no longer sign"] = {
    "task": "incentives.tasks.forget_expired_keys",
    "schedule": crontab(minute=17),
}
CELERY_BEAT_SCHEDULE["sweep files"] = {
    "task": "moderation.tasks.sweep_files",
    "schedule": crontab(hour=4, minute=0),
}
CELERY_BEAT_SCHEDULE["add up experiments"] = {
    "task": "incentives.tasks.add_up_experiments",
    "schedule": 300,
    "options": {"expires": 300},
}

# Seeing it run: mask_social.observability and docs/operations.md.
LOGGING = logs.configuration(log_format(), log_level())
METRICS_TOKEN = str(env.str("MASK_SOCIAL_METRICS_TOKEN", default="")).strip()
WORKER_METRICS_PORT: int = env.int("MASK_SOCIAL_WORKER_METRICS_PORT", default=0)  # 0: the web tells of the worker too
OTLP_ENDPOINT = str(env.str("MASK_SOCIAL_OTLP_ENDPOINT", default="")).rstrip("/")

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "mask_social",
    "SITE_HEADER": "mask_social",
    "SITE_SYMBOL": "masks",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("mask_social/favicon.svg")}
    ],
    "SHOW_HISTORY": True,
    "DASHBOARD_CALLBACK": "incentives.admin.dashboard.add_to",
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
            {"title": "Second factor", "link": reverse_lazy("admin:second_factor")},
        ]
    },
    "SIDEBAR": {"show_search": True, "navigation": "incentives.admin.navigation.sections"},
}
