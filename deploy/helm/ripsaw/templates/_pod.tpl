{{- define "ripsaw.pod" -}}
serviceAccountName: {{ include "ripsaw.serviceAccountName" . }}
{{- if kindIs "bool" .Values.serviceAccount.automountServiceAccountToken }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.terminationGracePeriodSeconds }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
hostNetwork: {{ .Values.hostNetwork }}
dnsPolicy: {{ .Values.dnsPolicy }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $installs := and .Values.ioUring.enabled .Values.ioUring.installProfile }}
{{- if or $installs .Values.initContainers }}
initContainers:
  {{- if $installs }}
  - name: seccomp-profile
    image: {{ include "ripsaw.image" .Values.ioUring.image }}
    imagePullPolicy: {{ .Values.ioUring.image.pullPolicy }}
    command: [cp, /profile/ripsaw.json, /kubelet-seccomp/{{ .Values.ioUring.localhostProfile }}]
    securityContext:
      runAsUser: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    volumeMounts:
      - name: seccomp-profile
        mountPath: /profile
        readOnly: true
      - name: kubelet-seccomp
        mountPath: /kubelet-seccomp
  {{- end }}
  {{- with .Values.initContainers }}
  {{- include "ripsaw.listOrTemplate" (list . $) | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  - name: {{ .Chart.Name }}
    image: {{ include "ripsaw.image" (merge (dict "tag" (default .Chart.AppVersion .Values.image.tag)) .Values.image) | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    {{- $security := deepCopy .Values.securityContext }}
    {{- if .Values.ioUring.enabled }}
    {{- $_ := set $security "seccompProfile" (dict "type" "Localhost" "localhostProfile" .Values.ioUring.localhostProfile) }}
    {{- end }}
    {{- with $security }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.command }}
    command:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    args:
      {{- range .Values.args }}
      - {{ . | quote }}
      {{- end }}
      {{- if .Values.hotReload.enabled }}
      - --enable-hot-reload
      {{- end }}
    env:
      # The filter kubernetes watches the pods of this node.
      - name: NODE_NAME
        valueFrom:
          fieldRef:
            fieldPath: spec.nodeName
      {{- with .Values.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- range .Values.envWithTpl }}
      - name: {{ .name }}
        value: {{ tpl .value $ | quote }}
      {{- end }}
    {{- with .Values.envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
      - name: http
        containerPort: {{ .Values.metricsPort }}
        protocol: TCP
      {{- range .Values.extraPorts }}
      - name: {{ .name }}
        containerPort: {{ .containerPort }}
        protocol: {{ .protocol }}
      {{- end }}
    {{- with .Values.lifecycle }}
    lifecycle:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- range $probe := list "livenessProbe" "readinessProbe" "startupProbe" }}
    {{- with index $.Values $probe }}
    {{ $probe }}:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- with .Values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      {{- toYaml .Values.volumeMounts | nindent 6 }}
      {{- if or .Values.luaScripts .Values.hotReload.enabled }}
      - name: luascripts
        mountPath: /fluent-bit/scripts
      {{- end }}
      {{- if eq .Values.kind "DaemonSet" }}
      {{- with include "ripsaw.state" . }}
      - name: ripsaw-state
        mountPath: {{ . }}
      {{- end }}
      {{- with .Values.daemonSetVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- end }}
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- if .Values.hotReload.enabled }}
  - name: reloader
    image: {{ include "ripsaw.image" .Values.hotReload.image }}
    imagePullPolicy: {{ .Values.hotReload.image.pullPolicy }}
    {{- with .Values.hotReload.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    args:
      - -webhook-url=http://localhost:{{ .Values.metricsPort }}/api/v2/reload
      - -volume-dir=/watch/config
      - -volume-dir=/watch/scripts
      {{- range $at, $_ := .Values.hotReload.extraWatchVolumes }}
      - -volume-dir=/watch/extra-{{ $at }}
      {{- end }}
    volumeMounts:
      - name: config
        mountPath: /watch/config
      - name: luascripts
        mountPath: /watch/scripts
      {{- range $at, $volume := .Values.hotReload.extraWatchVolumes }}
      - name: {{ $volume }}
        mountPath: /watch/extra-{{ $at }}
      {{- end }}
    {{- with .Values.hotReload.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- with .Values.extraContainers }}
  {{- include "ripsaw.listOrTemplate" (list . $) | nindent 2 }}
  {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "ripsaw.configMapName" . }}
  {{- if or .Values.luaScripts .Values.hotReload.enabled }}
  - name: luascripts
    configMap:
      name: {{ include "ripsaw.fullname" . }}-luascripts
  {{- end }}
  {{- if $installs }}
  - name: seccomp-profile
    configMap:
      name: {{ include "ripsaw.fullname" . }}-seccomp
  - name: kubelet-seccomp
    hostPath:
      path: {{ .Values.ioUring.kubeletSeccompPath }}
      type: DirectoryOrCreate
  {{- end }}
  {{- if eq .Values.kind "DaemonSet" }}
  {{- with include "ripsaw.state" . }}
  - name: ripsaw-state
    hostPath:
      path: {{ . }}
      type: DirectoryOrCreate
  {{- end }}
  {{- with .Values.daemonSetVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- range $part := list "nodeSelector" "affinity" "tolerations" }}
{{- with index $.Values $part }}
{{ $part }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ripsaw.podMetadata" -}}
labels:
  {{- include "ripsaw.selectorLabels" . | nindent 2 }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- if not .Values.hotReload.enabled }}
  # A changed configuration rolls over the nodes like a new image.
  checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
  checksum/luascripts: {{ include (print $.Template.BasePath "/configmap-luascripts.yaml") . | sha256sum }}
  {{- end }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "ripsaw.workloadMetadata" -}}
name: {{ include "ripsaw.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "ripsaw.labels" . | nindent 2 }}
  {{- with .Values.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
