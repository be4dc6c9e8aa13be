package l2_test

import (
	"errors"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/l2"
	"daymark/test/netns"
)

// breaking is a network whose ports break when they are told to.
type breaking struct {
	l2.Network
	receive, send chan error // what the next port that receives or sends fails with
}

func (n breaking) Open(link string, family l2.Family) (l2.Port, error) {
	p, err := n.Network.Open(link, family)
	if err != nil {
		return nil, err
	}
	return &breakable{p, n}, nil
}

type breakable struct {
	l2.Port
	network breaking
}

func (p *breakable) Send(frame []byte) error {
	select {
	case err := <-p.network.send:
		return err
	default:
		return p.Port.Send(frame)
	}
}

func (p *breakable) Receive(frame []byte) (int, error) {
	n, err := p.Port.Receive(frame)
	select {
	case broken := <-p.network.receive:
		return 0, broken
	default:
		return n, err
	}
}

// A port that is of no more use is closed and opened anew; one that fails for the moment is kept.
func TestPortsThatBreak(t *testing.T) {
	for name, test := range map[string]struct {
		receive, send error
		anew          int
	}{
		"receiving breaks":               {receive: errors.New("broken"), anew: 1},
		"receiving while it is down":     {receive: l2.ErrLinkDown},
		"sending breaks":                 {send: errors.New("broken"), anew: 1},
		"sending while it is down":       {send: l2.ErrLinkDown},
		"sending on a link that is busy": {send: l2.ErrBusy},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := simulated()
				memory := w.Network.(*wire)
				network := breaking{w.Network, make(chan error, 1), make(chan error, 1)}
				w.Network = network
				told := make(chan l2.Heard, 100)
				far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Heard: func(h l2.Heard) { told <- h }})
				addr := w.addr("198.18.0.10", 0)
				set(t, a, addr)
				wait(4 * time.Second)
				opened := memory.opened()
				if test.receive != nil {
					far.say(t, l2.Announcements(addr.Prefix.Addr(), stranger)[0]) // something to receive
					for len(told) > 0 {
						<-told
					}
					network.receive <- test.receive
					far.say(t, l2.Announcements(addr.Prefix.Addr(), stranger)[0])
				} else {
					network.send <- test.send
				}
				wait(2 * l2.DefaultPeriod)
				if n := memory.opened() - opened; n != test.anew || memory.open() != 1 {
					t.Errorf("opened %d times, want %d; %d are open", n, test.anew, memory.open())
				}
				before := len(far.about(addr))
				wait(l2.DefaultPeriod + time.Second)
				if len(far.about(addr)) == before {
					t.Error("not announced any more")
				}
				far.say(t, l2.Announcements(addr.Prefix.Addr(), stranger)[0])
				if len(told) != 1 {
					t.Errorf("told %d times of a claim after that", len(told))
				}
			})
		})
	}
}

// Who only asks sends no announcement that would find out.
func TestAProbeGivesUpAPortThatBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		memory := w.Network.(*wire)
		network := breaking{w.Network, make(chan error, 1), make(chan error, 2)}
		w.Network = network
		a, addr := w.start(t, l2.Config{}), w.addr("198.18.0.10", 0)
		for _, test := range []struct {
			broken error
			opened int
		}{{errors.New("broken"), 2}, {l2.ErrBusy, 2}, {l2.ErrLinkDown, 2}} {
			network.send <- test.broken
			if err := a.Probe(t.Context(), addr.Key()); !errors.Is(err, test.broken) {
				t.Errorf("%v, want %v", err, test.broken)
			}
			if err := a.Probe(t.Context(), addr.Key()); err != nil {
				t.Errorf("after %v: %v", test.broken, err)
			}
			if n := memory.opened(); n != test.opened || memory.open() != 1 {
				t.Errorf("after %v: opened %d times, want %d; %d are open", test.broken, n, test.opened, memory.open())
			}
		}
	})
}

func TestLinksWithoutNeighbours(t *testing.T) {
	t.Parallel()
	w := real(t)
	if _, err := (l2.Sockets{}).Open("missing", l2.IPv4); err == nil || errors.Is(err, l2.ErrNoNeighbours) {
		t.Errorf("a link that is missing: %v", err)
	}
	netns.IP(t, "link set "+w.near+" arp off") // as a tunnel is
	links := []string{"lo", w.near}
	tun := w.near[:8] + "t"
	if out, err := exec.Command("ip", "tuntap", "add", "mode", "tun", tun).CombinedOutput(); err != nil {
		t.Logf("without a link that has no hardware address: %v %s", err, out)
	} else {
		t.Cleanup(func() { _ = exec.Command("ip", "link", "del", tun).Run() })
		links = append(links, tun)
	}
	for _, link := range links {
		for _, f := range families {
			if _, err := (l2.Sockets{}).Open(link, f.family); !errors.Is(err, l2.ErrNoNeighbours) {
				t.Errorf("%s for %s: %v", link, f.family, err)
			}
		}
	}
}
