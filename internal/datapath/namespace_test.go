package datapath_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"daymark/test/netns"
)

// TestMain runs everything in namespaces of its own, where any user may change addresses.
func TestMain(m *testing.M) {
	flag.Parse()
	if *hold != "" {
		fmt.Fprintln(os.Stderr, beHolder())
		os.Exit(1)
	}
	os.Exit(netns.RunTests(m))
}
