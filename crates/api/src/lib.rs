//! interlink: the API server between virtual kubelet and plugin.
