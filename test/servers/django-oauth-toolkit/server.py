"""A Django project in one file: the views of django-oauth-toolkit, a login
form, one user and two clients, with the database in memory."""

import sys

import django
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.core.management import call_command

port = int(sys.argv[1])
origin = f"http://127.0.0.1:{port}"
key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

LOGIN = '<form method="post">{% csrf_token %}{{ form }}<input type="submit"></form>'

settings.configure(
    SECRET_KEY="not-a-secret",
    ROOT_URLCONF="__main__",
    ALLOWED_HOSTS=["127.0.0.1"],
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:server?mode=memory&cache=shared"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [("django.template.loaders.locmem.Loader", {"login.html": LOGIN})],
            },
        }
    ],
    LOGIN_URL="/login/",
    OAUTH2_PROVIDER={
        "OIDC_ENABLED": True,
        "OIDC_RSA_PRIVATE_KEY": key.decode(),
        "ALLOWED_SCHEMES": ["http", "https"],
        "SCOPES": {"openid": "OpenID Connect", "read": "Read", "write": "Write", "introspection": "Introspect tokens"},
        "DEFAULT_SCOPES": ["read"],
    },
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.auth.views import LoginView  # noqa: E402
from django.urls import include, path  # noqa: E402
from oauth2_provider.models import get_application_model  # noqa: E402

urlpatterns = [
    path("login/", LoginView.as_view(template_name="login.html")),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
]


def client(name, grant):
    get_application_model().objects.create(
        client_id=name,
        client_secret=f"{name.split('-')[0]}-secret",
        name=name,
        client_type="confidential",
        authorization_grant_type=grant,
        redirect_uris="https://app.example.com/callback",
        algorithm="RS256",
        skip_authorization=True,
    )


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("alice", password="alice-password")
    client("app", "authorization-code")
    client("app-service", "client-credentials")
    client("bearergate", "client-credentials")
    call_command("runserver", f"127.0.0.1:{port}", use_reloader=False, skip_checks=True, verbosity=0)
