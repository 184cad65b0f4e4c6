"""The settings of a small project; each test says where its databases are."""

from importlib.util import find_spec

SECRET_KEY = "not a secret"  # noqa: S105
USE_TZ = True
# Django makes it the one of the process.
TIME_ZONE = "UTC"
LOGGING_CONFIG = None
DEBUG = False
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_tasks",
    "taskq.contrib.django",
    "tests.contrib.django.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "tests.contrib.django.urls"
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
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "default"},
    "reports": {"ENGINE": "django.db.backends.postgresql", "NAME": "reports"},
    "file": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
TASKQ = {"WORKER_DEFAULTS": {"concurrency": 2}}

# The same backend for the tasks of both packages: those of Django 6 where it is there.
_BACKEND = "taskq.contrib.django.TaskqBackend"
_BACKPORT = "taskq.contrib.django.BackportBackend"
HAS_DJANGO_TASKS = find_spec("django.tasks") is not None
TASKS = {
    "default": {"BACKEND": _BACKEND, "QUEUES": ["default", "mail"]},
    "reports": {"BACKEND": _BACKEND, "OPTIONS": {"database": "reports"}},
    "backport": {"BACKEND": _BACKPORT, "QUEUES": ["default", "mail"]},
}
