package l2_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/l2"
	"daymark/test/netns"
)

// TestFramesForOthersAreNotHeard says what is heard as the kernel does: not what goes to another station, and not what belongs to a VLAN,
// where the same address may be somebody else's by right. What belongs to a link above this one is made by a macvlan too, since not every
// kernel has VLANs: it passes both on in the same way.
func TestFramesForOthersAreNotHeard(t *testing.T) {
	t.Parallel()
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := real(t)
			child := l2.MAC{2, 0, 0, 0, 1, 0xcc}
			netns.IP(t, "link add link "+w.near+" name "+w.near+"c address "+child.String()+" type macvlan")
			netns.IP(t, "link set "+w.near+"c up")
			far, a := w.station(t, f.family), w.start(t, l2.Config{})
			key := w.addr(f.addr, 0).Key()
			claim := func(last byte) []byte {
				return l2.Announcements(key.Addr, l2.MAC{2, 0, 0, 0, 1, last})[0]
			}
			tagged := func(vlan byte, frame []byte) []byte {
				return append(append(append([]byte(nil), frame[:12]...), 0x81, 0, 0, vlan), frame[12:]...)
			}
			elsewhere, above := claim(2), claim(5)
			copy(elsewhere, []byte{2, 0, 0, 0, 1, 0xbb})
			copy(above, child[:])
			frames := [][]byte{tagged(5, claim(1)), elsewhere, above, tagged(0, claim(3)), claim(4)} // VLAN 0 is none, but a priority (IEEE 802.1Q)
			vlan := exec.Command("ip", "link", "add", "link", w.near, "name", w.near+".6", "up", "type", "vlan", "id", "6")
			if out, err := vlan.CombinedOutput(); err != nil {
				t.Logf("without a link for a VLAN: %v %s", err, out)
			} else {
				frames = append([][]byte{tagged(6, claim(6))}, frames...)
			}
			heard := map[byte]bool{}
			for end := time.Now().Add(10 * time.Second); !(heard[3] && heard[4]) && time.Now().Before(end); {
				for _, frame := range frames {
					next, stop, err := a.Listen(key) // holds one frame
					if err != nil {
						t.Fatal(err)
					}
					if err := far.Send(frame); err != nil {
						t.Error(err)
					}
					select {
					case h := <-next:
						heard[h.MAC[5]] = true
					case <-time.After(50 * time.Millisecond):
					}
					stop()
				}
			}
			if d := cmp.Diff(map[byte]bool{3: true, 4: true}, heard); d != "" {
				t.Errorf("3 has a priority, 4 is plain; 1 and 6 are of other VLANs, 2 is another station's and 5 another link's: %s", d)
			}
		})
	}
}

// TestABusyLinkLosesAFrameAndNotItsPort fills the queue of a link, as a node does that sends more than its link carries. Who opened the
// port anew for each frame would be deaf meanwhile.
func TestABusyLinkLosesAFrameAndNotItsPort(t *testing.T) {
	t.Parallel()
	w := real(t)
	tc := func(args string) {
		t.Helper()
		if out, err := exec.Command("tc", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("tc %s: %v\n%s", args, err, out)
		}
	}
	counted := &counting{Network: w.Network}
	w.Network = counted
	far := w.station(t, l2.IPv4)
	tc("qdisc replace dev " + w.near + " root bfifo limit 1")
	a, addr := w.start(t, l2.Config{Period: l2.LeastPeriod}), w.addr("198.18.0.10", 0)
	set(t, a, addr)
	wait(time.Second)
	if n, opens := len(far.about(addr)), counted.opens.Load(); n > 0 || opens != 2 {
		t.Errorf("%d frames went through a full queue, and ports were opened %d times for both ends", n, opens)
	}
	tc("qdisc del dev " + w.near + " root")
	for end := time.Now().Add(10 * time.Second); len(far.about(addr)) == 0; wait(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not announced when there was room again")
		}
	}
}
