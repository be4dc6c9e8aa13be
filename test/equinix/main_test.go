package equinix_test

import (
	"os"
	"os/exec"
	"sync"
	"testing"

	"daymark/test/netns"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }

// product returns a folder with the programs, built once.
var product = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "equinix-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "daymark/cmd/vip", "daymark/cmd/ccm")
	cmd.Stderr = os.Stderr
	return dir, cmd.Run()
})
