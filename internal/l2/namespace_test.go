package l2_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"daymark/test/netns"
)

// TestMain runs everything in namespaces of its own, where any user may open packet sockets.
func TestMain(m *testing.M) {
	flag.Parse()
	if *announce != "" {
		fmt.Fprintln(os.Stderr, beAnnouncer())
		os.Exit(1)
	}
	// Nearly all of the time is waiting.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	os.Exit(netns.RunTests(m))
}
