package election_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/internal/election"
)

const recordKey, sealed = "kube-vip.io/member", `{"format":2,"sealed":"`

// seal makes the record of lease one of a later version, if the process on this path is of that.
func (p *path) seal(lease *coordinationv1.Lease) *coordinationv1.Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	if text, ok := lease.Annotations[recordKey]; ok && p.newer && !strings.HasPrefix(text, sealed) {
		lease.Annotations[recordKey] = sealed + base64.StdEncoding.EncodeToString([]byte(text)) + `"}`
	}
	return lease
}

// unseal is what a process of the later version reads: records of both.
func (p *path) unseal(lease *coordinationv1.Lease, err error) (*coordinationv1.Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lease == nil || !p.newer {
		return lease, err
	}
	if text, ok := strings.CutPrefix(lease.Annotations[recordKey], sealed); ok {
		if raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, `"}`)); err == nil {
			lease.Annotations[recordKey] = string(raw)
		}
	}
	return lease, err
}

func (p *path) revealed(lease *coordinationv1.Lease) *coordinationv1.Lease {
	lease, _ = p.unseal(lease.DeepCopy(), nil)
	return lease
}

// newerProc is a process of a later version, whose records this one can't read, while it reads those of this one.
func newerProc(w *world, name string, all []election.Claim) *proc {
	p := memberProc(w, name)
	p.path.newer = true
	p.elector.Set(all)
	p.start()
	return p
}

// garbage writes a Lease that a tenant made up, or renews it.
func garbage(w *world, name, holder, record string) {
	now, seconds := metav1.NowMicro(), int32(5)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "kube-system", Name: name, Labels: map[string]string{"kube-vip.io/member-of": "services"},
			Annotations: map[string]string{},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
	if record != "" {
		lease.Annotations[recordKey] = record
	}
	if _, err := w.api.create(lease); err != nil {
		w.api.edit("kube-system", name, func(o *coordinationv1.Lease) { o.Spec.RenewTime = &now })
	}
}

func TestUnreadable(t *testing.T) {
	story(t, "what a member of a later version holds nobody else takes while it lives, and everybody when it has stopped", func(w *world) {
		all := claims(12)
		newer := newerProc(w, "n", all)
		time.Sleep(10 * time.Second)
		started(w, all, "a", "b")
		time.Sleep(30 * time.Second)
		w.check()
		if !w.allWith("n", all) {
			w.fail("not all with n: %v", w.placed())
		}
		w.forgiveGaps()
		newer.shutdown()
		w.await(2*time.Second, "all held", func() bool { return w.allHeld(all) })
		if gap := w.longestOf(all); gap > time.Second {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "and when it has died, after its lease", func(w *world) {
		all := claims(12)
		newer := newerProc(w, "n", all)
		time.Sleep(10 * time.Second)
		ps := started(w, all, "a", "b")
		time.Sleep(10 * time.Second)
		newer.kill()
		took := w.await(10*time.Second, "all held by others", func() bool { return w.allWithout("n", all) })
		within(w.t, "the take-over", took, 6*time.Second)
		for _, p := range ps {
			for _, r := range p.held() {
				if !r.Failover {
					w.t.Errorf("%s would be probed for, but the dead one may have it", r.Claim)
				}
			}
		}
	})

	story(t, "what is held beside a member of a later version stays, and what is new or left over it takes", func(w *world) {
		all := claims(12)
		ps := started(w, all[:8], "a", "b")
		time.Sleep(10 * time.Second)
		before := w.placed()
		newerProc(w, "n", all)
		time.Sleep(100 * time.Millisecond) // until then it is the others who take what is new
		for _, p := range ps {
			p.elector.Set(all)
		}
		w.await(2*time.Second, "what is new with n", func() bool { return w.allWith("n", all[8:]) })
		time.Sleep(20 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 {
			w.fail("%d claims moved", n)
		}
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
		ps[0].kill()
		w.await(8*time.Second, "all held by others", func() bool { return w.allWithout("a", all) })
		ps[1].shutdown() // hands over
		w.await(3*time.Second, "all with n", func() bool { return w.allWith("n", all) })
	})

	story(t, "what belongs together changes beside a member of a later version", func(w *world) {
		one := claims(12)
		ps := started(w, one, "a", "b")
		time.Sleep(10 * time.Second)
		var its []election.Claim
		for _, c := range one {
			if w.placed()[c.Name] == "a" {
				its = append(its, c)
			}
		}
		pair := together(its[0], its[1])
		newer := newerProc(w, "n", one)
		time.Sleep(100 * time.Millisecond)
		for _, set := range [][]election.Claim{{pair}, its[:2]} {
			for _, p := range append(ps, newer) {
				p.elector.Set(set)
			}
			w.await(2*time.Second, "all held", func() bool { return w.allHeld(set) })
			time.Sleep(3 * time.Second)
			w.only(set)
			if gap := w.longestOf(its[:2]); gap > 0 || !w.allWith("a", set) {
				w.fail("nobody held for %v, now: %v", gap, w.placed())
			}
		}
	})

	story(t, "what belonged together comes apart beside one who had a part, died, and is back with a later version", func(w *world) {
		one := claims(12)
		w.sole = true
		ps := started(w, one, "a", "b")
		time.Sleep(10 * time.Second)
		var its []election.Claim
		for _, c := range one {
			if w.placed()[c.Name] == "b" {
				its = append(its, c)
			}
		}
		its = its[:2]
		pair := []election.Claim{together(its...)}
		ps[1].kill()
		ps[0].elector.Set(pair)
		w.await(10*time.Second, "both with a", func() bool { return w.allWith("a", pair) })
		b := newerProc(w, "b", pair)
		time.Sleep(3 * time.Second)
		w.forgiveGaps()
		for _, set := range [][]election.Claim{its, pair} {
			for _, p := range []*proc{ps[0], b} {
				p.elector.Set(set)
			}
			w.await(2*time.Second, "both held", func() bool { return w.allHeld(set) })
			time.Sleep(3 * time.Second)
			w.only(set)
			if gap := w.longestOf(its); gap > 0 || !w.allWith("a", set) {
				w.fail("nobody held for %v, now: %v", gap, w.placed())
			}
		}
	})

	for _, c := range []struct {
		name string
		part int // that a may not have
		end  func(a *proc, its []election.Claim)
	}{
		{"and is cut off", 0, func(a *proc, _ []election.Claim) { a.path.cut() }},
		{"which is all that is wanted then", 1, func(a *proc, its []election.Claim) { a.elector.Set(its[1:]) }},
	} {
		story(t, "who may not have a part of what comes apart, beside a member of a later version, "+c.name, func(w *world) {
			its := claims(12)[2:4]
			pair := []election.Claim{together(its...)}
			a := started(w, pair, "a")[0]
			time.Sleep(5 * time.Second)
			n := newerProc(w, "n", pair)
			time.Sleep(5 * time.Second)
			its[c.part].Nodes = []string{"n"}
			for _, p := range []*proc{a, n} {
				p.elector.Set(its)
			}
			time.Sleep(3 * time.Second)
			c.end(a, its) // it has both under the old name, and looks at the part again when that ends
			w.await(10*time.Second, "both with n", func() bool { return w.allWith("n", its) })
			a.path.mend()
			a.elector.Set(its)
			time.Sleep(5 * time.Second)
			if !w.allHeld(its) {
				w.fail("not all held: %v", w.placed())
			}
		})
	}

	story(t, "nodes change to a later version and back, one after the other", func(w *world) {
		all := claims(30)
		w.sole = true
		nodes := map[string]*proc{}
		for _, name := range []string{"a", "b", "c"} {
			nodes[name] = started(w, all, name)[0]
		}
		time.Sleep(10 * time.Second)
		w.forgiveGaps()
		for _, later := range []bool{true, false} {
			for _, name := range []string{"b", "c", "a"} {
				nodes[name].shutdown()
				if later {
					nodes[name] = newerProc(w, name, all)
				} else {
					nodes[name] = started(w, all, name)[0]
				}
				time.Sleep(12 * time.Second)
				w.check()
				if !w.allHeld(all) {
					w.fail("not all held after the change of %s: %v", name, w.placed())
				}
			}
		}
		w.t.Logf("nobody held for %v at most", w.longestOf(all))
		if gap := w.longestOf(all); gap > time.Second {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "a record that is damaged by hand is written again, and nobody else loses or takes anything", func(w *world) {
		all := claims(30)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		before := w.placed()
		for _, damage := range []func(*coordinationv1.Lease){
			func(o *coordinationv1.Lease) { delete(o.Annotations, recordKey) },
			func(o *coordinationv1.Lease) { o.Annotations[recordKey] = "{}" },
			func(o *coordinationv1.Lease) { o.Annotations[recordKey] = o.Annotations[recordKey][:40] },
		} {
			w.api.edit("kube-system", "kube-vip-member-services-a", damage)
			time.Sleep(100 * time.Millisecond)
			for c, node := range w.placed() {
				if before[c] != node {
					w.fail("%s took %s", node, c)
				}
			}
			w.await(7*time.Second, "all held", func() bool { return w.allHeld(all) })
			time.Sleep(5 * time.Second)
			w.check()
			if n, _, _ := moved(before, w.placed()); n > 0 {
				w.fail("%d claims moved", n)
			}
		}
		ps[0].kill()
		w.api.edit("kube-system", "kube-vip-member-services-a", func(o *coordinationv1.Lease) { o.Annotations[recordKey] = "x" })
		took := w.await(10*time.Second, "all held by others", func() bool { return w.allWithout("a", all) })
		within(w.t, "the take-over", took, 6*time.Second)
	})

	story(t, "what is no member's and was labelled by mistake stops nothing", func(w *world) {
		garbage(w, "node-x", "x", "")
		ps := started(w, claims(6), "a", "b")
		for range 20 {
			time.Sleep(time.Second)
			garbage(w, "node-x", "x", "")
		}
		if !w.allHeld(claims(6)) {
			w.fail("not all held: %v", w.placed())
		}
		if live := ps[0].elector.(*election.Members).Live(); len(live) != 1 {
			w.t.Errorf("live: %v", live)
		}
	})

	story(t, "a record that nobody can read is told of once, stops what would be taken while it is renewed, and no longer", func(w *world) {
		logged := &lines{}
		reg := prometheus.NewRegistry()
		var told []string
		a := memberProc(w, "a", func(c *election.MembersConfig) {
			c.Log, c.Metrics, c.Trouble = slog.New(logged), election.NewMetrics(reg), func(text string) { told = append(told, text) }
		})
		all := claims(6)
		a.elector.Set(all[:3])
		a.start()
		time.Sleep(5 * time.Second)
		for i := range 20 {
			garbage(w, "kube-vip-member-services-x", "x", "?")
			time.Sleep(time.Second)
			if i == 3 {
				a.elector.Set(all)
			}
		}
		if len(w.placed()) != 3 || w.longestOf(all[:3]) > 0 {
			w.fail("held: %v", w.placed())
		}
		if n := logged.count("member record not understood"); n != 1 {
			w.t.Errorf("logged %d times", n)
		}
		if len(told) != 1 || !strings.Contains(told[0], "kube-system/kube-vip-member-services-x") || !strings.Contains(told[0], "delete the Lease") {
			w.t.Errorf("told %q", told)
		}
		if n := gaugeOf(w.t, reg, "vip_election_unreadable_members"); n != 1 {
			w.t.Errorf("the metric says %v", n)
		}
		w.await(7*time.Second, "all held", func() bool { return w.allHeld(all) })
		if n := gaugeOf(w.t, reg, "vip_election_unreadable_members"); n != 0 {
			w.t.Errorf("the metric says %v", n)
		}
	})
}

// TestUnreadableUnderOneLease has members of a later version beside others, and all that is held under one lease.
func TestUnreadableUnderOneLease(t *testing.T) {
	all := leased(claims(6))
	later := func(w *world, name string) *proc {
		p := gatedProc(w, name)
		p.path.newer = true
		p.elector.Set(all)
		p.start()
		return p
	}

	story(t, "its holder keeps what it has; who gets it and can't read takes nothing, until the record is gone", func(w *world) {
		holder := w.leads(gatedWorld(w, all))
		n := later(w, "n")
		time.Sleep(20 * time.Second)
		if !w.allWith(holder.name, all) || w.longestOf(all) > 0 {
			w.fail("with the lease of %s: %v", holder.name, w.placed())
		}
		holder.shutdown()
		time.Sleep(20 * time.Second)
		if at := w.leaseHolder(); at == "n" || at == holder.name || len(w.placed()) > 0 {
			w.fail("with the lease of %s: %v", at, w.placed())
		}
		n.shutdown()
		w.await(time.Second, "all with the lease's holder", func() bool { return w.allWith(w.leaseHolder(), all) })
	})

	story(t, "nodes change to a later version, its holder last", func(w *world) {
		ps := gatedWorld(w, all)
		holder := w.leads(ps)
		for _, p := range ps {
			if p == holder {
				continue
			}
			p.shutdown()
			later(w, p.name)
			time.Sleep(12 * time.Second)
		}
		if !w.allWith(holder.name, all) || w.longestOf(all) > 0 {
			w.fail("with the lease of %s: %v", holder.name, w.placed())
		}
		holder.shutdown()
		w.await(3*time.Second, "all with another", func() bool { return w.leaseHolder() != holder.name && w.allWith(w.leaseHolder(), all) })
		later(w, holder.name)
		time.Sleep(12 * time.Second)
		if gap := w.longestOf(all); gap > 2*time.Second {
			w.fail("nobody held for %v", gap)
		} else {
			w.t.Logf("nobody held for %v", gap)
		}
	})
}

// lines counts what is logged.
type lines struct {
	mu   sync.Mutex
	seen []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, r.Message)
	return nil
}

func (l *lines) count(prefix string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.seen {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

// gaugeOf returns the value of the only series of a gauge.
func gaugeOf(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name && len(f.GetMetric()) == 1 {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Errorf("no metric %s", name)
	return -1
}
