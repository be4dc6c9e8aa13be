package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrNotReplayed is returned by everything that gives addresses until [Allocator.Replay] has run.
var ErrNotReplayed = errors.New("addresses in use are not yet known")

// Reason is the rule that refused an address; a small fixed set, fit for a metric's label.
type Reason string

// The reasons of refusals.
const (
	Exhausted   Reason = "exhausted"    // every address of the pools is in use
	NoPool      Reason = "no-pool"      // the namespace has no pool, and there is no global one
	WrongFamily Reason = "wrong-family" // the Service's families leave the address out, or its pools have none of that family
	NotInPool   Reason = "not-in-pool"  // the requested address is in no pool that the namespace may use
	Excluded    Reason = "excluded"     // By names what the address belongs to
	Taken       Reason = "taken"        // By names the Service that has it
	OverQuota   Reason = "quota"        // the namespace holds as many addresses as it may
	Unavailable Reason = "unavailable"  // where addresses come from sells none now; Detail says why, and what helps
)

// Reasons returns every [Reason], sorted.
func Reasons() []Reason {
	return []Reason{Excluded, Exhausted, NoPool, NotInPool, OverQuota, Taken, Unavailable, WrongFamily}
}

// Refusal is why an address was not given.
type Refusal struct {
	Reason Reason
	// Addr is the requested address; invalid when the Service asked for any.
	Addr netip.Addr
	// Family is the family that was asked for; 0 when either would have done.
	Family Family
	// Pools are the pools that the namespace may use.
	Pools []string
	// By is who has the address ("shop/web"), or what it belongs to ("node worker-1").
	By string
	// Detail adds figures, such as "256 of 256 used".
	Detail string
}

// Error returns a sentence for a human's Event.
func (r Refusal) Error() string {
	pools := "pool " + strings.Join(r.Pools, ", ")
	var text string
	switch r.Reason {
	case Exhausted:
		text = fmt.Sprintf("no free %s address in %s", r.Family, pools)
		if r.Family == 0 {
			text = "no free address in " + pools
		}
	case NoPool:
		text = "no pool for the namespace"
	case WrongFamily:
		text = fmt.Sprintf("no %s address in %s", r.Family, pools)
		if r.Addr.IsValid() {
			text = fmt.Sprintf("%s: the Service does not take %s", r.Addr, r.Family)
		}
	case NotInPool:
		text = fmt.Sprintf("%s is not in %s", r.Addr, pools)
		if len(r.Pools) == 0 {
			text = fmt.Sprintf("%s is in no pool of the namespace", r.Addr)
		}
	case Excluded:
		text = fmt.Sprintf("%s is excluded: %s", r.Addr, r.By)
	case Taken:
		text = fmt.Sprintf("%s is taken by %s", r.Addr, r.By)
	case OverQuota:
		text = "the namespace's quota is used up"
	case Unavailable:
		return r.Detail
	}
	if r.Detail != "" {
		text += " (" + r.Detail + ")"
	}
	return text
}

// Refusals is every reason at once; errors.As finds it in what [Allocator.Ensure] returns.
type Refusals []Refusal

// Error joins the sentences by "; ".
func (r Refusals) Error() string {
	texts := make([]string, len(r))
	for i, one := range r {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "; ")
}
