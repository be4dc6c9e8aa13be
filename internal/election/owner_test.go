package election_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"daymark/internal/election"
)

// nodeA is the Node of node a, registered under a UID.
func nodeA(uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: "a", UID: uid}
}

const leaseA = "kube-vip-member-services-a"

// own tells a process which Node is its own.
func (p *proc) own(uid types.UID) { p.elector.(*election.Members).SetOwner(nodeA(uid)) }

// owners returns which owners the Lease of a names, "-" for no Lease.
func (w *world) owners() []types.UID {
	lease, err := w.api.get("kube-system", leaseA)
	if err != nil {
		return []types.UID{"-"}
	}
	var out []types.UID
	for _, o := range lease.OwnerReferences {
		out = append(out, o.UID)
	}
	return out
}

// collector is the garbage collector: it deletes what names only owners that are no more, soon.
type collector struct {
	mu        sync.Mutex
	there     []types.UID
	collected int
}

// collect runs a collector until the end of the story.
func collect(w *world, there ...types.UID) (*collector, context.CancelFunc) {
	c := &collector{there: there}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		for ctx.Err() == nil {
			time.Sleep(2 * time.Millisecond)
			c.mu.Lock()
			owners := w.owners()
			dangles := func(o types.UID) bool { return o != "-" && !slices.Contains(c.there, o) }
			if len(owners) > 0 && !slices.ContainsFunc(owners, func(o types.UID) bool { return !dangles(o) }) {
				w.api.delete("kube-system", leaseA)
				c.collected++
			}
			c.mu.Unlock()
		}
	}()
	return c, stop
}

func (c *collector) nodes(there ...types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.there = there
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.collected
}

// TestOwner has the member Lease of a node go with its Node, and never under a live member for more than a moment.
func TestOwner(t *testing.T) {
	story(t, "the Lease names its Node, which it doesn't block, when that is known, and no sooner for it", func(w *world) {
		for _, first := range []bool{true, false} {
			p := memberProc(w, "a")
			p.elector.Set(claims(3))
			if first {
				p.own("u1")
			}
			p.start()
			within(w.t, "taking", w.await(time.Second, "held", func() bool { return w.allHeld(claims(3)) }), 60*time.Millisecond)
			time.Sleep(5 * time.Second)
			if !first {
				if got := w.owners(); len(got) > 0 {
					w.t.Errorf("owners before the Node is known: %v", got)
				}
				writes := w.api.requested("update")
				p.own("u1")
				time.Sleep(1100 * time.Millisecond)
				if n := w.api.requested("update") - writes; n > 2 {
					w.t.Errorf("%d writes in a period", n)
				}
			}
			lease, err := w.api.get("kube-system", leaseA)
			if err != nil {
				w.fail("%v", err)
			}
			if d := cmp.Diff([]metav1.OwnerReference{nodeA("u1")}, lease.OwnerReferences); d != "" {
				w.t.Error(d)
			}
			p.shutdown()
			w.api.delete("kube-system", leaseA)
		}
	})

	story(t, "a dead member's Lease goes with its Node", func(w *world) {
		gc, stop := collect(w, "u1")
		defer stop()
		ps := started(w, claims(12), "a", "b")
		ps[0].own("u1")
		time.Sleep(10 * time.Second)
		ps[0].kill()
		gc.nodes()
		took := w.await(10*time.Second, "all with b", func() bool { return len(ps[1].held()) == 12 })
		within(w.t, "the take-over", took, 6*time.Second)
		if got := w.owners(); !slices.Equal(got, []types.UID{"-"}) || gc.count() != 1 {
			w.t.Errorf("owners: %v, collected %d times", got, gc.count())
		}
	})

	story(t, "a live member's Lease is collected once when its Node is gone, and once for each UID; nothing moves", func(w *world) {
		gc, stop := collect(w, "u1")
		defer stop()
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		ps[0].own("u1")
		time.Sleep(10 * time.Second)
		before := w.placed()
		w.forgiveGaps()
		quiet := func(owners ...types.UID) {
			w.t.Helper()
			time.Sleep(7 * time.Second)
			if n, _, _ := moved(before, w.placed()); n > 0 || w.longestOf(all) > 0 {
				w.fail("%d claims moved, nobody held for %v", n, w.longestOf(all))
			}
			if got := w.owners(); !slices.Equal(got, owners) {
				w.t.Errorf("owners: %v, want %v", got, owners)
			}
		}
		gc.nodes() // kubectl delete node, and the agent goes on
		quiet()
		gc.nodes("u2") // which it knows late
		quiet()
		ps[0].own("u1") // and is told what was, from a cache
		quiet()
		ps[0].own("u2")
		quiet("u2")
		gc.nodes("u3")
		ps[0].own("u3") // as soon as the collector knows
		time.Sleep(7 * time.Second)
		quiet("u3")
		if n := gc.count(); n > 3 {
			w.t.Errorf("collected %d times", n)
		}
		gc.nodes()
		quiet()
		ps[0].shutdown() // what it leaves behind goes, too
		time.Sleep(5 * time.Second)
		if got := w.owners(); !slices.Equal(got, []types.UID{"-"}) {
			w.t.Errorf("owners: %v", got)
		}
	})

	story(t, "a new process keeps the owner until it knows one, and corrects it then", func(w *world) {
		ps := started(w, claims(3), "a")
		ps[0].own("u1")
		time.Sleep(10 * time.Second)
		ps[0].kill()
		again := started(w, claims(3), "a")[0]
		time.Sleep(10 * time.Second)
		if got := w.owners(); !slices.Equal(got, []types.UID{"u1"}) {
			w.t.Errorf("owners: %v", got)
		}
		again.own("u2")
		time.Sleep(2 * time.Second)
		if got := w.owners(); !slices.Equal(got, []types.UID{"u2"}) {
			w.t.Errorf("owners: %v", got)
		}
	})

	story(t, "who may not change owners goes on without", func(w *world) {
		refused := 0
		w.api.setAdmit(func(old, lease *coordinationv1.Lease) error {
			if old != nil && !cmp.Equal(old.OwnerReferences, lease.OwnerReferences) {
				refused++
				return apierrors.NewForbidden(leaseResource, lease.Name, errors.New("cannot set an ownerRef on a resource you can't delete"))
			}
			return nil
		})
		all := claims(12)
		ps := started(w, all, "a", "b")
		time.Sleep(10 * time.Second)
		w.forgiveGaps()
		before := w.placed()
		ps[0].own("u1")
		time.Sleep(20 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 || w.longestOf(all) > 0 {
			w.fail("%d claims moved, nobody held for %v", n, w.longestOf(all))
		}
		if refused != 1 {
			w.t.Errorf("%d writes refused", refused)
		}
		w.api.setAdmit(func(*coordinationv1.Lease, *coordinationv1.Lease) error {
			return apierrors.NewForbidden(leaseResource, leaseA, errors.New("no rule allows it"))
		})
		time.Sleep(20 * time.Second)
		w.api.setAdmit(nil) // the rights were gone for a while, and are as they should be now
		within(w.t, "going on", w.await(5*time.Second, "all taken", func() bool { return w.allTaken(all) }), 1600*time.Millisecond)
		w.await(2*time.Second, "all passed", func() bool { return w.allHeld(all) })
		began := time.Now()
		ps[0].shutdown()
		within(w.t, "leaving", time.Since(began), 1200*time.Millisecond)
	})
}
