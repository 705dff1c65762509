{{/* Values as TOML: texts, numbers, booleans and lists of JSON are written alike there. */}}
{{- define "cdr.toml" -}}
{{- range $key, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The settings of one deployment with what the chart knows besides: its token, its password, its holders file. */}}
{{- define "cdr.deployment" -}}
{{- $own := deepCopy .settings -}}
{{- $prefix := eq .name "default" | ternary "" (printf "%s." .name) -}}
{{- if .Values.secrets.intakeTokens -}}
{{- $_ := set $own "intake_token_file" (printf "/etc/cdr-service/secrets/%sintake-token" $prefix) -}}
{{- end -}}
{{- if $own.cms_url -}}
{{- $_ := set $own "cms_password_file" (printf "/etc/cdr-service/cms/%spassword" $prefix) -}}
{{- if and .Values.cms.caConfigMap (not $own.cms_ca) -}}
{{- $_ := set $own "cms_ca" (printf "/etc/cdr-service/cms-ca/%s" .Values.cms.caKey) -}}
{{- end -}}
{{- end -}}
{{- $files := include "cdr.holdersFiles" . | fromJsonArray -}}
{{- $base := eq .name "default" | ternary "holders" .name -}}
{{- range $ending := list "toml" "csv" -}}
{{- $file := printf "%s.%s" $base $ending -}}
{{- if and (has $file $files) (not $own.holders) -}}
{{- $_ := set $own "holders" (printf "/etc/cdr-service/holders/%s" $file) -}}
{{- end -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{- define "cdr.holdersFiles" -}}
{{- with .Values.holders -}}
{{- if or .existingConfigMap .existingSecret -}}
{{ toJson .existingFiles }}
{{- else -}}
{{ keys .files | sortAlpha | toJson }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cdr.config" -}}
# Made by the chart from `settings`.
intake_bind = "0.0.0.0:8080"
api_bind = "0.0.0.0:8081"
api_token_file = "/etc/cdr-service/secrets/api-token"
{{- range $port := list "intake" "api" }}
{{- if (index $.Values.tls $port).existingSecret }}
{{ $port }}_tls_cert = "/etc/cdr-service/tls-{{ $port }}/tls.crt"
{{ $port }}_tls_key = "/etc/cdr-service/tls-{{ $port }}/tls.key"
{{- end }}
{{- end }}
{{- if eq .Values.store.kind "embedded" }}
data_dir = "/data"
{{- else if and (eq .Values.store.kind "external") .Values.store.external.url }}
redis_url = {{ toJson .Values.store.external.url }}
{{- else }}
redis_url_file = "/etc/cdr-service/store/redis-url"
{{- end }}
{{- $default := include "cdr.deployment" (dict "Values" .Values "name" "default" "settings" .Values.settings) | fromJson }}
{{- include "cdr.toml" $default }}
{{- with $default.licensing }}

[licensing]
{{- include "cdr.toml" . }}
{{- end }}
{{- range $name, $given := default dict .Values.settings.deployments }}
{{- $own := include "cdr.deployment" (dict "Values" $.Values "name" $name "settings" $given) | fromJson }}

[deployments.{{ $name }}]
{{- include "cdr.toml" $own }}
{{- with $own.licensing }}

[deployments.{{ $name }}.licensing]
{{- include "cdr.toml" . }}
{{- end }}
{{- end }}
{{ end -}}

{{- define "cdr.redisConfig" -}}
appendonly yes
appendfsync always
save ""
maxmemory {{ .Values.store.bundled.maxMemory }}
maxmemory-policy noeviction
dir /data
include /etc/redis/password.conf
{{- end -}}
