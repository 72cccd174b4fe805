{{- /* The rate limit service and the collector: containers in Envoy's pods standalone, Deployments beside Envoy Gateway. */}}

{{- define "headgate.ratelimit" -}}
{{- printf "%s-ratelimit" (include "headgate.prefix" .) }}
{{- end }}

{{- define "headgate.collector" -}}
{{- printf "%s-collector" (include "headgate.prefix" .) }}
{{- end }}

{{- define "headgate.limits" -}}
http://{{ include "headgate.controller" . }}.{{ .Release.Namespace }}.svc:8082/limits
{{- end }}

{{- /* Whether a process of ours answers at all, at the named port: one that hangs is killed, and not asked to end for long. */}}
{{- define "headgate.liveness" -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: {{ . }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 6
  terminationGracePeriodSeconds: 5
{{- end }}

{{- /* A URL that is in a Secret, as a variable that our program reads: a list of the values and the variable. */}}
{{- define "headgate.urlVariable" -}}
{{- $said := index . 0 }}
{{- if $said.existingSecret }}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ $said.existingSecret }}
      key: {{ $said.existingSecretKey }}
{{- end }}
{{- end }}

{{- define "headgate.ratelimitArguments" -}}
- --config={{ include "headgate.limits" . }}
{{- with .Values.rateLimit.redis }}
{{- if and .url (not .existingSecret) }}
- --redis-url={{ .url }}
{{- end }}
{{- end }}
- --admin-host=
- --admin-read-only
- --log-level={{ .Values.rateLimit.logLevel }}
- --log-format={{ .Values.rateLimit.logFormat }}
{{- end }}

{{- define "headgate.collectorArguments" -}}
- --root-prefix={{ .Values.endpointConfig.rootPrefix }}
{{- with .Values.collector }}
{{- if and .store.url (not .store.existingSecret) }}
- --store={{ .store.url }}
{{- end }}
{{- if or .store.url .store.existingSecret }}
- --spool=/var/spool/headgate
{{- end }}
{{- if .jsonLines }}
- --json-lines=-
{{- end }}
{{- if .prices }}
- --prices=/etc/headgate/prices/prices.yaml
{{- end }}
{{- $own := $.Values.controller }}
{{- $log := default (ternary $own.logRequestHeaderAttributes "agent-session-id:session.id" (kindIs "string" $own.logRequestHeaderAttributes)) .requestHeaderAttributes }}
- --request-header-attributes={{ list $own.requestHeaderAttributes $own.metricsRequestHeaderAttributes $log | compact | uniq | join "," }}
{{- with list $own.requestHeaderAttributes $own.metricsRequestHeaderAttributes | compact | uniq | join "," }}
- --metrics-attributes={{ regexReplaceAll "(^|,)[^:,]*:" . "$1" }}
{{- end }}
- --admin-host=
- --log-level={{ .logLevel }}
- --log-format={{ .logFormat }}
{{- end }}
{{- end }}

{{- define "headgate.ratelimitEnvironment" -}}
{{- include "headgate.urlVariable" (list .Values.rateLimit.redis "HEADGATE_REDIS_URL") }}
{{- with .Values.rateLimit.extraEnvVars }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "headgate.collectorEnvironment" -}}
{{- include "headgate.urlVariable" (list .Values.collector.store "HEADGATE_LEDGER") }}
{{- with .Values.collector.extraEnvVars }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "headgate.collectorMounts" -}}
- name: spool
  mountPath: /var/spool/headgate
{{- if .Values.collector.prices }}
- name: prices
  mountPath: /etc/headgate/prices
{{- end }}
{{- end }}

{{- define "headgate.collectorVolumes" -}}
- name: spool
  emptyDir:
    sizeLimit: 320Mi
{{- if .Values.collector.prices }}
- name: prices
  configMap:
    name: {{ include "headgate.collector" . }}
{{- end }}
{{- end }}

{{- /* Prices and teams; in the namespace of the pods that read them. */}}
{{- define "headgate.collectorPrices" -}}
{{- if .Values.collector.prices }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "headgate.collector" . }}
  namespace: {{ include "headgate.dataNamespace" . }}
  labels:
    {{- include "headgate.labels" . | nindent 4 }}
    app.kubernetes.io/component: collector
data:
  prices.yaml: |
    {{- toYaml .Values.collector.prices | nindent 4 }}
{{- end }}
{{- end }}

{{- /* Where Envoys are, and so what stands beside them. */}}
{{- define "headgate.dataNamespace" -}}
{{- if eq .Values.mode "standalone" }}{{ .Release.Namespace }}{{ else }}{{ .Values.envoyGateway.namespace }}{{ end }}
{{- end }}

{{- /* A Deployment and a Service beside Envoy Gateway: a dictionary of root, name, component, replicas, port, command, arguments,
environment, mounts, volumes and resources. Its certificate is that of Envoy Gateway's own rate limit service. */}}
{{- define "headgate.service" -}}
{{- $root := .root }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $root.Values.envoyGateway.namespace }}
  labels:
    {{- include "headgate.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  replicas: {{ .replicas }}
  selector:
    matchLabels:
      {{- include "headgate.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  strategy:
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels:
        {{- include "headgate.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
    spec:
      automountServiceAccountToken: false
      {{- include "headgate.pullSecrets" (list $root list) | nindent 6 }}
      securityContext:
        {{- toYaml $root.Values.controller.podSecurityContext | nindent 8 }}
      terminationGracePeriodSeconds: 30
      containers:
        - name: {{ .component }}
          image: {{ include "headgate.image" (list $root dict) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [{{ .command }}]
          args:
            - --address=:{{ .port }}
            - --tls-certificate=/certs/tls.crt
            - --tls-key=/certs/tls.key
            - --tls-client-ca=/certs/ca.crt
            - --admin-port=8080
            {{- .arguments | nindent 12 }}
          {{- with .environment }}
          env:
            {{- . | nindent 12 }}
          {{- end }}
          ports:
            - name: grpc
              containerPort: {{ .port }}
            - name: metrics
              containerPort: 8080
          # Not its health: without its Redis or its store it is still what there is.
          startupProbe:
            tcpSocket:
              port: grpc
            periodSeconds: 1
            failureThreshold: 120
          readinessProbe:
            tcpSocket:
              port: grpc
            periodSeconds: 5
          {{- include "headgate.liveness" "metrics" | nindent 10 }}
          securityContext:
            {{- toYaml $root.Values.controller.securityContext | nindent 12 }}
          resources:
            {{- toYaml .resources | nindent 12 }}
          volumeMounts:
            - name: certs
              mountPath: /certs
              readOnly: true
            {{- with .mounts }}
            {{- . | nindent 12 }}
            {{- end }}
      volumes:
        - name: certs
          secret:
            secretName: envoy-rate-limit
            defaultMode: 0440
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
      {{- include "headgate.spread" (list $root list .component) | nindent 6 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ $root.Values.envoyGateway.namespace }}
  labels:
    {{- include "headgate.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  selector:
    {{- include "headgate.selector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  ports:
    - name: grpc
      port: {{ .port }}
      targetPort: grpc
      appProtocol: kubernetes.io/h2c
{{- if gt (int .replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ $root.Values.envoyGateway.namespace }}
  labels:
    {{- include "headgate.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  minAvailable: 1
  selector:
    matchLabels:
      {{- include "headgate.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- if $root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  namespace: {{ $root.Values.envoyGateway.namespace }}
  labels:
    {{- include "headgate.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  podSelector:
    matchLabels:
      {{- include "headgate.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  policyTypes: [Ingress]
  ingress:
    - ports:
        - port: {{ .port }}
      from:
        - podSelector:
            matchLabels:
              app.kubernetes.io/managed-by: envoy-gateway
    # Metrics and health.
    - ports:
        - port: 8080
{{- end }}
{{- end }}
