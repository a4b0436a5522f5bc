#!/usr/bin/env bash
# Spring Authorization Server, as Spring Boot configures it.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
boot=3.5.7
version=1.5.3
cache="$root/.cache/spring-boot-$boot"

get() {
  need java mvn
  mvn --quiet --batch-mode --file "$here/pom.xml" -Dtarget="$cache" package
}
once "$cache" get

serve "$origin/.well-known/openid-configuration" java -jar "$cache/server.jar" --server.port="$port" <<EOF
{"server": "Spring Authorization Server $version", "issuer": "$origin", "public": {"$origin": "https://spring.example.com"},
 "authorization_endpoint": "$origin/oauth2/authorize", "token_endpoint": "$origin/oauth2/token",
 "introspection_endpoint": "$origin/oauth2/introspect", "revocation_endpoint": "$origin/oauth2/revoke",
 "redirect_uri": "$redirect",
 "environment": {"ISSUER": "$origin", "CLIENT_SECRET": "bearergate-secret"},
 "require_token_type": true, "gate": {"client_id": "bearergate", "client_secret": "bearergate-secret"},
 "rotation": "a restart: the JWKSource of Spring Boot makes one key when it starts",
 "user": {"username": "alice", "password": "alice-password"},
 "grants": [
  {"name": "authorization code, JWT", "grant_type": "authorization_code", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "openid email read"}},
  {"name": "authorization code, opaque", "grant_type": "authorization_code", "client": {"client_id": "app-opaque", "client_secret": "app-opaque-secret"},
   "parameters": {"scope": "openid email read"}},
  {"name": "client credentials, JWT", "grant_type": "client_credentials", "client": {"client_id": "app", "client_secret": "app-secret"},
   "parameters": {"scope": "read"}},
  {"name": "client credentials, opaque", "grant_type": "client_credentials", "client": {"client_id": "app-opaque", "client_secret": "app-opaque-secret"},
   "parameters": {"scope": "read"}},
  {"name": "authorization code, JWT, no customizer", "want": "wrong_audience", "grant_type": "authorization_code", "client": {"client_id": "app-plain", "client_secret": "app-plain-secret"},
   "parameters": {"scope": "openid email read"}},
  {"name": "client credentials, JWT, no customizer, no scope", "want": "wrong_audience", "grant_type": "client_credentials", "client": {"client_id": "app-plain", "client_secret": "app-plain-secret"}}]}
EOF
