// Package bgp_test runs the BGP speaker against real routers: FRR, BIRD and GoBGP, on hosts of their own.
package bgp_test

import (
	"flag"
	"os"
	"testing"

	"daymark/test/netns"
)

// Environment of this binary when it is started on a host as another program.
const (
	speakerKey = "DAYMARK_BGP_SPEAKER" // the path of the control socket
	gobgpKey   = "DAYMARK_BGP_GOBGP"   // the path of the state file
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(speakerKey) != "":
		os.Exit(speakerMain(os.Getenv(speakerKey)))
	case os.Getenv(gobgpKey) != "":
		os.Exit(gobgpMain(os.Getenv(gobgpKey)))
	}
	// They wait more than they work, each on hosts of its own: more at a time than there are processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(netns.RunTests(m))
}
