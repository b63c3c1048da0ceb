{{- define "stickymark.name" -}}
{{- if contains "stickymark" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-stickymark" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "stickymark.selector" -}}
app.kubernetes.io/name: stickymark
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "stickymark.labels" -}}
{{ include "stickymark.selector" . }}
app.kubernetes.io/part-of: stickymark
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "stickymark.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Numbers of values are floats: 1400000000 would become 1.4e+09. */}}
{{- define "stickymark.setting" -}}
{{- if kindIs "slice" . -}}
{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{- define "stickymark.settings" -}}
{{- range $section, $keys := .Values.settings }}
{{- range $key, $value := $keys }}
STICKYMARK__{{ upper $section }}__{{ upper $key }}: {{ include "stickymark.setting" $value | quote }}
{{- end }}
{{- end }}
{{- if .Values.databaseSecret.caSecret }}
PGSSLMODE: verify-full
PGSSLROOTCERT: /run/secrets/stickymark/database-ca.crt
{{- end }}
{{- end -}}

{{/* What the init containers and the service share. */}}
{{- define "stickymark.container" -}}
image: {{ include "stickymark.image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
envFrom:
  - configMapRef:
      name: {{ include "stickymark.name" . }}-settings
env:
  - name: STICKYMARK__CHAT__SECRET_KEY_FILE
    value: /run/secrets/stickymark/chat-secret-key
  - name: STICKYMARK__CALLBACK__TOKENS_FILE
    value: /run/secrets/stickymark/callback-tokens
  - name: STICKYMARK__ADMIN__TOKENS_FILE
    value: /run/secrets/stickymark/admin-tokens
  - name: STICKYMARK__DATABASE__URL_FILE
    value: /run/secrets/stickymark/database-url
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  - name: secrets
    mountPath: /run/secrets/stickymark
    readOnly: true
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}
