{{/*
What the Pods, the Job that validates the configuration and the Pod of helm
test have in common.
*/}}
{{- define "bearergate.podCommon" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
securityContext:
  {{- include "bearergate.podSecurity" . | nindent 2 }}
{{- end }}

{{/* Where Pods run. */}}
{{- define "bearergate.placement" -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* How Pods find others. */}}
{{- define "bearergate.names" -}}
{{- range $key := list "dnsConfig" "hostAliases" }}
{{- with get $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- end }}

{{- define "bearergate.env" -}}
env:
  {{- with .Values.resources.limits.cpu }}
  - name: GOMAXPROCS
    valueFrom:
      resourceFieldRef:
        containerName: bearergate
        resource: limits.cpu
        divisor: "1"
  {{- end }}
  {{- with .Values.resources.limits.memory }}
  - name: GOMEMLIMIT
    value: {{ include "bearergate.gomemlimit" . }}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "bearergate.resources" -}}
resources:
  {{- range $kind := list "requests" "limits" }}
  {{ $kind }}:
    {{- range $name, $quantity := get $.Values.resources $kind }}
    {{- with $quantity }}
    {{ $name }}: {{ include "bearergate.quantity" . | quote }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "bearergate.volumeMounts" -}}
# A directory, not a subPath: only so do changes reach a running Pod.
- name: config
  mountPath: /etc/bearergate/config
  readOnly: true
{{- if include "bearergate.tlsSecret" . }}
- name: tls
  mountPath: /etc/bearergate/tls
  readOnly: true
{{- end }}
{{- range $directory, $_ := include "bearergate.fleetSecrets" . | fromYaml }}
- name: {{ replace "/" "-" $directory }}
  mountPath: /etc/bearergate/{{ $directory }}
  readOnly: true
{{- end }}
{{- range .Values.secrets }}
- name: secret-{{ .name }}
  mountPath: /etc/bearergate/secrets/{{ .name }}
  readOnly: true
{{- end }}
{{- range .Values.caBundles }}
- name: ca-{{ .name }}
  mountPath: /etc/bearergate/ca/{{ .name }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The volumes, with the configuration from the ConfigMap named second. */}}
{{- define "bearergate.volumes" -}}
- name: config
  configMap:
    name: {{ index . 1 }}
{{- with index . 0 }}
{{- with include "bearergate.tlsSecret" . }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- range $directory, $name := include "bearergate.fleetSecrets" . | fromYaml }}
- name: {{ replace "/" "-" $directory }}
  secret:
    secretName: {{ $name }}
    defaultMode: 0440
{{- end }}
{{- range .Values.secrets }}
- name: secret-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
    {{- with .keys }}
    items:
      {{- range . }}
      - {key: {{ . | quote }}, path: {{ . | quote }}}
      {{- end }}
    {{- end }}
{{- end }}
{{- range .Values.caBundles }}
- name: ca-{{ .name }}
  configMap:
    name: {{ .configMapName }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
