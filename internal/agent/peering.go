package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"daymark/annotations"
	"daymark/internal/bgp"
)

const (
	// configureAgain is when what couldn't be read or applied is tried again, should no event come before.
	configureAgain = 15 * time.Second
	// writing is how long after a file changed it is read: who writes it may not be done.
	writing = 100 * time.Millisecond
)

// Peer is what [Peering] configures: a BGP speaker.
type Peer interface {
	// Configure makes c what the speaker goes by; nil ends every session. After an error the earlier configuration is in force.
	Configure(ctx context.Context, c *bgp.Config) error
}

// PeeringConfig is what [Peering] works with.
type PeeringConfig struct {
	// Prefix is that of the Node's annotations that carry the configuration; empty means that Base has it all.
	Prefix string
	// Base is the configuration of the settings. With a Prefix, AS, source and peers come from the annotations; a peer that is in both takes
	// port, next hops and BFD from here, and one that is here alone is added.
	Base bgp.Config
	// Lookup says, in place of annotations, what they would; it is asked until it succeeds, and not again. Nil means that there is nobody to ask.
	// Not together with a Prefix.
	Lookup func(ctx context.Context) (annotations.NodeBGP, error)
	// NodeName is the name of this Node, Namespace that of Secrets which are named without one.
	NodeName, Namespace string
	// Client reads the Node and Secrets. Nil is allowed without Prefix and Secrets.
	Client  kubernetes.Interface
	Speaker Peer
	// Events tells on the Node what is wrong; may be nil.
	Events record.EventRecorder
	Logger *slog.Logger
}

// Peering keeps a BGP speaker configured: from the settings, from the Node's annotations as they change, and with passwords from files and Secrets.
type Peering struct {
	cfg  PeeringConfig
	node chan *corev1.Node        // the newest one; nil for deleted
	met  chan annotations.NodeBGP // what Lookup said
	wake chan struct{}            // a password may have changed

	mu      sync.Mutex // guards waiting
	waiting string

	// The fields below belong to the goroutine in Run.
	tasks   *errgroup.Group
	set     annotations.NodeBGP // the last good one
	active  bool                // something is configured, or is to be
	applied *bgp.Config
	known   map[string]bgp.Secret // passwords read before, by where they are
	told    map[string]string     // the problem that the last Event of a reason told of
	files   *files
	secrets map[string]*secretWatch // by namespace/name
}

// NewPeering returns a Peering that does nothing before Run.
func NewPeering(cfg PeeringConfig) *Peering {
	p := &Peering{
		cfg: cfg, node: make(chan *corev1.Node, 1), met: make(chan annotations.NodeBGP, 1), wake: make(chan struct{}, 1),
		active: cfg.Prefix == "" && cfg.Lookup == nil,
		known:  map[string]bgp.Secret{}, told: map[string]string{}, secrets: map[string]*secretWatch{},
	}
	if cfg.Prefix != "" {
		p.waiting = "waiting for BGP annotations"
	}
	if cfg.Lookup != nil {
		p.waiting = "waiting for BGP peers"
	}
	return p
}

// Waiting returns why the speaker has no configuration yet, or none any more; "" when it has one.
func (p *Peering) Waiting() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting
}

// Run follows until ctx ends; the speaker keeps its configuration then.
func (p *Peering) Run(ctx context.Context) error {
	tasks, ctx := errgroup.WithContext(ctx)
	p.tasks = tasks
	if p.cfg.Prefix != "" {
		tasks.Go(func() error { return p.watch(ctx) })
	}
	if p.cfg.Lookup != nil {
		tasks.Go(func() error { p.lookUp(ctx); return nil })
	}
	tasks.Go(func() error { return p.loop(ctx) })
	return tasks.Wait()
}

func (p *Peering) loop(ctx context.Context) error {
	files, err := openFiles()
	if err != nil {
		return err
	}
	defer files.close()
	p.files = files
	again := time.NewTimer(0)
	defer again.Stop()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: p.cfg.NodeName}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-p.wake:
		case <-files.changed():
			again.Reset(writing)
			continue
		case <-files.missed():
			again.Reset(writing)
			continue
		case newer := <-p.node:
			if newer == nil {
				newer = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: p.cfg.NodeName}}
			}
			node = newer
			p.read(node)
		case set := <-p.met:
			p.set, p.active = set, true
			p.wait("")
		}
		if p.apply(ctx, node) {
			again.Stop()
		} else {
			again.Reset(configureAgain)
		}
	}
}

// read takes in the Node's annotations. A malformed value leaves the last good set in force, a missing key ends what it is missing for.
func (p *Peering) read(node *corev1.Node) {
	set, err := annotations.ParseNodeBGP(p.cfg.Prefix, node.Annotations)
	invalid, incomplete := "", ""
	switch {
	case err == nil:
		p.set, p.active = set, true
		p.wait("")
	case errors.Is(err, annotations.ErrIncomplete) && (!p.active || len(set.Peers) == 0):
		if p.active {
			p.cfg.Logger.Warn("BGP annotations removed", "node", node.Name)
		}
		p.set, p.active = annotations.NodeBGP{}, false
		p.wait("waiting for BGP annotations: " + strings.TrimPrefix(err.Error(), annotations.ErrIncomplete.Error()+": "))
	case errors.Is(err, annotations.ErrIncomplete):
		p.set, incomplete = set, err.Error()
	default:
		invalid = err.Error() + "; the last good configuration stays in force"
	}
	p.tell(node, "BGPAnnotationsIncomplete", incomplete)
	p.tell(node, "BGPAnnotationsInvalid", invalid)
}

func (p *Peering) wait(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = why
}

// tell tells of a problem, once; "" means that there is none.
func (p *Peering) tell(node *corev1.Node, reason, text string) {
	if p.told[reason] == text {
		return
	}
	p.told[reason] = text
	if text == "" {
		return
	}
	p.cfg.Logger.Warn("BGP configuration", "node", node.Name, "err", text)
	if p.cfg.Events != nil {
		p.cfg.Events.Event(node, corev1.EventTypeWarning, reason, text)
	}
}

// apply configures the speaker if there is anything new, and reports whether nothing is left to be tried again.
func (p *Peering) apply(ctx context.Context, node *corev1.Node) bool {
	if !p.active {
		p.watchSecrets(ctx, nil)
		p.files.watch(nil)
		return p.applied == nil || p.configure(ctx, node, nil)
	}
	c := p.config()
	peers, err := p.passwords(ctx, c.Peers)
	if ctx.Err() != nil {
		return true
	}
	missing := ""
	if err != nil {
		missing = err.Error()
	}
	p.tell(node, "BGPPasswordMissing", missing)
	c.Peers = peers
	if p.applied != nil && reflect.DeepEqual(*p.applied, c) {
		return err == nil
	}
	return p.configure(ctx, node, &c) && err == nil
}

func (p *Peering) configure(ctx context.Context, node *corev1.Node, c *bgp.Config) bool {
	err := p.cfg.Speaker.Configure(ctx, c)
	if ctx.Err() != nil {
		return true
	}
	refused := ""
	if err != nil {
		refused = err.Error()
	}
	p.tell(node, "BGPConfigurationRefused", refused)
	if err != nil {
		return false
	}
	p.applied = c
	if c != nil {
		p.cfg.Logger.Info("BGP configured", "asn", c.ASN, "peers", len(c.Peers))
	}
	return true
}

// config is what the settings and the annotations say together.
func (p *Peering) config() bgp.Config {
	c := p.cfg.Base
	c.Peers = slices.Clone(c.Peers)
	if p.cfg.Prefix == "" && p.cfg.Lookup == nil {
		return c
	}
	base := c.Peers
	c.Peers = nil
	c.ASN = p.set.Peers[0].LocalASN
	for _, n := range p.set.Peers {
		if !c.RouterID.IsValid() && c.RouterLink == "" && n.Source.Is4() {
			c.RouterID = n.Source
		}
		peer := bgp.Peer{Addr: n.Peer}
		if i := slices.IndexFunc(base, func(b bgp.Peer) bool { return b.Name() == peer.Name() }); i >= 0 {
			peer = base[i]
			base = slices.Delete(base, i, i+1)
		}
		peer.ASN, peer.LocalASN, peer.Source = n.PeerASN, n.LocalASN, netip.Addr{}
		if n.Source.Is4() == n.Peer.Is4() {
			peer.Source = n.Source
		}
		if n.Password != "" {
			peer.Password, peer.PasswordFile, peer.PasswordSecret = bgp.Secret(n.Password), "", ""
		}
		if n.Multihop && peer.MultihopTTL == 0 {
			peer.MultihopTTL = bgp.DefaultMultihopTTL
		}
		c.Peers = append(c.Peers, peer)
	}
	c.Peers = append(c.Peers, base...)
	return c
}
