#!/usr/bin/env bash
# django-oauth-toolkit in a Django project of one file.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
version=3.4.1
cache="$root/.cache/django-oauth-toolkit-$version"
issuer="$origin/o"

get() {
  need python3
  python3 -m venv "$cache"
  "$cache/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
}
once "$cache" get

serve "$issuer/.well-known/openid-configuration" "$cache/bin/python" -W ignore "$here/server.py" "$port" <<EOF
{"server": "django-oauth-toolkit $version", "issuer": "$issuer", "public": {"$origin": "https://django.example.com"},
 "authorization_endpoint": "$issuer/authorize/", "token_endpoint": "$issuer/token/",
 "introspection_endpoint": "$issuer/introspect/", "revocation_endpoint": "$issuer/revoke_token/",
 "redirect_uri": "$redirect",
 "environment": {"ISSUER": "$issuer", "CLIENT_SECRET": "bearergate-secret"},
 "gate": {"client_id": "bearergate", "client_secret": "bearergate-secret"},
 "rotation": "its setting OIDC_RSA_PRIVATE_KEY, which signs ID tokens alone: access tokens are under no key",
 "user": {"username": "alice", "password": "alice-password"},
 "grants": [
  {"name": "authorization code, with resource", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid read", "resource": "https://api.example.com/"}},
  {"name": "authorization code", "want": "wrong_audience", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid read"}},
  {"name": "client credentials", "grant_type": "client_credentials", "client": {"client_id": "app-service", "client_secret": "app-secret"},
   "parameters": {"scope": "read", "resource": "https://api.example.com/"}}]}
EOF
