{{/* Names and labels. */}}
{{- define "bearergate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "bearergate.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "bearergate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "bearergate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: authorization
{{- end }}

{{- define "bearergate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "bearergate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: bearergate
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "bearergate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "bearergate.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "bearergate.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Host name of the Service within the cluster. */}}
{{- define "bearergate.host" -}}
{{ include "bearergate.fullname" . }}.{{ .Release.Namespace }}.svc.{{ .Values.istio.clusterDomain }}
{{- end }}

{{/* Name of the Secret with the certificate; empty: no TLS. */}}
{{- define "bearergate.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}
{{- default (printf "%s-tls" (include "bearergate.fullname" .)) .Values.tls.secretName }}
{{- else }}
{{- .Values.tls.secretName }}
{{- end }}
{{- end }}

{{/*
What the chart must know of the configuration, as YAML. The file itself is
mounted untouched; Bearergate checks it, the chart only what would make a Pod
that nobody can reach.
*/}}
{{- define "bearergate.server" -}}
{{- if not .Values.config }}
{{- fail "config: missing: give bearergate.yaml, for example by --set-file config=bearergate.yaml" }}
{{- end }}
{{- $config := fromYaml .Values.config }}
{{- with $config.Error }}
{{- fail (printf "config: not YAML: %s" .) }}
{{- end }}
{{- $server := default dict $config.server }}
{{- $grpc := default ":9191" $server.grpc_address }}
{{- if not (regexMatch "^(0\\.0\\.0\\.0|\\[::\\])?:[0-9]+$" $grpc) }}
{{- fail (printf "config: server.grpc_address: got %q, want \":PORT\": Envoy reaches the Pod by its address" $grpc) }}
{{- end }}
{{- $admin := default "127.0.0.1:9192" $server.admin_address }}
{{- if not (regexMatch "^[^$]*:[0-9]+$" $admin) }}
{{- fail (printf "config: server.admin_address: got %q, want \":PORT\"" $admin) }}
{{- end }}
{{- $reachable := regexMatch "^(0\\.0\\.0\\.0|\\[::\\])?:[0-9]+$" $admin }}
{{- $secret := include "bearergate.tlsSecret" . }}
{{- if and $secret (not $server.tls) }}
{{- fail "config: server.tls: missing: the chart mounts a certificate at /etc/bearergate/tls that the configuration does not use" }}
{{- end }}
{{- if and $server.tls (not $secret) }}
{{- fail "tls: missing: the configuration has server.tls; set tls.secretName or tls.certManager.enabled" }}
{{- end }}
{{- $metrics := or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled (and .Values.networkPolicy.enabled .Values.networkPolicy.scrapers) }}
{{- if and (or $metrics $secret) (not $reachable) }}
{{- fail (printf "config: server.admin_address: got %q, want \":9192\": metrics, and probes with TLS, come from outside the Pod" $admin) }}
{{- end }}
grpcPort: {{ regexFind "[0-9]+$" $grpc }}
adminPort: {{ regexFind "[0-9]+$" $admin }}
adminReachable: {{ $reachable }}
drainSeconds: {{ include "bearergate.seconds" (list "server.drain_delay" (default "0s" $server.drain_delay)) }}
shutdownSeconds: {{ include "bearergate.seconds" (list "server.shutdown_timeout" (default "15s" $server.shutdown_timeout)) }}
{{- end }}

{{/* Whole seconds, rounded up, of a duration as Go writes it. */}}
{{- define "bearergate.seconds" -}}
{{- $key := index . 0 }}
{{- $text := toString (index . 1) }}
{{- if not (regexMatch "^(0|([0-9]+(\\.[0-9]+)?(ms|s|m|h))+)$" $text) }}
{{- fail (printf "config: %s: got %q, want a duration such as 15s" $key $text) }}
{{- end }}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "[0-9]+(\\.[0-9]+)?(ms|s|m|h)" $text -1 }}
{{- $sum = addf $sum (mulf (float64 (regexFind "^[0-9.]+" .)) (get $units (regexFind "[a-z]+$" .))) }}
{{- end }}
{{- ceil $sum | int }}
{{- end }}

{{/* A quantity as Kubernetes reads it: YAML's numbers are floats here, and large ones would print with an exponent. */}}
{{- define "bearergate.quantity" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}
{{- int64 . }}
{{- else }}
{{- toString . }}
{{- end }}
{{- end }}

{{/* 90 % of a memory limit as GOMEMLIMIT writes it: the rest is for what the collector does not count. */}}
{{- define "bearergate.gomemlimit" -}}
{{- $text := include "bearergate.quantity" . }}
{{- $units := dict "" 1.0 "k" 1000.0 "M" 1000000.0 "G" 1000000000.0 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 }}
{{- $bytes := mulf (float64 (regexFind "^[0-9.]+" $text)) (get $units (regexFind "[A-Za-z]*$" $text)) }}
{{- printf "%dMiB" (divf (mulf $bytes 0.9) 1048576.0 | floor | int) }}
{{- end }}

{{/* One peer of a NetworkPolicy. */}}
{{- define "bearergate.peer" -}}
- namespaceSelector: {{ if .namespaceLabels }}{matchLabels: {{ toJson .namespaceLabels }}}{{ else }}{}{{ end }}
  {{- with .podLabels }}
  podSelector: {matchLabels: {{ toJson . }}}
  {{- end }}
{{- end }}

{{/* What Pod Security "restricted" asks of a container, and a read-only root. */}}
{{- define "bearergate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "bearergate.podSecurity" -}}
runAsNonRoot: true
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- with get $.Values.securityContext $key }}
{{ $key }}: {{ int64 . }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Matches what the configuration may change: Authorization, and the headers to the upstream in every mixture of - and _. */}}
{{- define "bearergate.headerRegex" -}}
{{- $names := list "authorization" }}
{{- range include "bearergate.headers" . | fromYamlArray }}
{{- $names = append $names (replace "-" "[-_]" .) }}
{{- end }}
{{- printf "^(%s)$" (join "|" $names) }}
{{- end }}

{{/*
Matches every spelling of the headers to the upstream that someone may read as one of them: upstreams that speak CGI put
_ for whatever is no letter and no digit.
*/}}
{{- define "bearergate.identityRegex" -}}
{{- $names := list }}
{{- range include "bearergate.headers" . | fromYamlArray }}
{{- $names = append $names (regexReplaceAll "[^a-z0-9]" . "[^a-z0-9]") }}
{{- end }}
{{- join "|" $names }}
{{- end }}

{{/* The headers to the upstream that the configuration names, in lower case and with dashes. */}}
{{- define "bearergate.headers" -}}
{{- $headers := default (dict "x-auth-sub" "" "x-auth-scope" "" "x-auth-client-id" "") (fromYaml .Values.config).headers }}
{{- range $name, $_ := $headers }}
- {{ lower $name | replace "_" "-" | quote }}
{{- end }}
{{- end }}
