package equinix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"daymark/annotations"
)

const (
	// DefaultBGPPeriod is how often the neighbour data of each device is read again.
	DefaultBGPPeriod = 5 * time.Minute
	// bgpRetry is when what could not be read is tried again.
	bgpRetry = 30 * time.Second
	// bgpReaders is how many devices are asked about at a time.
	bgpReaders = 4
)

// errNoPeers is when the API tells a device of no peer, as for a moment after its session was created.
var errNoPeers = errors.New("the API names no IPv4 BGP peers of the device yet")

// BGPOptions are the parts of [BGP].
type BGPOptions struct {
	API     API
	Devices *Devices
	// ASN and Password are for a project that has no BGP yet; one that has keeps what it has, and its devices say what that is.
	ASN      uint32
	Password string
	// Nodes selects those that get BGP.
	Nodes labels.Selector
	Keys  Keys
	// Period is how often each device's data is read again; 0 means DefaultBGPPeriod.
	Period time.Duration
	Log    *slog.Logger
}

// BGP says which BGP annotations Nodes shall have, from what the API tells their devices of their peers; it is a provider.NodeBGPSource. It switches BGP on for the
// project and for each device where it is off, and never off: a session that nobody uses does no harm. One call a period for each selected Node,
// two more when its device has no session yet. After a failure the last answers stay in force.
type BGP struct {
	BGPOptions
	ask chan struct{} // there is something in unread

	mu     sync.Mutex // guards what follows
	known  map[string]answer
	unread map[string]bool // Nodes to be read before the period is over
}

// answer is what a Node shall have, as far as it is known.
type answer struct {
	node   *corev1.Node
	device string            // its UUID, as far as known
	want   map[string]string // nil if it was never read
	err    error
}

// about reports whether the answer is about the Node as it is by now; that it got the providerID of the device that was found by its name is no news.
func (a answer) about(node *corev1.Node) bool {
	if a.node.UID != node.UID {
		return false
	}
	id, err := DeviceID(node.Spec.ProviderID)
	return a.node.Spec.ProviderID == node.Spec.ProviderID || err == nil && id == a.device
}

// NewBGP returns a source that does nothing before Run.
func NewBGP(o BGPOptions) *BGP {
	o.Period = cmp.Or(o.Period, DefaultBGPPeriod)
	return &BGP{BGPOptions: o, ask: make(chan struct{}, 1), known: map[string]answer{}, unread: map[string]bool{}}
}

// Replay implements provider.NodeBGPSource; there is nothing to take over.
func (b *BGP) Replay([]*corev1.Node) {}

// Owns implements provider.NodeBGPSource: the keys are the vendor's controller's alone, so what an older one left is replaced.
func (b *BGP) Owns(key string) bool {
	return b.Keys.bgp().Has(key) || key != "" && key == b.Keys.NetworkIPv4Private
}

// Gone implements provider.NodeBGPSource.
func (b *BGP) Gone(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, node)
	delete(b.unread, node)
}

// Wanted implements provider.NodeBGPSource. A Node that isn't selected gets none; one that is not known yet is read at once.
func (b *BGP) Wanted(node *corev1.Node) (map[string]string, error) {
	if !b.Nodes.Matches(labels.Set(node.Labels)) {
		b.Gone(node.Name)
		return map[string]string{}, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.known[node.Name]
	if ok && a.about(node) {
		return a.want, a.err
	}
	if !ok || a.node.UID != node.UID {
		a = answer{}
	}
	// What is known of a Node whose ID changes stays until it is read again.
	b.known[node.Name] = answer{node: node, want: a.want}
	b.unread[node.Name] = true
	select {
	case b.ask <- struct{}{}:
	default: // asked already
	}
	return a.want, nil
}

// Run implements provider.NodeBGPSource.
func (b *BGP) Run(ctx context.Context, wake func(nodes ...string)) error {
	period := time.NewTicker(b.Period)
	defer period.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	enabled := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-period.C:
			b.markAll()
		case <-b.ask:
		case <-retry.C:
		}
		if !enabled {
			err := b.API.EnableBGP(ctx, b.ASN, b.Password)
			if enabled = err == nil; !enabled && ctx.Err() == nil {
				b.Log.Error("BGP not enabled for the project; trying again", "err", err)
				b.failUnread(err, wake)
			}
		}
		if enabled {
			b.readAll(ctx, wake)
		}
		if b.anyUnread() {
			retry.Reset(bgpRetry)
		}
	}
}

func (b *BGP) markAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.known {
		b.unread[name] = true
	}
}

func (b *BGP) anyUnread() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.unread) > 0
}

func (b *BGP) toRead() []*corev1.Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*corev1.Node
	for name := range b.unread {
		out = append(out, b.known[name].node)
	}
	slices.SortFunc(out, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// readAll reads what is unread. When the API is away or refuses the token, the first failure speaks for all.
func (b *BGP) readAll(ctx context.Context, wake func(nodes ...string)) {
	readers, round := errgroup.WithContext(ctx)
	readers.SetLimit(bgpReaders)
	for _, node := range b.toRead() {
		readers.Go(func() error {
			if round.Err() != nil {
				return nil
			}
			device, want, err := b.read(round, node)
			if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthorized) {
				return err
			}
			if round.Err() == nil && b.store(node, device, want, err) {
				wake(node.Name)
			}
			return nil
		})
	}
	if err := readers.Wait(); err != nil && ctx.Err() == nil {
		b.Log.Warn("BGP neighbours not read; what Nodes have stays", "err", err)
		b.failUnread(err, wake)
	}
}

// failUnread tells the Nodes that never had an answer why.
func (b *BGP) failUnread(err error, wake func(nodes ...string)) {
	b.mu.Lock()
	var told []string
	for name := range b.unread {
		if a := b.known[name]; a.want == nil {
			a.err = err
			b.known[name] = a
			told = append(told, name)
		}
	}
	b.mu.Unlock()
	if len(told) > 0 {
		slices.Sort(told)
		wake(told...)
	}
}

// store keeps the answer and reports whether it is another than before. After an error the Node is read again soon, and what it has stays.
func (b *BGP) store(node *corev1.Node, device string, want map[string]string, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, ok := b.known[node.Name]
	now := answer{node: node, device: device, want: want, err: err}
	if !ok || !now.about(before.node) {
		return false // gone, or another by now
	}
	if b.unread[node.Name] = want == nil; want != nil {
		delete(b.unread, node.Name)
	} else {
		now.node, now.want = before.node, before.want
	}
	b.known[node.Name] = now
	return !maps.Equal(before.want, now.want) || before.want == nil || fmt.Sprint(before.err) != fmt.Sprint(now.err)
}

// read asks the API for the peers of the Node's device, and switches BGP on where there are none.
func (b *BGP) read(ctx context.Context, node *corev1.Node) (id string, want map[string]string, err error) {
	device, err := b.Devices.Of(ctx, node)
	if err != nil {
		return "", nil, err
	}
	neighbours, err := b.API.Neighbours(ctx, device.ID)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrRefused) || err == nil && !hasPeers(neighbours) {
		if err = b.enable(ctx, device.ID); err == nil {
			neighbours, err = b.API.Neighbours(ctx, device.ID)
		}
	}
	if err != nil {
		return device.ID, nil, err
	}
	if !hasPeers(neighbours) {
		return device.ID, nil, fmt.Errorf("device %s: %w", device.ID, errNoPeers)
	}
	want, err = annotate(device, neighbours, b.Keys)
	return device.ID, want, err
}

func (b *BGP) enable(ctx context.Context, device string) error {
	err := b.API.CreateSession(ctx, device, IPv4)
	if !errors.Is(err, ErrRefused) {
		return err
	}
	if err := b.API.EnableBGP(ctx, b.ASN, b.Password); err != nil { // somebody switched it off for the project
		return err
	}
	return b.API.CreateSession(ctx, device, IPv4)
}

func hasPeers(all []Neighbour) bool {
	return slices.ContainsFunc(all, func(n Neighbour) bool { return n.Family == IPv4 && len(n.Peers) > 0 })
}

// annotate returns a Node's annotations: the IPv4 peers in the API's order, and the private network. It is pure. The error, beside what is good, names what
// the API said and no annotation can.
func annotate(device Device, neighbours []Neighbour, keys Keys) (map[string]string, error) {
	var set annotations.NodeBGP
	var errs []error
	for _, n := range neighbours {
		if n.Family != IPv4 {
			continue
		}
		for _, peer := range n.Peers {
			p := annotations.NodePeer{
				LocalASN: n.LocalASN, Source: n.LocalAddr, PeerASN: n.PeerASN, Peer: peer, Password: annotations.Password(n.Password), Multihop: n.Multihop,
			}
			if err := p.Check(); err != nil {
				errs = append(errs, fmt.Errorf("BGP peer %s of device %s: %w", peer, device.ID, err))
				continue
			}
			set.Peers = append(set.Peers, p)
		}
	}
	out, err := set.FormatKeys(keys.bgp())
	errs = append(errs, err)
	if out == nil {
		return nil, errors.Join(errs...)
	}
	for _, a := range device.Addresses {
		if a.Managed && !a.Public && a.Addr.Is4() && a.Parent.IsValid() && keys.NetworkIPv4Private != "" {
			out[keys.NetworkIPv4Private] = a.Parent.Masked().String()
			break
		}
	}
	return out, errors.Join(errs...)
}

// NoBGP wants no BGP annotation on any Node, so that those that were written are removed; it is a provider.NodeBGPSource and makes no call.
type NoBGP struct{}

// Replay implements provider.NodeBGPSource.
func (NoBGP) Replay([]*corev1.Node) {}

// Run implements provider.NodeBGPSource.
func (NoBGP) Run(ctx context.Context, _ func(nodes ...string)) error {
	<-ctx.Done()
	return nil
}

// Wanted implements provider.NodeBGPSource.
func (NoBGP) Wanted(*corev1.Node) (map[string]string, error) { return map[string]string{}, nil }

// Gone implements provider.NodeBGPSource.
func (NoBGP) Gone(string) {}

// Owns implements provider.NodeBGPSource.
func (NoBGP) Owns(string) bool { return false }
