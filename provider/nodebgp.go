package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"daymark/annotations"
)

// NodeBGPController is the name for --controllers.
const NodeBGPController = "node-bgp-controller"

// rulesPeriod is how often the file with the rules is read again.
const rulesPeriod = 5 * time.Second

// NodeBGPOptions are the parts of [NodeBGP].
type NodeBGPOptions struct {
	// Client patches Nodes and reads the Secrets that rules name.
	Client kubernetes.Interface
	// Nodes is the informer of all Nodes; others run it.
	Nodes cache.SharedIndexInformer
	// Read returns the cloud config as it is now.
	Read   func() ([]byte, error)
	Events record.EventRecorder
	Log    *slog.Logger
}

// NodeBGP is the controller that writes the BGP configuration of rules into the annotations of Nodes, one patch a Node, when a Node joins and when the rules, a
// Secret or the Node change. It removes what it wrote and no rule says any more, and never what somebody else wrote. One goroutine decides.
type NodeBGP struct {
	NodeBGPOptions
	lister corelisters.NodeLister
	queue  workqueue.TypedRateLimitingInterface[string] // Nodes, and everything as ""

	// The fields below belong to the goroutine of Run.
	rules   NodeBGPRules
	text    []byte
	secrets map[string]*watchedSecret
	asns    *asns
	told    map[string]string // by Node
	wrong   string            // what the file's last fault was
}

// watchedSecret is the informer of one Secret.
type watchedSecret struct {
	factory  informers.SharedInformerFactory
	informer cache.SharedIndexInformer
	stop     context.CancelFunc
}

func (s *watchedSecret) end() {
	s.stop()
	s.factory.Shutdown()
}

// errNotRead is when a Secret was not read yet.
var errNotRead = errors.New("not read yet")

// NewNodeBGP returns a controller that does nothing before Run. Rules that can't be read or parsed are an error.
func NewNodeBGP(o NodeBGPOptions) (*NodeBGP, error) {
	c := &NodeBGP{
		NodeBGPOptions: o, lister: corelisters.NewNodeLister(o.Nodes.GetIndexer()), secrets: map[string]*watchedSecret{}, asns: newASNs(), told: map[string]string{},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](minBackoff, maxBackoff), workqueue.TypedRateLimitingQueueConfig[string]{Name: "node-bgp"}),
	}
	text, err := o.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the rules of BGP for Nodes: %w", err)
	}
	c.rules, err = ParseNodeBGPRules(text)
	c.text = text
	return c, err
}

// Run serves until ctx ends.
func (c *NodeBGP) Run(ctx context.Context) error {
	handler, err := c.Nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.changed,
		UpdateFunc: func(_, obj any) { c.changed(obj) },
		DeleteFunc: c.changed,
	})
	if err != nil {
		return fmt.Errorf("watching Nodes: %w", err)
	}
	defer func() { _ = c.Nodes.RemoveEventHandler(handler) }()
	if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		return nil
	}
	c.takeOver()
	stop := context.AfterFunc(ctx, c.queue.ShutDown)
	defer stop()
	c.queue.Add("")
	for c.next(ctx) {
	}
	for _, s := range c.secrets {
		s.end()
	}
	return nil
}

func (c *NodeBGP) changed(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		c.queue.Add(gone.Key)
	}
	if node, ok := obj.(*corev1.Node); ok {
		c.queue.Add(node.Name)
	}
}

// takeOver learns the numbers that Nodes have, the older Node first, so that of two with one number the newer draws anew.
func (c *NodeBGP) takeOver() {
	nodes := make([]*corev1.Node, 0, 64)
	for _, obj := range c.Nodes.GetIndexer().List() {
		nodes = append(nodes, obj.(*corev1.Node))
	}
	slices.SortFunc(nodes, func(a, b *corev1.Node) int {
		if d := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, node := range nodes {
		if rule, ok := c.rules.ruleOf(node.Labels); ok && rule.draws() {
			if asn, ok := writtenASN(c.rules.Prefix, node); ok {
				c.asns.claim(node.Name, asn)
			}
		}
	}
}

func (c *NodeBGP) next(ctx context.Context) bool {
	name, quit := c.queue.Get()
	if quit {
		return false
	}
	defer c.queue.Done(name)
	if name == "" {
		c.reload(ctx)
		c.queue.AddAfter("", rulesPeriod)
		return true
	}
	if err := c.sync(ctx, name); err != nil && ctx.Err() == nil {
		c.Log.Warn("BGP annotations not written; trying again", "node", name, "err", err)
		c.queue.AddRateLimited(name)
		return true
	}
	c.queue.Forget(name)
	return true
}

// reload reads the rules again. After a fault the last good ones stay in force.
func (c *NodeBGP) reload(ctx context.Context) {
	text, err := c.Read()
	if err == nil && !bytes.Equal(text, c.text) {
		var rules NodeBGPRules
		if rules, err = ParseNodeBGPRules(text); err == nil {
			c.rules, c.text = rules, text
			c.Log.Info("rules of BGP for Nodes changed", "rules", len(rules.Rules))
			c.all()
		}
	}
	switch {
	case err == nil:
		c.wrong = ""
	case c.wrong != err.Error():
		c.wrong = err.Error()
		c.Log.Error("rules of BGP for Nodes can't be used; the last good ones stay in force", "err", err)
	}
	c.watchSecrets(ctx)
}

func (c *NodeBGP) all() {
	for _, obj := range c.Nodes.GetIndexer().List() {
		c.queue.Add(obj.(*corev1.Node).Name)
	}
}

// sync gives one Node what its rule says.
func (c *NodeBGP) sync(ctx context.Context, name string) error {
	node, err := c.lister.Get(name)
	if apierrors.IsNotFound(err) {
		c.asns.release(name)
		delete(c.told, name)
		for waiting := range c.told {
			c.queue.Add(waiting) // for its number, perhaps
		}
		return nil
	}
	if err != nil {
		return err
	}
	want, problem := c.wanted(node)
	if errors.Is(problem, errNotRead) {
		c.queue.AddAfter(name, time.Second)
		return nil
	}
	if want == nil && problem != nil {
		c.tell(node, problem) // what it has stays
		return nil
	}
	patch, foreign := nodePatch(node, want)
	c.tell(node, errors.Join(problem, foreign))
	if patch == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err = c.Client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if err == nil {
		c.Log.Info("BGP annotations written", "node", name, "keys", len(want))
	}
	return err
}

// wanted returns the annotations that a Node shall have; nil with an error when that can't be said now, and the Node keeps what it has.
func (c *NodeBGP) wanted(node *corev1.Node) (map[string]string, error) {
	rule, ok := c.rules.ruleOf(node.Labels)
	if !ok {
		c.asns.release(node.Name)
		return map[string]string{}, nil
	}
	asn := rule.FirstASN
	if rule.draws() {
		if asn, ok = c.asns.draw(node.Name, rule.FirstASN, rule.LastASN); !ok {
			return nil, fmt.Errorf("rule %s: every AS number from %d to %d is taken", rule.Name, rule.FirstASN, rule.LastASN)
		}
	} else {
		c.asns.release(node.Name)
	}
	password, err := c.password(rule.Secret)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", rule.Name, err)
	}
	return nodeBGPOf(c.rules.Prefix, node, rule, asn, password)
}

// tell tells on the Node what is wrong, once.
func (c *NodeBGP) tell(node *corev1.Node, problem error) {
	if problem == nil {
		delete(c.told, node.Name)
		return
	}
	if c.told[node.Name] == problem.Error() {
		return
	}
	c.told[node.Name] = problem.Error()
	c.Events.Event(node, corev1.EventTypeWarning, "BGPNotConfigured", problem.Error())
	c.Log.Warn("BGP annotations", "node", node.Name, "err", problem)
}

// secretPassword is the key of the Secret.
const secretPassword = "password"

func (c *NodeBGP) password(secret string) (string, error) {
	if secret == "" {
		return "", nil
	}
	watched := c.secrets[secret]
	if watched == nil || !watched.informer.HasSynced() {
		return "", fmt.Errorf("reading Secret %s: %w", secret, errNotRead)
	}
	obj, exists, err := watched.informer.GetStore().GetByKey(secret)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading Secret %s: %w", secret, err)
	case !exists:
		return "", fmt.Errorf("there is no Secret %s", secret)
	}
	text := bytes.TrimRight(obj.(*corev1.Secret).Data[secretPassword], "\r\n")
	if len(text) == 0 || len(text) > annotations.MaxPassword {
		return "", fmt.Errorf("no password in Secret %s: want one of 1 to %d bytes under the key %s", secret, annotations.MaxPassword, secretPassword)
	}
	return string(text), nil
}

// watchSecrets watches the Secrets that the rules name, each by its name, and no others.
func (c *NodeBGP) watchSecrets(ctx context.Context) {
	names := c.rules.secrets()
	for name, s := range c.secrets {
		if !slices.Contains(names, name) {
			s.end()
			delete(c.secrets, name)
		}
	}
	for _, full := range names {
		if c.secrets[full] != nil {
			continue
		}
		namespace, name, _ := strings.Cut(full, "/")
		factory := informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithNamespace(namespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			}))
		informer := factory.Core().V1().Secrets().Informer()
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { c.all() },
			UpdateFunc: func(any, any) { c.all() },
			DeleteFunc: func(any) { c.all() },
		}); err != nil {
			c.Log.Warn("not watching a Secret", "secret", full, "err", err)
			continue
		}
		watchCtx, stop := context.WithCancel(ctx)
		c.secrets[full] = &watchedSecret{factory: factory, informer: informer, stop: stop}
		factory.StartWithContext(watchCtx)
	}
}
