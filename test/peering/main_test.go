// Package peering_test runs the programs vip and ccm as nodes run them, against a real API server and a real FRR: Services, the control
// plane's address and BGP in Node annotations, from the object to the router's table.
package peering_test

import (
	"os"
	"testing"

	"daymark/test/netns"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }
