#!/usr/bin/env bash
# Ory Hydra in development mode, with SQLite in memory: the public API on the
# port, the administrative one on the next. Whoever logs in accepts the login
# and the consent at the latter, as a login application does.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
version=2.3.0
cache="$root/.cache/hydra-$version"
admin="http://127.0.0.1:$((port + 1))"

get() {
  need go gcc
  cd "$here" && CGO_ENABLED=1 go build -tags sqlite -o "$cache/hydra" github.com/ory/hydra/v2
}
once "$cache" get

export DSN=memory SECRETS_SYSTEM=not-a-secret-but-long-enough URLS_SELF_ISSUER="$origin" \
  URLS_LOGIN="$origin/login" URLS_CONSENT="$origin/consent" URLS_LOGOUT="$origin/logout" \
  SERVE_PUBLIC_HOST=127.0.0.1 SERVE_PUBLIC_PORT="$port" SERVE_ADMIN_HOST=127.0.0.1 SERVE_ADMIN_PORT="$((port + 1))" \
  LOG_LEVEL=error SQA_OPT_OUT=true

client() { # NAME STRATEGY
  curl --silent --fail --output /dev/null --json "{\"client_id\": \"$1\", \"client_secret\": \"app-secret\", \"access_token_strategy\": \"$2\",
    \"grant_types\": [\"authorization_code\", \"refresh_token\", \"client_credentials\"], \"response_types\": [\"code\"],
    \"scope\": \"openid offline_access read\", \"audience\": [\"orders-api\"], \"redirect_uris\": [\"$redirect\"],
    \"post_logout_redirect_uris\": [\"$redirect\"], \"backchannel_logout_session_required\": true,
    \"backchannel_logout_uri\": \"http://127.0.0.1:$((port + 2))/\"}" "$admin/admin/clients"
}
prepare() {
  client app opaque
  client app-jwt jwt
}

serve "$admin/health/ready" "$cache/hydra" serve all --dev <<EOF
{"server": "Ory Hydra $version", "issuer": "$origin", "public": {"$origin": "https://hydra.example.com", "$admin": "https://hydra-admin.example.com"},
 "authorization_endpoint": "$origin/oauth2/auth", "token_endpoint": "$origin/oauth2/token",
 "introspection_endpoint": "$admin/admin/oauth2/introspect", "revocation_endpoint": "$origin/oauth2/revoke",
 "end_session_endpoint": "$origin/oauth2/sessions/logout", "accept_endpoint": "$admin/admin/oauth2/auth/requests",
 "redirect_uri": "$redirect", "logout_listener": "127.0.0.1:$((port + 2))",
 "environment": {"ISSUER": "$origin", "HYDRA_ADMIN": "$admin"},
 "gate": {"client_id": "", "client_secret": ""},
 "rotation": "its administrative API: a new key in the set, then the old one deleted",
 "admin": {"keys": "$admin/admin/keys/hydra.jwt.access-token"},
 "user": {"username": "alice", "password": ""},
 "grants": [
  {"name": "authorization code, opaque", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid offline_access read", "audience": "orders-api"}},
  {"name": "authorization code, JWT", "grant_type": "authorization_code", "client": {"client_id": "app-jwt", "client_secret": "app-secret"},
   "parameters": {"scope": "openid offline_access read", "audience": "orders-api"}},
  {"name": "client credentials, opaque", "grant_type": "client_credentials", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "read", "audience": "orders-api"}},
  {"name": "client credentials, JWT", "grant_type": "client_credentials", "client": {"client_id": "app-jwt", "client_secret": "app-secret"},
   "parameters": {"scope": "read", "audience": "orders-api"}},
  {"name": "client credentials, opaque, no audience", "want": "wrong_audience", "grant_type": "client_credentials", "client": {"client_id": "app", "client_secret": "app-secret"}},
  {"name": "client credentials, JWT, no audience", "want": "wrong_audience", "grant_type": "client_credentials", "client": {"client_id": "app-jwt", "client_secret": "app-secret"}}]}
EOF
