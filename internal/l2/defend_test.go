package l2_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/l2"
)

// What the link lost is no defence, and doesn't keep the next claim from being answered.
func TestADefenceIsWhatLeft(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := simulated()
				network := breaking{w.Network, make(chan error, 1), make(chan error, 2)}
				w.Network = network
				far, a := w.station(t, f.family), w.start(t, l2.Config{Period: time.Hour})
				addr := w.addr(f.addr, 0)
				set(t, a, addr)
				wait(10 * time.Second)
				forms := len(l2.Announcements(addr.Prefix.Addr(), stranger))
				defend := func(lost string, broken []error, frames int) {
					t.Helper()
					before := len(far.about(addr))
					for _, err := range broken {
						network.send <- err
					}
					if got := a.Defend(addr.Key()); got != (frames > 0) {
						t.Errorf("%s: %v", lost, got)
					}
					w.settle()
					if n := len(far.about(addr)) - before; n != frames {
						t.Errorf("%s: %d frames were heard, want %d", lost, n, frames)
					}
				}
				all := []error{l2.ErrBusy, l2.ErrBusy}[:forms]
				defend("all on a busy link", all, 0)
				defend("the port", []error{errors.New("broken")}, 0)
				w.down()
				defend("all on a link that is down", nil, 0)
				w.up()
				wait(10 * time.Second)
				defend("nothing", nil, forms)
				defend("nothing, too soon", nil, 0)
				if forms > 1 {
					wait(10 * time.Second)
					defend("one of two forms", all[1:], 1)
					defend("nothing, too soon after one form", nil, 0)
				}
			})
		})
	}
}
