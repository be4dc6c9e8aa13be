// Command kube-proxy is Kubernetes' kube-proxy alone, for machines that have
// kube-apiserver and etcd already ($KUBEBUILDER_ASSETS lacks kube-proxy). Like the
// module's main command it takes its name as first argument.
package main

import (
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "kube-proxy" {
		fmt.Fprintln(os.Stderr, "usage: kube-proxy kube-proxy [flags]")
		os.Exit(2)
	}
	os.Args = os.Args[1:]
	os.Exit(cli.Run(app.NewProxyCommand()))
}
