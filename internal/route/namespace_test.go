package route_test

import (
	"os"
	"testing"

	"daymark/test/netns"
)

// TestMain runs everything in namespaces of its own, where any user may change routes.
func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }
