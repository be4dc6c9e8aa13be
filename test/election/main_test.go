// Package election_test runs the electors against a real API server.
package election_test

import (
	"os"
	"testing"

	"daymark/test/netns"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }
