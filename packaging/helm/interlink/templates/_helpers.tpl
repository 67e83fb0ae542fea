{{- define "interlink.labels" -}}
app.kubernetes.io/name: interlink
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "interlink.selector" -}}
app.kubernetes.io/name: interlink
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* What would be ignored, and must not be. */ -}}
{{- define "interlink.refuse" -}}
{{- if .Values.OAUTH.enabled }}{{ fail "OAUTH.enabled is not served: programs speak over sockets and SSH; remove it" }}{{ end -}}
{{- if .Values.sshBastion.enabled }}{{ fail "sshBastion.enabled is not served: the tunnel connects to the login node; set tunnel.enabled instead" }}{{ end -}}
{{- if .Values.interlink.tls.enabled }}{{ fail "interlink.tls.enabled is not served: use sockets and the tunnel, or a proxy; set it to false" }}{{ end -}}
{{- if and (not .Values.interlink.enabled) (not .Values.interlink.socket) (hasPrefix "https://" .Values.interlink.address) }}{{ fail "interlink.address with https:// is not served: use the tunnel (tunnel.enabled, interlink.enabled), or a proxy beside the virtual kubelet" }}{{ end -}}
{{- if or .Values.virtualNode.HTTPProxies.HTTP .Values.virtualNode.HTTPProxies.HTTPs }}{{ fail "virtualNode.HTTPProxies is not served: the API server of the cluster is called directly; remove it" }}{{ end -}}
{{- if or .Values.interlink.jobScript .Values.virtualNode.JobScriptBuilderURL }}{{ fail "interlink.jobScript and virtualNode.JobScriptBuilderURL are not served: the plugin makes the job script; remove them" }}{{ end -}}
{{- if or .Values.virtualNode.network.enableTunnel .Values.virtualNode.network.fullMesh }}{{ fail "virtualNode.network.enableTunnel and fullMesh are not served; set them to false" }}{{ end -}}
{{- if and .Values.tunnel.enabled (not .Values.interlink.enabled) }}{{ fail "tunnel.enabled needs interlink.enabled: the API server calls the tunnel" }}{{ end -}}
{{- if and .Values.tunnel.enabled .Values.plugin.enabled }}{{ fail "tunnel.enabled and plugin.enabled are two ways to a plugin; set one of them" }}{{ end -}}
{{- if and .Values.tunnel.enabled (not .Values.tunnel.addr) }}{{ fail "tunnel.addr is not set; set it to host:port of the SSH server" }}{{ end -}}
{{- if and .Values.plugin.enabled (not .Values.plugin.image) }}{{ fail "plugin.image is not set; name the plugin's image" }}{{ end -}}
{{- end -}}

{{- /* A socket by its name, path or address. The directory /var/run of the existing chart is /run/interlink here: the same
       volume, at another place. */ -}}
{{- define "interlink.socket" -}}
{{- $path := trimPrefix "unix://" . -}}
{{- if has (dir $path) (list "." "/run" "/var/run") }}unix:///run/interlink/{{ base $path }}{{ else }}unix://{{ $path }}{{ end -}}
{{- end -}}

{{- define "interlink.resources" -}}
requests:
  cpu: {{ .CPU.request | quote }}
  memory: {{ .memory.request | quote }}
limits:
  cpu: {{ .CPU.limit | quote }}
  memory: {{ .memory.limit | quote }}
{{- end -}}

{{- define "interlink.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}

{{- define "interlink.environment" -}}
- name: RUNTIME_DIRECTORY
  value: /run/interlink
- name: STATE_DIRECTORY
  value: /var/lib/interlink
{{- end -}}

{{- define "interlink.mounts" -}}
- name: sockets
  mountPath: /run/interlink
- name: state
  mountPath: /var/lib/interlink
- name: config
  mountPath: /etc/interlink
  readOnly: true
{{- end -}}
