package datapath_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daymark/internal/datapath"
)

func FuzzNotifications(f *testing.F) {
	for _, kind := range []int{unix.RTM_GETLINK, unix.RTM_GETADDR} {
		dump, err := unixDump(kind)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(dump)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { datapath.ParseAll(b) })
}

func TestLifetimeEndsBeforeTheRight(t *testing.T) {
	for left, want := range map[time.Duration]uint32{
		-time.Second:            0,
		0:                       0,
		999 * time.Millisecond:  0,
		time.Second:             1,
		1999 * time.Millisecond: 1,
		2 * time.Second:         2,
		3 * time.Second:         3,
		4 * time.Second:         3, // a lease of 5 s, whose renewal took a second
		4990 * time.Millisecond: 3, // one just renewed
		5051 * time.Millisecond: 4,
		15 * time.Second:        13,
	} {
		if got := datapath.Lifetime(left); got != want {
			t.Errorf("%v left: %d s, want %d", left, got, want)
		}
		if got := datapath.Lifetime(left); time.Duration(got)*time.Second > max(left, 0) {
			t.Errorf("%v left: %d s is later", left, got)
		}
	}
}
