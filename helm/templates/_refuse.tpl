{{/* What no schema can see: values that do not go together. Each refusal says what to change. */}}
{{- define "cdr.refuse" -}}
{{- $store := .Values.store -}}
{{- $several := gt (int .Values.replicaCount) 1 -}}
{{- if and $several (eq $store.kind "embedded") -}}
{{- fail (printf "replicaCount is %d, but the embedded store belongs to one pod: set store.kind to external (a Redis of your own) or bundled, or replicaCount to 1." (int .Values.replicaCount)) -}}
{{- end -}}
{{- if and (eq $store.kind "external") (not $store.external.url) (not $store.external.existingSecret) -}}
{{- fail "store.kind is external, but nothing says where it is: set store.external.url, or store.external.existingSecret." -}}
{{- end -}}
{{- if and (eq $store.kind "external") $store.external.url $store.external.existingSecret -}}
{{- fail "store.external.url and store.external.existingSecret are both set: keep one of them." -}}
{{- end -}}
{{- if or (contains "@" $store.external.url) (contains "password=" $store.external.url) -}}
{{- fail "store.external.url holds a user or password: put the whole URL into a Secret and name that in store.external.existingSecret." -}}
{{- end -}}
{{- if and (ne $store.kind "external") (or $store.external.url $store.external.existingSecret) -}}
{{- fail (printf "store.external is set, but store.kind is %s: set store.kind to external, or leave store.external empty." $store.kind) -}}
{{- end -}}
{{- if and .Values.holders.existingConfigMap .Values.holders.existingSecret -}}
{{- fail "holders.existingConfigMap and holders.existingSecret are both set: keep one of them." -}}
{{- end -}}
{{- if and .Values.holders.files (or .Values.holders.existingConfigMap .Values.holders.existingSecret) -}}
{{- fail "holders.files is set beside a ConfigMap or Secret of your own: keep one of them." -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.callBridges) (not .Values.networkPolicy.intakeFrom) -}}
{{- fail "networkPolicy is enabled, but lets nobody push: set networkPolicy.callBridges to the Call Bridges' networks, or networkPolicy.intakeFrom to the Ingress controller." -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.apiFrom) -}}
{{- if or .Values.metrics.serviceMonitor.enabled .Values.ingress.api.enabled -}}
{{- fail "networkPolicy lets nobody reach the API, but metrics.serviceMonitor or ingress.api is enabled: set networkPolicy.apiFrom to Prometheus, or the Ingress controller." -}}
{{- end -}}
{{- end -}}
{{- $least := add (int .Values.preStopSeconds) 10 -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $least) -}}
{{- fail (printf "After preStopSeconds (%d), terminationGracePeriodSeconds (%d) leaves no time to finish what is in flight: set it to %d or more." (int .Values.preStopSeconds) (int .Values.terminationGracePeriodSeconds) $least) -}}
{{- end -}}
{{- $deployments := dict "default" .Values.settings -}}
{{- range $name, $given := default dict .Values.settings.deployments -}}
{{- $_ := set $deployments $name $given -}}
{{- end -}}
{{- $named := list -}}
{{- range $name, $given := $deployments -}}
{{- $named = append $named (eq $name "default" | ternary "holders" $name) -}}
{{- $named = append $named (base (default "" $given.holders)) -}}
{{- end -}}
{{- range $file := include "cdr.holdersFiles" . | fromJsonArray -}}
{{- if not (or (has (trimSuffix (ext $file) $file) $named) (has $file $named)) -}}
{{- fail (printf "The holders file %s belongs to no deployment: name it holders.csv, or after one of settings.deployments." $file) -}}
{{- end -}}
{{- end -}}
{{- range $name, $given := $deployments -}}
{{- $where := eq $name "default" | ternary "settings" (printf "settings.deployments.%s" $name) -}}
{{- if and $given.cms_url (not $.Values.cms.existingSecret) -}}
{{- fail (printf "%s.cms_url is set without a password: name a Secret that has it in cms.existingSecret." $where) -}}
{{- end -}}
{{- if and $given.cms_url (not $given.cms_username) -}}
{{- fail (printf "%s.cms_url is set without a user: set %s.cms_username." $where $where) -}}
{{- end -}}
{{- if not (or $.Values.secrets.intakeTokens $given.intake_allow $given.intake_open) -}}
{{- fail (printf "Anybody could push to the deployment %s: set secrets.intakeTokens to true, or %s.intake_allow to the Call Bridges' networks." $name $where) -}}
{{- end -}}
{{- $limited := and $given.intake_allow (not (has (toString $given.intake_allow) (list "any" "[any]"))) -}}
{{- if and $.Values.ingress.intake.enabled $limited (not $given.trusted_proxies) -}}
{{- fail (printf "Every push to the deployment %s would come from the Ingress controller and be refused by %s.intake_allow: set %s.trusted_proxies to the controller's networks." $name $where $where) -}}
{{- end -}}
{{- end -}}
{{- end -}}
