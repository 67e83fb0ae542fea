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
{{- if or .Values.virtualNode.network.enableTunnel .Values.virtualNode.network.fullMesh }}{{ fail "virtualNode.network.enableTunnel and fullMesh are not served; set them to false" }}{{ end -}}
{{- if and .Values.tunnel.enabled (not .Values.interlink.enabled) }}{{ fail "tunnel.enabled needs interlink.enabled: the API server calls the tunnel" }}{{ end -}}
{{- if and .Values.tunnel.enabled .Values.plugin.enabled }}{{ fail "tunnel.enabled and plugin.enabled are two ways to a plugin; set one of them" }}{{ end -}}
{{- if and .Values.tunnel.enabled (not .Values.tunnel.addr) }}{{ fail "tunnel.addr is not set; set it to host:port of the SSH server" }}{{ end -}}
{{- end -}}

{{- /* A socket by its name, path or address. */ -}}
{{- define "interlink.socket" -}}
{{- if hasPrefix "unix://" . }}{{ . }}{{ else if hasPrefix "/" . }}unix://{{ . }}{{ else }}unix:///run/interlink/{{ . }}{{ end -}}
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
