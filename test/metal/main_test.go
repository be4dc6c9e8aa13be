package metal_test

import (
	"os"
	"testing"

	"daymark/test/netns"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }
