{{- /* Has Prometheus ask pods: a dict of the context (`root`), a name, the pods' namespace and labels, and the ports to ask.
Without a Service of their own pods are asked by a PodMonitor; else there is one that nothing but a ServiceMonitor needs. */}}
{{- define "headgate.monitor" -}}
{{- $monitoring := .root.Values.monitoring }}
{{- $ofServices := eq $monitoring.kind "ServiceMonitor" }}
apiVersion: monitoring.coreos.com/v1
kind: {{ $monitoring.kind }}
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "headgate.labels" .root | nindent 4 }}
    {{- with $monitoring.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if ne .namespace .root.Release.Namespace }}
  namespaceSelector:
    matchNames: [{{ .namespace }}]
  {{- end }}
  selector:
    matchLabels:
      {{- if $ofServices }}
      {{- include "headgate.selector" .root | nindent 6 }}
      headgate.dev/metrics-of: {{ .name }}
      {{- else }}
      {{- .pods | nindent 6 }}
      {{- end }}
  {{ ternary "endpoints" "podMetricsEndpoints" $ofServices }}:
    {{- range .ports }}
    - port: {{ .name }}
      path: {{ .path | default "/metrics" }}
      interval: {{ $monitoring.interval }}
    {{- end }}
{{- if $ofServices }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ printf "%s-metrics" .name | trunc 63 | trimSuffix "-" }}
  namespace: {{ .namespace }}
  labels:
    {{- include "headgate.labels" .root | nindent 4 }}
    headgate.dev/metrics-of: {{ .name }}
spec:
  clusterIP: None
  selector:
    {{- .pods | nindent 4 }}
  ports:
    {{- range .ports }}
    - name: {{ .name }}
      port: {{ .number }}
      targetPort: {{ .name }}
    {{- end }}
{{- end }}
{{- end }}
