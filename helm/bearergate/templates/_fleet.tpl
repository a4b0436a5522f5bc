{{/*
What the chart must know of what replicas share, and of what revokes, as YAML.
*/}}
{{- define "bearergate.fleet" -}}
{{- $config := include "bearergate.config" . | fromYaml }}
{{- $shared := default dict $config.shared }}
{{- $revocation := default dict $config.revocation }}
{{- $everywhere := "^(0\\.0\\.0\\.0|\\[::\\])?:[0-9]+$" }}
{{- $receiver := "" }}
{{- with $revocation.receiver_address }}
{{- $receiver = include "bearergate.address" (list "revocation.receiver_address" . $everywhere "events and logout tokens come from outside the Pod") }}
{{- end }}
receiverPort: {{ regexFind "[0-9]+$" $receiver | default "null" }}
receiverTLS: {{ and (kindIs "map" $revocation.receiver_tls) (dig "cert_file" "" (default dict $revocation.receiver_tls)) | empty | not }}
# Whether something comes that one replica alone is told.
told: {{ or $revocation.receiver_address $revocation.events $revocation.backchannel_logout | empty | not }}
revokes: {{ hasKey $config "revocation" }}
shares: {{ hasKey $config "shared" }}
storePorts: {{ include "bearergate.storePorts" $shared.address | fromYamlArray | uniq | toJson }}
{{- end }}

{{/* The ports of the addresses of a store; one that a variable holds is known to the Pod only, and a socket has none. */}}
{{- define "bearergate.storePorts" -}}
{{- range ternary . (list .) (kindIs "slice" .) }}
{{- if and (kindIs "string" .) (regexMatch "^(valkey|redis)s?://[^$]+$" .) }}
- {{ regexFind ":[0-9]+/?$" . | trimPrefix ":" | trimSuffix "/" | default "6379" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Existing Secrets by the directory below /etc/bearergate in which they are mounted. */}}
{{- define "bearergate.fleetSecrets" -}}
{{- with .Values.shared.keySecretName }}
shared/key: {{ . }}
{{- end }}
{{- with .Values.shared.passwordSecretName }}
shared/password: {{ . }}
{{- end }}
{{- with .Values.shared.tlsSecretName }}
shared/tls: {{ . }}
{{- end }}
{{- with .Values.receiver.tlsSecretName }}
receiver: {{ . }}
{{- end }}
{{- with .Values.admin.tokenSecretName }}
admin: {{ . }}
{{- end }}
{{- end }}

{{/* A revocation that one of several replicas is told, and the others are not, is none. */}}
{{- define "bearergate.checkFleet" -}}
{{- $config := include "bearergate.config" . | fromYaml }}
{{- $server := include "bearergate.server" . | fromYaml }}
{{- $fleet := include "bearergate.fleet" . | fromYaml }}
{{- $replicas := int (ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled) }}
{{- if and $fleet.told (not $fleet.shares) (gt $replicas 1) }}
{{- fail (printf "config: shared: missing: each event and logout token reaches one of up to %d replicas, and the others would let the token pass: add a store, or run one replica (replicaCount: 1, no autoscaling)" $replicas) }}
{{- end }}
{{- if and $fleet.receiverPort (has (toString $fleet.receiverPort) (list (toString $server.grpcPort) (toString $server.adminPort) (toString $server.probePort))) }}
{{- fail (printf "config: revocation.receiver_address: got port %v, which another listener has: strangers reach the receiver" $fleet.receiverPort) }}
{{- end }}
{{- if not .Values.existingConfigMap }}
{{- if and (or .Values.shared.keySecretName .Values.shared.passwordSecretName .Values.shared.tlsSecretName) (not $fleet.shares) }}
{{- fail "config: shared: missing: values mount its files, and each replica would remember for itself" }}
{{- end }}
{{- if and .Values.receiver.tlsSecretName (not $fleet.receiverTLS) }}
{{- fail "config: revocation.receiver_tls: missing: receiver.tlsSecretName is set, and the receiver would speak plain text" }}
{{- end }}
{{- if and .Values.admin.tokenSecretName (not (dig "server" "admin_token_file" "" $config)) }}
{{- fail "config: server.admin_token_file: missing: admin.tokenSecretName is set, and nobody would be asked for the token" }}
{{- end }}
{{- end }}
{{- if .Values.networkPolicy.enabled }}
{{- include "bearergate.checkFleetPolicy" (list .Values.networkPolicy $fleet $config) }}
{{- end }}
{{- end }}

{{- define "bearergate.checkFleetPolicy" -}}
{{- $fleet := index . 1 }}
{{- $config := index . 2 }}
{{- with index . 0 }}
{{- if and .senders (not $fleet.receiverPort) }}
{{- fail "config: revocation.receiver_address: missing: networkPolicy.senders may send to nothing" }}
{{- end }}
{{- if and $fleet.receiverPort (not .senders) (not .extraIngress) }}
{{- fail "networkPolicy.senders: missing: the configuration has a receiver, and nobody could reach it" }}
{{- end }}
{{- if and (regexMatch "[$]" (toJson (dig "shared" "address" "" $config))) (not .storePorts) }}
{{- fail "networkPolicy.storePorts: missing: a variable holds shared.address, and the chart must know the port" }}
{{- end }}
{{- end }}
{{- end }}
