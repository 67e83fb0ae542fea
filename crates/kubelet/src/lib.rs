//! virtual-kubelet: makes a batch machine one more Kubernetes node.
