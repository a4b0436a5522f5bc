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
{{- include "bearergate.labelsWith" (list . dict) }}
{{- end }}

{{/* Labels of an object, with more of its own. Users' labels win over what only describes; the others are refused (checks). */}}
{{- define "bearergate.labelsWith" -}}
{{- $root := index . 0 }}
{{- with $root }}
{{- $chart := printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- $own := merge (dict "helm.sh/chart" $chart "app.kubernetes.io/managed-by" .Release.Service) (include "bearergate.selectorLabels" . | fromYaml) }}
{{- $described := dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/part-of" "bearergate" }}
{{- toYaml (merge $own (index $ 1) .Values.commonLabels $described) }}
{{- end }}
{{- end }}

{{/* Labels of the Pods. The chart's version is not among them: a new one alone is no reason to replace Pods. */}}
{{- define "bearergate.podLabels" -}}
{{- $own := include "bearergate.selectorLabels" . | fromYaml }}
{{- toYaml (merge $own .Values.podLabels .Values.commonLabels (dict "app.kubernetes.io/version" .Chart.AppVersion)) }}
{{- end }}

{{/*
Replicas of the Deployment. With autoscaling they are the cluster's: a manifest
that says none would have the ones of before taken for a wish that is gone, and
the API server set one. Without a cluster to look at, none is said.
*/}}
{{- define "bearergate.replicas" -}}
{{- if not .Values.autoscaling.enabled }}
{{- .Values.replicaCount }}
{{- else }}
{{- $present := dig "spec" "replicas" nil (lookup "apps/v1" "Deployment" .Release.Namespace (include "bearergate.fullname" .)) }}
{{- if not (kindIs "invalid" $present) }}
{{- max $present .Values.autoscaling.minReplicas }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels of a Pod that is not one of the Service's: a hook or a test. */}}
{{- define "bearergate.labelsOfComponent" -}}
{{- $labels := include "bearergate.labels" (index . 0) | fromYaml }}
{{- toYaml (set $labels "app.kubernetes.io/component" (index . 1)) }}
{{- end }}

{{/* Annotations of an object: its own, and those of every object. Nothing where there are none. */}}
{{- define "bearergate.annotations" -}}
{{- $root := index . 0 }}
{{- with merge (dict) (index . 1) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "bearergate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "bearergate.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* A registry of one's own takes the place of the one in the repository. */}}
{{- define "bearergate.image" -}}
{{- $repository := .Values.image.repository }}
{{- with default .Values.global.imageRegistry .Values.image.registry }}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") }}
{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Host name of the Service within the cluster. */}}
{{- define "bearergate.host" -}}
{{ include "bearergate.fullname" . }}.{{ .Release.Namespace }}.svc.{{ .Values.istio.clusterDomain }}
{{- end }}

{{/* Host name that resolves to every Pod. */}}
{{- define "bearergate.headlessHost" -}}
{{ include "bearergate.fullname" . }}-headless.{{ .Release.Namespace }}.svc.{{ .Values.istio.clusterDomain }}
{{- end }}

{{/* Name of the Secret with the certificate; empty: no TLS. */}}
{{- define "bearergate.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}
{{- default (printf "%s-tls" (include "bearergate.fullname" .)) .Values.tls.secretName }}
{{- else }}
{{- .Values.tls.secretName }}
{{- end }}
{{- end }}

{{/* The configuration as an object; a mistake in its outline is a sentence here, not a stack of templates. */}}
{{- define "bearergate.config" -}}
{{- if not (or .Values.config .Values.existingConfigMap) }}
{{- fail "config: missing: give bearergate.yaml, for example by --set-file config=bearergate.yaml" }}
{{- end }}
{{- $config := fromYaml .Values.config }}
{{- with $config.Error }}
{{- fail (printf "config: not YAML: %s" .) }}
{{- end }}
{{- range $key := list "server" "headers" "shared" "revocation" }}
{{- $value := get $config $key }}
{{- if and $value (not (kindIs "map" $value)) }}
{{- fail (printf "config: %s: got %s, want a mapping" $key (toJson $value)) }}
{{- end }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* An address of the configuration, which must be text: YAML reads an unquoted 9191 as a number. */}}
{{- define "bearergate.address" -}}
{{- $key := index . 0 }}
{{- $value := index . 1 }}
{{- if not (kindIs "string" $value) }}
{{- fail (printf "config: %s: got %s, want \":PORT\" in quotes" $key (toJson $value)) }}
{{- end }}
{{- if not (regexMatch (index . 2) $value) }}
{{- fail (printf "config: %s: got %q, want \":PORT\": %s" $key $value (index . 3)) }}
{{- end }}
{{- $value }}
{{- end }}

{{/*
What the chart must know of the configuration, as YAML. The file itself is
mounted untouched; Bearergate checks it, the chart only what would make a Pod
that nobody can reach.
*/}}
{{- define "bearergate.server" -}}
{{- $config := include "bearergate.config" . | fromYaml }}
{{- $server := default dict $config.server }}
{{- $everywhere := "^(0\\.0\\.0\\.0|\\[::\\])?:[0-9]+$" }}
{{- $grpc := include "bearergate.address" (list "server.grpc_address" (default ":9191" $server.grpc_address) $everywhere "Envoy reaches the Pod by its address") }}
{{- $admin := include "bearergate.address" (list "server.admin_address" (default "127.0.0.1:9192" $server.admin_address) "^[^$]*:[0-9]+$" "the chart must know the port") }}
{{- $probe := "" }}
{{- if $server.probe_address }}
{{- $probe = include "bearergate.address" (list "server.probe_address" $server.probe_address $everywhere "probes and metrics come from outside the Pod") }}
{{- else if regexMatch $everywhere $admin }}
{{- $probe = $admin }}
{{- end }}
{{- $secret := include "bearergate.tlsSecret" . }}
{{- if and $secret (not $server.tls) (not .Values.existingConfigMap) }}
{{- fail "config: server.tls: missing: tls is set, and Bearergate would speak plain text" }}
{{- end }}
{{- if and $server.tls (not $secret) }}
{{- fail "tls: missing: the configuration has server.tls; set tls.secretName or tls.certManager.enabled" }}
{{- end }}
{{- $metrics := or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled (and .Values.networkPolicy.enabled .Values.networkPolicy.scrapers) }}
{{- if and (or $metrics $secret) (not $probe) }}
{{- fail "config: server.probe_address: missing, want \":9193\": metrics, and probes with TLS, come from outside the Pod" }}
{{- end }}
grpcPort: {{ regexFind "[0-9]+$" $grpc }}
adminPort: {{ regexFind "[0-9]+$" $admin }}
adminExposed: {{ not (regexMatch "^(127\\.[0-9.]+|localhost|\\[::1\\]):" $admin) }}
# The port of /livez, /readyz and /metrics; null: out of reach from outside the Pod.
probePort: {{ regexFind "[0-9]+$" $probe | default "null" }}
clientCertificates: {{ and (kindIs "map" $server.tls) (dig "client_ca_file" "" (default dict $server.tls)) | empty | not }}
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

{{/* The number that a quantity stands for. */}}
{{- define "bearergate.number" -}}
{{- $text := include "bearergate.quantity" . }}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1000.0 "M" 1000000.0 "G" 1000000000.0 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 }}
{{- mulf (float64 (regexFind "^[0-9.]+" $text)) (get $units (regexFind "[A-Za-z]*$" $text)) }}
{{- end }}

{{/* 90 % of a memory limit as GOMEMLIMIT writes it: the rest is for what the collector does not count. */}}
{{- define "bearergate.gomemlimit" -}}
{{- printf "%dMiB" (divf (mulf (include "bearergate.number" . | float64) 0.9) 1048576.0 | floor | int) }}
{{- end }}

{{/* One peer of a NetworkPolicy. */}}
{{- define "bearergate.peer" -}}
{{- if .cidr -}}
- ipBlock: {cidr: {{ .cidr | quote }}{{ with .except }}, except: {{ toJson . }}{{ end }}}
{{- else -}}
- namespaceSelector: {{ if .namespaceLabels }}{matchLabels: {{ toJson .namespaceLabels }}}{{ else }}{}{{ end }}
  {{- with .podLabels }}
  podSelector: {matchLabels: {{ toJson . }}}
  {{- end }}
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

{{/* Matches what the configuration may change: Authorization, proofs and certificates, and the headers to the upstream, in every mixture of - and _. */}}
{{- define "bearergate.headerRegex" -}}
{{- $names := list "authorization" "dpop" "x-envoy-upstream-rq-timeout-ms" }}
{{- range concat (include "bearergate.headers" . | fromYamlArray) (include "bearergate.certificateHeader" . | fromYamlArray) }}
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
{{- $headers := default (dict "x-auth-sub" "" "x-auth-scope" "" "x-auth-client-id" "") (include "bearergate.config" . | fromYaml).headers }}
{{- $names := keys $headers }}
{{- range $rule := default list (include "bearergate.config" . | fromYaml).rules }}
{{- with and (kindIs "map" $rule) (kindIs "map" $rule.upstream_token) (get $rule.upstream_token "header") }}
{{- $names = append $names . }}
{{- end }}
{{- end }}
{{- $dashed := list }}
{{- range $names }}
{{- $dashed = append $dashed (lower . | replace "_" "-") }}
{{- end }}
{{- range without ($dashed | uniq | sortAlpha) "authorization" }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* The header with the client's certificate, in lower case and with dashes: a list of one or none. */}}
{{- define "bearergate.certificateHeader" -}}
{{- $mtls := (include "bearergate.config" . | fromYaml).mtls }}
{{- with and (kindIs "map" $mtls) (get $mtls "client_certificate_header") }}
- {{ lower . | replace "_" "-" | quote }}
{{- end }}
{{- end }}

{{/* true: Envoy is to tell of the certificate that it verified. */}}
{{- define "bearergate.peerCertificate" -}}
{{- $config := include "bearergate.config" . | fromYaml }}
{{- if and (hasKey $config "mtls") (not (include "bearergate.certificateHeader" . | fromYamlArray)) }}true{{ end }}
{{- end }}

{{/* Name of the ConfigMap that the Pods mount. By its content, so that Pods of before keep theirs. */}}
{{- define "bearergate.configMap" -}}
{{- if .Values.existingConfigMap }}
{{- .Values.existingConfigMap }}
{{- else if .Values.rollOnConfigChange }}
{{- printf "%s-%s" (include "bearergate.fullname" .) (.Values.config | sha256sum | trunc 10) }}
{{- else }}
{{- include "bearergate.fullname" . }}
{{- end }}
{{- end }}

{{/*
The ConfigMaps of this release that a ReplicaSet still names, as they are in
the cluster. Helm deletes what a release no longer has while the Pods of before
are still running, so that they stay part of it. Without a cluster: none.
*/}}
{{- define "bearergate.configMapsInUse" -}}
{{- $selector := include "bearergate.selectorLabels" . | fromYaml }}
{{- $named := dict }}
{{- range (lookup "apps/v1" "ReplicaSet" .Release.Namespace "").items }}
{{- $labels := pick (default dict .metadata.labels) "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" }}
{{- if deepEqual $labels $selector }}
{{- range .spec.template.spec.volumes }}
{{- if eq .name "config" }}
{{- $_ := set $named (dig "configMap" "name" "" .) true }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $maps := list }}
{{- range $name, $_ := $named }}
{{- $map := lookup "v1" "ConfigMap" $.Release.Namespace $name }}
{{- if eq (dig "metadata" "annotations" "meta.helm.sh/release-name" "" $map) $.Release.Name }}
{{- $maps = append $maps $map }}
{{- end }}
{{- end }}
{{- toYaml $maps }}
{{- end }}

{{/*
Whether the hook runs. With cert-manager the Secret is made by this release,
and before it the hook would wait for it in vain.
*/}}
{{- define "bearergate.validates" -}}
{{- $there := true }}
{{- if .Values.tls.certManager.enabled }}
{{- $there = lookup "v1" "Secret" .Release.Namespace (include "bearergate.tlsSecret" .) | empty | not }}
{{- end }}
{{- and .Values.validateHook.enabled $there }}
{{- end }}

{{/* Whether helm test can ask: a service that wants a client certificate, only with one. */}}
{{- define "bearergate.tests" -}}
{{- $server := include "bearergate.server" . | fromYaml }}
{{- and .Values.helmTest.enabled (or (not $server.clientCertificates) (ne .Values.helmTest.tls.clientSecretName "")) }}
{{- end }}

{{/*
Another Pod may get what connects too late to one that ends or has just gone.
Only what never reached Bearergate is asked again: a DPoP proof counts once.
*/}}
{{- define "bearergate.retryPolicy" -}}
retry_policy:
  retry_on: connect-failure,refused-stream,reset-before-request
  num_retries: 2
  # The default, a second, is all the time there is. Envoy takes the longest pause for the time of one try, too.
  retry_back_off: {base_interval: 0.01s, max_interval: 1s}
  retry_host_predicate:
    - name: envoy.retry_host_predicates.previous_hosts
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
  # A Pod that is gone has no requests under way, and so is what LEAST_REQUEST likes best.
  host_selection_retry_max_attempts: 32
{{- end }}

{{/* How an endpoint is scraped. */}}
{{- define "bearergate.scrape" -}}
interval: {{ .interval }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- range $key := list "relabelings" "metricRelabelings" }}
{{- with get $ $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
