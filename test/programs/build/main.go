// Command build builds the control plane that tests and the demo run, unless it is
// there already, and prints where its programs are.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"daymark/test/programs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	set, err := programs.Build(ctx, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, program := range [][]string{set.APIServer, set.Etcd, set.Proxy} {
		fmt.Println(strings.Join(program, " "))
	}
}
