{{- define "headgate.name" -}}
{{- default .Chart.Name .Values.controller.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The controller: Deployment, Service, Lease. */}}
{{- define "headgate.controller" -}}
{{- if .Values.controller.fullnameOverride }}
{{- .Values.controller.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "headgate.name" .) | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* What the Envoys and the Secrets of certificates begin with. */}}
{{- define "headgate.prefix" -}}
{{- include "headgate.controller" . | trimSuffix "-controller" }}
{{- end }}

{{- define "headgate.envoy" -}}
{{- printf "%s-envoy" (include "headgate.prefix" .) }}
{{- end }}

{{- define "headgate.serviceAccount" -}}
{{- default (include "headgate.controller" .) .Values.controller.serviceAccount.name }}
{{- end }}

{{- define "headgate.webhook" -}}
{{- printf "headgate-pods.%s" .Release.Namespace }}
{{- end }}

{{- define "headgate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "headgate.selector" . }}
{{- end }}

{{- define "headgate.selector" -}}
app.kubernetes.io/name: {{ include "headgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* An image: a list of the context and the component's own `image` (or nothing). */}}
{{- define "headgate.image" -}}
{{- $root := index . 0 }}
{{- $own := index . 1 | default dict }}
{{- $repository := default $root.Values.image.repository $own.repository }}
{{- $tag := default (default $root.Chart.AppVersion $root.Values.image.tag) $own.tag }}
{{- printf "%s:%s" $repository $tag }}
{{- end }}

{{- /* Pull secrets: a list of the context and the component's own. */}}
{{- define "headgate.pullSecrets" -}}
{{- $root := index . 0 }}
{{- with (default $root.Values.global.imagePullSecrets (index . 1)) }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Over nodes, where nothing else is said: a list of the context, what was said, and the component. */}}
{{- define "headgate.spread" -}}
{{- $root := index . 0 }}
topologySpreadConstraints:
{{- with index . 1 }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "headgate.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ index . 2 }}
{{- end }}
{{- end }}

{{- /* Refuses what would not work. */}}
{{- define "headgate.checked" -}}
{{- if and (not .Values.controller.leaderElection.enabled) (gt (int .Values.controller.replicaCount) 1) }}
{{- fail "controller.leaderElection.enabled=false needs controller.replicaCount=1: two controllers would write against each other" }}
{{- end }}
{{- if and .Values.rateLimit.enabled (not .Values.rateLimit.redis.url) (not .Values.rateLimit.redis.existingSecret) }}
{{- if and (ne .Values.mode "standalone") (gt (int .Values.rateLimit.replicaCount) 1) }}
{{- fail "several rate limit services share their counters through Redis: set rateLimit.redis.url or rateLimit.redis.existingSecret, or rateLimit.replicaCount=1" }}
{{- end }}
{{- if and (eq .Values.mode "standalone") (or (gt (int .Values.envoy.replicaCount) 1) .Values.envoy.autoscaling.enabled) }}
{{- fail "several Envoys share their limits through Redis: set rateLimit.redis.url or rateLimit.redis.existingSecret, or rateLimit.enabled=false, or envoy.replicaCount=1 without autoscaling" }}
{{- end }}
{{- end }}
{{- end }}
