{{- define "ripsaw.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "ripsaw.fullname" -}}
{{- $name := include "ripsaw.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "ripsaw.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ripsaw.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ripsaw.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "ripsaw.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "ripsaw.serviceAccountName" -}}
{{- $default := ternary (include "ripsaw.fullname" .) "default" .Values.serviceAccount.create }}
{{- default $default .Values.serviceAccount.name }}
{{- end }}

{{- define "ripsaw.configMapName" -}}
{{- default (include "ripsaw.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{/* A reference to an image: repository, tag ("-" for none), digest. */}}
{{- define "ripsaw.image" -}}
{{- .repository }}
{{- if and .tag (ne (toString .tag) "-") }}:{{ .tag }}{{ end }}
{{- with .digest }}@{{ . }}{{ end }}
{{- end }}

{{/* A list as it is, or a template of one: (list value root). */}}
{{- define "ripsaw.listOrTemplate" -}}
{{- $value := index . 0 }}
{{- if kindIs "string" $value }}{{ tpl $value (index . 1) }}{{ else }}{{ toYaml $value }}{{ end }}
{{- end }}

{{/* Where the state is mounted; "" where the values have a mount of their own there. */}}
{{- define "ripsaw.state" -}}
{{- $path := .Values.state.hostPath }}
{{- range concat (default list .Values.daemonSetVolumeMounts) (default list .Values.extraVolumeMounts) }}
{{- if eq (trimSuffix "/" .mountPath) $path }}{{ $path = "" }}{{ end }}
{{- end }}
{{- if eq .Values.kind "DaemonSet" }}{{ $path }}{{ end }}
{{- end }}
