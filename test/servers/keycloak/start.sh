#!/usr/bin/env bash
# Keycloak in development mode, with its database in memory.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
version=26.7.3
cache="$root/.cache/keycloak-$version"
home="$cache/keycloak-$version"
issuer="$origin/realms/demo"

get() {
  need java mvn unzip
  mvn --quiet --batch-mode dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:zip -DoutputDirectory="$cache"
  unzip -q -o "$cache/keycloak-quarkus-dist-$version.zip" -d "$cache"
  rm "$cache/keycloak-quarkus-dist-$version.zip"
}
once "$cache" get
mkdir -p "$home/data/import"
receiver="127.0.0.1:$((port + 2))"
sed "s|LOGOUT_LISTENER|http://127.0.0.1:$((port + 1))|; s|RECEIVER|http://$receiver|" "$here/realm.json" >"$home/data/import/realm.json"

export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin-password
serve "$issuer/.well-known/openid-configuration" \
  "$home/bin/kc.sh" start-dev --db=dev-mem --import-realm --features=ssf --spi-ssf-transmitter--default--allow-insecure-push-targets=true \
  --spi-ssf-transmitter--default--outbox-drainer-interval=1s \
  --http-host=127.0.0.1 --http-port="$port" --log-level=warn <<EOF
{"server": "Keycloak $version", "issuer": "$issuer", "public": {"$origin": "https://keycloak.example.com"},
 "authorization_endpoint": "$issuer/protocol/openid-connect/auth",
 "token_endpoint": "$issuer/protocol/openid-connect/token",
 "introspection_endpoint": "$issuer/protocol/openid-connect/token/introspect",
 "revocation_endpoint": "$issuer/protocol/openid-connect/revoke",
 "end_session_endpoint": "$issuer/protocol/openid-connect/logout",
 "redirect_uri": "$redirect", "logout_listener": "127.0.0.1:$((port + 1))",
 "environment": {"ISSUER": "$issuer", "CLIENT_SECRET": "bearergate-secret"},
 "gate": {"client_id": "bearergate", "client_secret": "bearergate-secret"},
 "exchange_audience": "orders-internal",
 "rotation": "its administrative API: a key provider of higher priority, then the old one disabled",
 "admin": {"token_endpoint": "$origin/realms/master/protocol/openid-connect/token", "username": "admin", "password": "admin-password",
  "keys": "$origin/admin/realms/demo/components"},
 "signals": {"receiver": "$receiver", "audience": "https://gate.example.com", "streams": "$origin/admin/realms/demo/ssf/clients",
  "realm": "$origin/admin/realms/demo", "push": {"client_id": "gate-push", "client_secret": "receiver-secret"},
  "poll": {"client_id": "gate-poll", "client_secret": "receiver-secret"}, "app": {"client_id": "gate-app", "client_secret": "app-secret"}},
 "user": {"username": "alice", "password": "alice-password"},
 "bound": [
  {"name": "authorization code, DPoP", "grant_type": "authorization_code", "client": {"client_id": "app-dpop", "client_secret": "app-secret"},
   "parameters": {"scope": "openid"}},
  {"name": "client credentials, DPoP", "grant_type": "client_credentials", "client": {"client_id": "app-dpop", "client_secret": "app-secret"}}],
 "grants": [
  {"name": "authorization code", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid email"}},
  {"name": "authorization code, offline", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid offline_access"}},
  {"name": "client credentials", "grant_type": "client_credentials", "client": {"client_id": "app", "client_secret": "app-secret"}},
  {"name": "authorization code, at+jwt", "grant_type": "authorization_code", "client": {"client_id": "app-rfc9068", "client_secret": "app-secret"},
   "parameters": {"scope": "openid"}},
  {"name": "authorization code, lightweight", "want": "wrong_audience", "grant_type": "authorization_code", "client": {"client_id": "app-light", "client_secret": "app-secret"},
   "parameters": {"scope": "openid"}},
  {"name": "client credentials, no audience", "want": "wrong_audience", "grant_type": "client_credentials", "client": {"client_id": "app-plain", "client_secret": "app-secret"}}]}
EOF
