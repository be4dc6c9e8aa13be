package provider

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"daymark/annotations"
)

const (
	// rulesPeriod is how often the file with the rules is read again.
	rulesPeriod = 5 * time.Second
	// askAgain is how long an answer that isn't there yet is waited for.
	askAgain = time.Second
)

// NodeBGPRuleSource is the [NodeBGPSource] of rules in the cloud config, which it reads again every 5 s, and of the Secrets that they name, which it watches. After
// a fault in the file the last good rules stay in force.
type NodeBGPRuleSource struct {
	client kubernetes.Interface
	read   func() ([]byte, error)
	log    *slog.Logger

	mu      sync.Mutex // guards what follows
	rules   NodeBGPRules
	text    []byte
	secrets map[string]*watchedSecret
	asns    *asns
	wrong   string // what the file's last fault was
}

var _ NodeBGPSource = (*NodeBGPRuleSource)(nil)

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

// NewNodeBGPRuleSource returns a source; read returns the cloud config as it is now, client reads the Secrets. Rules that can't be read or parsed are an error.
func NewNodeBGPRuleSource(client kubernetes.Interface, read func() ([]byte, error), log *slog.Logger) (*NodeBGPRuleSource, error) {
	text, err := read()
	if err != nil {
		return nil, fmt.Errorf("reading the rules of BGP for Nodes: %w", err)
	}
	rules, err := ParseNodeBGPRules(text)
	if err != nil {
		return nil, err
	}
	return &NodeBGPRuleSource{
		client: client, read: read, log: log, rules: rules, text: text, secrets: map[string]*watchedSecret{}, asns: newASNs(),
	}, nil
}

// Replay is as in [NodeBGPSource]: it learns the numbers that Nodes have, so that of two with one number the newer draws anew.
func (s *NodeBGPRuleSource) Replay(nodes []*corev1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, node := range nodes {
		if rule, ok := s.rules.ruleOf(node.Labels); ok && rule.draws() {
			if asn, ok := writtenASN(s.rules.Prefix, node); ok {
				s.asns.claim(node.Name, asn)
			}
		}
	}
}

// Run is as in [NodeBGPSource].
func (s *NodeBGPRuleSource) Run(ctx context.Context, wake func(nodes ...string)) error {
	again := time.NewTicker(rulesPeriod)
	defer again.Stop()
	defer s.endSecrets()
	for {
		if s.reload() {
			wake()
		}
		s.watchSecrets(ctx, wake)
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

// reload reads the rules again and reports whether they changed.
func (s *NodeBGPRuleSource) reload() (changed bool) {
	text, err := s.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && !bytes.Equal(text, s.text) {
		var rules NodeBGPRules
		if rules, err = ParseNodeBGPRules(text); err == nil {
			s.rules, s.text, changed = rules, text, true
			s.log.Info("rules of BGP for Nodes changed", "rules", len(rules.Rules))
		}
	}
	switch {
	case err == nil:
		s.wrong = ""
	case s.wrong != err.Error():
		s.wrong = err.Error()
		s.log.Error("rules of BGP for Nodes can't be used; the last good ones stay in force", "err", err)
	}
	return changed
}

// Wanted is as in [NodeBGPSource].
func (s *NodeBGPRuleSource) Wanted(node *corev1.Node) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rule, ok := s.rules.ruleOf(node.Labels)
	if !ok {
		s.asns.release(node.Name)
		return map[string]string{}, nil
	}
	asn := rule.FirstASN
	if rule.draws() {
		if asn, ok = s.asns.draw(node.Name, rule.FirstASN, rule.LastASN); !ok {
			return nil, fmt.Errorf("rule %s: every AS number from %d to %d is taken", rule.Name, rule.FirstASN, rule.LastASN)
		}
	} else {
		s.asns.release(node.Name)
	}
	password, err := s.passwordLocked(rule.Secret)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", rule.Name, err)
	}
	return nodeBGPOf(s.rules.Prefix, node, rule, asn, password)
}

// Gone is as in [NodeBGPSource].
func (s *NodeBGPRuleSource) Gone(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asns.release(node)
}

// Owns is as in [NodeBGPSource]: whoever runs the network may write the same keys.
func (s *NodeBGPRuleSource) Owns(string) bool { return false }

// secretPassword is the key of the Secret.
const secretPassword = "password"

func (s *NodeBGPRuleSource) passwordLocked(secret string) (string, error) {
	if secret == "" {
		return "", nil
	}
	watched := s.secrets[secret]
	if watched == nil || !watched.informer.HasSynced() {
		return "", fmt.Errorf("reading Secret %s: %w", secret, ErrNotYet)
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
func (s *NodeBGPRuleSource) watchSecrets(ctx context.Context, wake func(nodes ...string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.rules.secrets()
	for name, watched := range s.secrets {
		if !slices.Contains(names, name) {
			watched.end()
			delete(s.secrets, name)
		}
	}
	for _, full := range names {
		if s.secrets[full] != nil {
			continue
		}
		namespace, name, _ := strings.Cut(full, "/")
		factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithNamespace(namespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			}))
		informer := factory.Core().V1().Secrets().Informer()
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { wake() },
			UpdateFunc: func(any, any) { wake() },
			DeleteFunc: func(any) { wake() },
		}); err != nil {
			s.log.Warn("not watching a Secret", "secret", full, "err", err)
			continue
		}
		watchCtx, stop := context.WithCancel(ctx)
		s.secrets[full] = &watchedSecret{factory: factory, informer: informer, stop: stop}
		factory.StartWithContext(watchCtx)
	}
}

func (s *NodeBGPRuleSource) endSecrets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, watched := range s.secrets {
		watched.end()
	}
}
