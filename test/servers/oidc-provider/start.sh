#!/usr/bin/env bash
# The npm package oidc-provider.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
need node
folder="$("$root/test/tools/oidc-provider.sh")" || fail oidc-provider
version="$(node -p "require('$folder/node_modules/oidc-provider/package.json').version")"
jwt=https://api.example.com/jwt
opaque=https://api.example.com/opaque

NODE_NO_WARNINGS=1 serve "$origin/.well-known/openid-configuration" node "$here/server.mjs" "$folder" "$port" <<EOF
{"server": "oidc-provider $version", "issuer": "$origin", "public": {"$origin": "https://oidc-provider.example.com"},
 "authorization_endpoint": "$origin/auth", "token_endpoint": "$origin/token",
 "introspection_endpoint": "$origin/token/introspection", "revocation_endpoint": "$origin/token/revocation",
 "end_session_endpoint": "$origin/session/end",
 "redirect_uri": "$redirect", "logout_listener": "127.0.0.1:$((port + 1))",
 "environment": {"ISSUER": "$origin", "CLIENT_SECRET": "bearergate-secret"},
 "require_token_type": true, "gate": {"client_id": "bearergate", "client_secret": "bearergate-secret"},
 "rotation": "a restart with another jwks",
 "user": {"username": "alice", "password": "alice-password"},
 "bound": [
  {"name": "authorization code, DPoP, JWT", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid read", "resource": "$jwt"}},
  {"name": "client credentials, DPoP, JWT", "grant_type": "client_credentials", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "read", "resource": "$jwt"}},
  {"name": "client credentials, DPoP, opaque", "grant_type": "client_credentials", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "read", "resource": "$opaque"}}],
 "grants": [
  {"name": "authorization code, JWT", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid offline_access read", "prompt": "consent", "resource": "$jwt"}},
  {"name": "authorization code, opaque", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid offline_access read", "prompt": "consent", "resource": "$opaque"}},
  {"name": "authorization code, no resource", "want": "wrong_audience", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid offline_access", "prompt": "consent"}},
  {"name": "client credentials, JWT", "grant_type": "client_credentials", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "read", "resource": "$jwt"}},
  {"name": "client credentials, opaque", "grant_type": "client_credentials", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "read", "resource": "$opaque"}}]}
EOF
