{{/* Values of fluent-bit's chart that have no use here end the rendering, with what to do instead. */}}
{{- define "ripsaw.refused" -}}
{{- if .Values.podSecurityPolicy.create }}
{{- fail "podSecurityPolicy.create: Kubernetes has no PodSecurityPolicy since 1.25; label the namespace pod-security.kubernetes.io/enforce=privileged instead (hostPath volumes need it)" }}
{{- end }}
{{- if .Values.openShift.enabled }}
{{- fail "openShift.enabled: this chart makes no SecurityContextConstraints; bind the service account to one that allows hostPath volumes and runAsUser 0" }}
{{- end }}
{{- if .Values.ingress.enabled }}
{{- fail "ingress.enabled: this chart makes no Ingress; write one for the Service, whose ports are http and those of extraPorts" }}
{{- end }}
{{- if (dig "vpa" "enabled" false .Values.autoscaling) }}
{{- fail "autoscaling.vpa.enabled: this chart makes no VerticalPodAutoscaler; `ripsaw --dry-run` prints the most memory that a configuration takes, set resources to that" }}
{{- end }}
{{- if not (has .Values.kind (list "DaemonSet" "Deployment")) }}
{{- fail (printf "kind: %s is neither DaemonSet nor Deployment" .Values.kind) }}
{{- end }}
{{- end }}
