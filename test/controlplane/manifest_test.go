package controlplane_test

import (
	"os"
	"strings"
	"testing"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/programs"
	"daymark/test/require"
)

const podManifest = `
apiVersion: v1
kind: ConfigMap
metadata: {name: not-a-pod}
---
apiVersion: v1
kind: Pod
metadata: {name: kube-vip, namespace: kube-system}
spec:
  hostNetwork: true
  hostAliases: [{ip: 127.0.0.1, hostnames: [kubernetes]}]
  containers:
  - name: kube-vip
    image: daymark
    args: [-c, "env; grep CapBnd /proc/self/status; cat /etc/hosts /etc/admin-copy; cat /run/secrets/kubernetes.io/serviceaccount/token"]
    env:
    - {name: vip_interface, value: eth0}
    - {name: vip_nodename, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    securityContext:
      capabilities: {drop: [ALL], add: [NET_ADMIN, NET_RAW]}
    volumeMounts: [{name: kubeconfig, mountPath: /etc/admin-copy}]
  volumes:
  - {name: kubeconfig, hostPath: {path: /etc/kubernetes/admin.conf}}
`

func TestRunManifest(t *testing.T) {
	require.Tool(t, "setpriv", "unshare")
	lab, lan := netns.Lan(t, "node1")
	cluster := require.Value(controlplane.New(lab, controlplane.Config{Endpoint: lan.Addr(100), Programs: programs.Set{}}))(t)
	node := require.Value(cluster.Add(lab.Host("node1")))(t)
	command := require.Value(node.RunManifest([]byte(podManifest), controlplane.Run{
		Program: "/bin/sh", Env: []string{"vip_loglevel=-4"}, Account: controlplane.Identity{Token: "the-token"},
	}))(t)
	<-command.Done()
	out := string(require.Value(os.ReadFile(command.Log()))(t))
	if err := command.Err(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"vip_interface=eth0\n", "vip_nodename=node1\n", "vip_loglevel=-4\n", "KUBERNETES_SERVICE_HOST=198.19.0.1\n",
		"CapBnd:\t0000000000003000\n", // NET_ADMIN is bit 12, NET_RAW 13
		"127.0.0.1 kubernetes\n", "server: https://198.18.0.100:6443\n", "the-token",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the pod's output:\n%s", want, out)
		}
	}
	if hosts := require.Value(lab.Host("node1").Run(t.Context(), "cat", "/etc/hosts"))(t); strings.Contains(string(hosts), "kubernetes") {
		t.Error("the node sees the pod's host aliases")
	}
	if _, err := node.RunManifest([]byte(strings.Replace(podManifest, "hostAliases", "hostAliasses", 1)), controlplane.Run{Program: "/bin/sh"}); err == nil {
		t.Error("a misspelt field was accepted")
	}
}
