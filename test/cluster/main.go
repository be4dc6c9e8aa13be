// Command cluster is a Kubernetes control plane in one binary: kube-apiserver,
// kube-proxy and etcd, chosen by the first argument. Test beds and the demo run
// it; it is never shipped. It is a module of its own, so that the Kubernetes
// server code and its replace block stay out of the product's go.mod; what both
// modules use has the same versions in both, so that one build cache serves both.
//
// It adds nothing to the programs it contains: their flags follow the first
// argument as they would follow the program's name.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		run(apiserver.NewAPIServerCommand())
	case "kube-proxy":
		run(proxy.NewProxyCommand())
	default:
		usage()
	}
}

func run(command *cobra.Command) { os.Exit(cli.Run(command)) }

func usage() {
	fmt.Fprintln(os.Stderr, "usage: cluster etcd|kube-apiserver|kube-proxy [flags]")
	os.Exit(2)
}
