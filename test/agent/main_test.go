// Package agent_test runs the program vip on hosts of a bed against a real API server.
package agent_test

import (
	"os"
	"testing"

	"daymark/test/netns"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }
