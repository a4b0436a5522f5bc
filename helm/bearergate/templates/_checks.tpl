{{/*
What would install, and then fail or mislead, is refused here with a sentence.
*/}}
{{- define "bearergate.checks" -}}
{{- $server := include "bearergate.server" . | fromYaml }}
{{- if eq (toString $server.grpcPort) (toString $server.adminPort) }}
{{- fail (printf "config: server: got port %v for grpc_address and admin_address, want two" $server.grpcPort) }}
{{- end }}
{{- if and (dig "server" "probe_address" "" (include "bearergate.config" . | fromYaml)) (has (toString $server.probePort) (list (toString $server.grpcPort) (toString $server.adminPort))) }}
{{- fail (printf "config: server: got port %v for probe_address and another one, want two" $server.probePort) }}
{{- end }}
{{- include "bearergate.checkLabels" . }}
{{- include "bearergate.checkScaling" . }}
{{- include "bearergate.checkResources" . }}
{{- include "bearergate.checkMounts" . }}
{{- include "bearergate.checkFleet" . }}
{{- include "bearergate.checkFiles" (list . "" (include "bearergate.config" . | fromYaml)) }}
{{- end }}

{{/* A Deployment's selector never changes, and Helm finds its objects by labels. */}}
{{- define "bearergate.checkLabels" -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- range $where, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels }}
{{- range $name, $_ := $labels }}
{{- if has $name $own }}
{{- fail (printf "%s: got %s, which is the chart's own" $where $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "bearergate.checkScaling" -}}
{{- with .Values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail (printf "autoscaling: got minReplicas %d, want at most maxReplicas %d" (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- if and .enabled (not (or .targetCPUUtilizationPercentage .targetMemoryUtilizationPercentage .checksPerSecond.enabled)) }}
{{- fail "autoscaling: no metric: set targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or checksPerSecond.enabled" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "bearergate.checkResources" -}}
{{- range $name := list "cpu" "memory" }}
{{- $request := get $.Values.resources.requests $name }}
{{- $limit := get $.Values.resources.limits $name }}
{{- if and $request $limit (gt (include "bearergate.number" $request | float64) (include "bearergate.number" $limit | float64)) }}
{{- fail (printf "resources: got a request of %s %s, want at most the limit of %s" (include "bearergate.quantity" $request) $name (include "bearergate.quantity" $limit)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Two volumes of one name: the API server refuses the Deployment, and says less. */}}
{{- define "bearergate.checkMounts" -}}
{{- range $where, $entries := dict "secrets" .Values.secrets "caBundles" .Values.caBundles "extraVolumes" .Values.extraVolumes }}
{{- $names := list }}
{{- range $entries }}
{{- if has .name $names }}
{{- fail (printf "%s: got %s twice" $where .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- end }}

{{/* Every key …_file of the configuration, at any depth, names a file that the Pod has. */}}
{{- define "bearergate.checkFiles" -}}
{{- $root := index . 0 }}
{{- $path := index . 1 }}
{{- $node := index . 2 }}
{{- if kindIs "map" $node }}
{{- range $key, $value := $node }}
{{- $at := printf "%s.%s" $path $key | trimPrefix "." }}
{{- if and (hasSuffix "_file" $key) (kindIs "string" $value) }}
{{- include "bearergate.checkFile" (list $root $at $value) }}
{{- else }}
{{- include "bearergate.checkFiles" (list $root $at $value) }}
{{- end }}
{{- end }}
{{- else if kindIs "slice" $node }}
{{- range $n, $value := $node }}
{{- include "bearergate.checkFiles" (list $root (printf "%s[%d]" $path $n) $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* What holds a variable is known to the Pod only; /etc/ssl is the image's own. */}}
{{- define "bearergate.checkFile" -}}
{{- $key := index . 1 }}
{{- $file := index . 2 }}
{{- with index . 0 }}
{{- $mounts := list "/etc/ssl" }}
{{- if include "bearergate.tlsSecret" . }}
{{- $mounts = append $mounts "/etc/bearergate/tls" }}
{{- end }}
{{- if .Values.existingConfigMap }}
{{- $mounts = append $mounts "/etc/bearergate/config" }}
{{- end }}
{{- range $directory, $_ := include "bearergate.fleetSecrets" . | fromYaml }}
{{- $mounts = append $mounts (printf "/etc/bearergate/%s" $directory) }}
{{- end }}
{{- range .Values.secrets }}
{{- $mount := printf "/etc/bearergate/secrets/%s" .name }}
{{- $mounts = append $mounts $mount }}
{{- $picked := trimPrefix (printf "%s/" $mount) $file }}
{{- if and .keys (ne $picked $file) (not (has $picked .keys)) }}
{{- fail (printf "config: %s: got %q, but secrets picks other keys of %s: %s" $key $file .name (join ", " .keys)) }}
{{- end }}
{{- end }}
{{- range .Values.caBundles }}
{{- $mounts = append $mounts (printf "/etc/bearergate/ca/%s" .name) }}
{{- end }}
{{- range .Values.extraVolumeMounts }}
{{- $mounts = append $mounts (trimSuffix "/" .mountPath) }}
{{- end }}
{{- $mounted := or (eq $file "") (contains "$" $file) }}
{{- range $mounts }}
{{- $mounted = or $mounted (hasPrefix (printf "%s/" .) $file) (eq . $file) }}
{{- end }}
{{- if not $mounted }}
{{- fail (printf "config: %s: got %q, which nothing mounts: name it in secrets, caBundles, tls, shared, receiver, admin or extraVolumeMounts" $key $file) }}
{{- end }}
{{- end }}
{{- end }}
