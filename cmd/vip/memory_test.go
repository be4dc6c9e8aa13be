package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	vip "daymark/cmd/vip"
)

// mapped returns how much of files is mapped into this process, in KiB.
func mapped(t *testing.T) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n int
		if _, err := fmt.Sscanf(line, "RssFile: %d", &n); err == nil {
			kib += n
		} else if _, err := fmt.Sscanf(line, "RssShmem: %d", &n); err == nil {
			kib += n
		}
	}
	return kib
}

func TestUnmapProgram(t *testing.T) {
	before := mapped(t)
	if err := vip.UnmapProgram(); err != nil {
		t.Fatal(err)
	}
	after := mapped(t)
	t.Logf("%d KiB of files before, %d after", before, after)
	if after > before {
		t.Error("there is more than before")
	}
}

func TestParseMapping(t *testing.T) {
	for line, want := range map[string]string{
		"00400000-0216e000 r-xp 00000000 fe:00 12345                              /usr/bin/vip": "400000 216e000 false /usr/bin/vip true",
		"0433d000-0438f000 rw-p 03f3d000 fe:00 12345                              /usr/bin/vip": "433d000 438f000 true /usr/bin/vip true",
		"7ffd0000-7ffd1000 rw-p 00000000 00:00 0 ":                                              "7ffd0000 7ffd1000 true  true",
		"VmFlags: rd ex mr mw me dw":                                                            "0 0 false  false",
		"Anonymous:             0 kB":                                                           "0 0 false  false",
		"nonsense-here rw-p 0 00:00 0":                                                          "0 0 false  false",
	} {
		from, to, writable, file, ok := vip.ParseMapping(line)
		if got := fmt.Sprintf("%x %x %v %s %v", from, to, writable, file, ok); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}
