// Command demo plays Daymark's main job on a real cluster of network namespaces: three control-plane nodes, each with its own
// etcd member, kube-apiserver, kube-proxy and vip agent, one ccm, a client and a router on a LAN. It prints a line for each
// step and a table at the end, and leaves nothing behind but what is in the user's cache folder.
package main

import (
	"context"
	"flag"
	"os"

	"daymark/test/stage"
)

func main() {
	hold := flag.Bool("hold", false, "keep the cluster up at the end until Ctrl-C, and say how to reach it")
	flag.Parse()
	os.Exit(stage.Main("demo", func(ctx context.Context, s *stage.Stage) error {
		p := &play{Stage: s}
		return p.run(ctx, *hold)
	}, openDoor(*hold)))
}
