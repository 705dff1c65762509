{{- define "cdr.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cdr.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "cdr.labels" -}}
{{ include "cdr.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "cdr.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cdr.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "cdr.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "cdr.secret" -}}
{{ default (include "cdr.fullname" .) .Values.secrets.existingSecret }}
{{- end -}}

{{- define "cdr.redisSecret" -}}
{{ default (printf "%s-redis" (include "cdr.fullname" .)) .Values.store.bundled.existingSecret }}
{{- end -}}

{{- define "cdr.apiScheme" -}}
{{ if .Values.tls.api.existingSecret }}https{{ else }}http{{ end }}
{{- end -}}

{{- define "cdr.intakeScheme" -}}
{{ if .Values.tls.intake.existingSecret }}https{{ else }}http{{ end }}
{{- end -}}

{{/* The volume that holds the tokens, wherever it is mounted: one token of each deployment, and that of the API. */}}
{{- define "cdr.secretNames" -}}
{{- $names := list "api-token" -}}
{{- if .Values.secrets.intakeTokens -}}
{{- $names = append $names "intake-token" -}}
{{- range $name := keys (default dict .Values.settings.deployments) | sortAlpha -}}
{{- $names = append $names (printf "%s.intake-token" $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* A value that a Secret has already, so that an upgrade keeps it; else a new one. */}}
{{- define "cdr.kept" -}}
{{- $found := lookup "v1" "Secret" .namespace .secret -}}
{{- $data := default dict (default dict $found).data -}}
{{- if hasKey $data .key -}}
{{ get $data .key }}
{{- else -}}
{{ default (randAlphaNum 40) .otherwise | b64enc }}
{{- end -}}
{{- end -}}
