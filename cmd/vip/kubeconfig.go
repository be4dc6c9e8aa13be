package main

// DefaultKubeconfig is where kubeadm puts the administrator's kubeconfig.
const DefaultKubeconfig = "/etc/kubernetes/admin.conf"
