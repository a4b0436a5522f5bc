#!/usr/bin/env bash
# The example server of github.com/zitadel/oidc, with one client more.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
version=3.51.17
cache="$root/.cache/zitadel-$version"

get() {
  need go
  cd "$here" && go build -o "$cache/server" .
}
once "$cache" get

serve "$origin/.well-known/openid-configuration" "$cache/server" "$port" <<EOF
{"server": "zitadel/oidc $version", "issuer": "$origin", "public": {"$origin": "https://zitadel.example.com"},
 "authorization_endpoint": "$origin/auth", "token_endpoint": "$origin/oauth/token",
 "introspection_endpoint": "$origin/oauth/introspect", "revocation_endpoint": "$origin/revoke",
 "end_session_endpoint": "$origin/end_session", "redirect_uri": "$redirect",
 "environment": {"ISSUER": "$origin", "CLIENT_SECRET": "secret"},
 "gate": {"client_id": "bearergate", "client_secret": "secret"},
 "rotation": "a restart: the example makes one key when it starts, and Bearergate asks about every token",
 "user": {"username": "test-user@127.0.0.1", "password": "verysecure"},
 "grants": [
  {"name": "authorization code, opaque", "grant_type": "authorization_code", "client": {"client_id": "web", "client_secret": "secret"},
   "parameters": {"scope": "openid email offline_access custom_scope"}},
  {"name": "authorization code, JWT", "grant_type": "authorization_code", "client": {"client_id": "web-jwt", "client_secret": "secret"},
   "parameters": {"scope": "openid email offline_access custom_scope"}}]}
EOF
