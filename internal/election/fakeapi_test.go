package election_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// api is as much of an API server as electors speak to: Leases with compare-and-swap on one global resourceVersion, quorum
// reads, and watches that deliver every event in its order. Its clients each have a path of their own, with a delay and
// faults. It keeps time by the clock of the test's bubble, so everything runs in testing/synctest.
type api struct {
	mu       sync.Mutex
	version  int
	objects  map[string]*coordinationv1.Lease
	history  []change
	oldest   int           // watches from before this version are answered with 410
	grown    chan struct{} // closed and replaced when history grows
	requests map[string]int
	conflict int                                          // updates that were refused as conflicts
	admit    func(old, lease *coordinationv1.Lease) error // nil admits every write; old is nil where one is created
	late     sync.WaitGroup                               // requests that arrive after they were given up
}

type change struct {
	version int
	event   watch.EventType
	lease   *coordinationv1.Lease
}

func newAPI() *api {
	return &api{version: 100, objects: map[string]*coordinationv1.Lease{}, grown: make(chan struct{}), requests: map[string]int{}}
}

var leaseResource = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

func (a *api) record(event watch.EventType, lease *coordinationv1.Lease) *coordinationv1.Lease {
	a.version++
	lease = lease.DeepCopy()
	lease.ResourceVersion = strconv.Itoa(a.version)
	for _, t := range []*metav1.MicroTime{lease.Spec.AcquireTime, lease.Spec.RenewTime} {
		if t != nil {
			t.Time = t.Truncate(time.Microsecond)
		}
	}
	key := lease.Namespace + "/" + lease.Name
	if event == watch.Deleted {
		delete(a.objects, key)
	} else {
		a.objects[key] = lease
	}
	a.history = append(a.history, change{a.version, event, lease})
	close(a.grown)
	a.grown = make(chan struct{})
	return lease.DeepCopy()
}

func (a *api) create(lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests["create"]++
	if _, ok := a.objects[lease.Namespace+"/"+lease.Name]; ok {
		return nil, apierrors.NewAlreadyExists(leaseResource, lease.Name)
	}
	if lease.ResourceVersion != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if err := a.judge(nil, lease); err != nil {
		return nil, err
	}
	return a.record(watch.Added, lease), nil
}

func (a *api) update(lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests["update"]++
	old, ok := a.objects[lease.Namespace+"/"+lease.Name]
	if !ok {
		return nil, apierrors.NewNotFound(leaseResource, lease.Name)
	}
	if lease.ResourceVersion != old.ResourceVersion {
		a.conflict++
		return nil, apierrors.NewConflict(leaseResource, lease.Name, errors.New("the object has been modified"))
	}
	if err := a.judge(old, lease); err != nil {
		return nil, err
	}
	return a.record(watch.Modified, lease), nil
}

// judge is validation and admission.
func (a *api) judge(old, lease *coordinationv1.Lease) error {
	if a.admit == nil {
		return nil
	}
	return a.admit(old, lease)
}

func (a *api) setAdmit(admit func(old, lease *coordinationv1.Lease) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.admit = admit
}

func (a *api) get(namespace, name string) (*coordinationv1.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests["get"]++
	if lease, ok := a.objects[namespace+"/"+name]; ok {
		return lease.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(leaseResource, name)
}

// delete is what kubectl does by hand.
func (a *api) delete(namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if lease, ok := a.objects[namespace+"/"+name]; ok {
		a.record(watch.Deleted, lease)
	}
}

// edit changes a lease by hand.
func (a *api) edit(namespace, name string, change func(*coordinationv1.Lease)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	lease := a.objects[namespace+"/"+name].DeepCopy()
	change(lease)
	a.record(watch.Modified, lease)
}

func (a *api) list(match func(*coordinationv1.Lease) bool) *coordinationv1.LeaseList {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests["list"]++
	out := &coordinationv1.LeaseList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(a.version)}}
	for _, key := range slices.Sorted(maps.Keys(a.objects)) {
		if lease := a.objects[key]; match(lease) {
			out.Items = append(out.Items, *lease.DeepCopy())
		}
	}
	return out
}

// since returns the changes after version, or a channel that is closed when there are any.
func (a *api) since(version int) ([]change, chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.history, version+1, func(c change, v int) int { return cmp.Compare(c.version, v) })
	return a.history[i:], a.grown
}

func (a *api) compact() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.oldest = a.version
}

func (a *api) conflicts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conflict
}

// requested returns how many requests of a kind came.
func (a *api) requested(kind string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests[kind]
}

func (a *api) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, c := range a.requests {
		n += c
	}
	return n
}

// path is one client's way to the API server.
type path struct {
	api *api

	mu        sync.Mutex
	delay     func() time.Duration // one way; nil is 1 ms
	outage    *outage              // nil while nothing is cut
	refuse    error                // every request is answered with it
	stalled   chan struct{}        // nil, or closed when what watches deliver goes on
	broken    chan struct{}        // closed and replaced to end every watch
	dead      chan struct{}        // closed and replaced when every connection there is goes silent
	lose      int                  // so many answers are lost, though the requests were done
	loseReads bool                 // also of reads
	asked     int
	newer     bool // what is written is of a later version, which reads both
	rival     bool // somebody else changes an object just before each update of it
}

// requests returns how many were made.
func (p *path) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func newPath(a *api) *path {
	return &path{api: a, broken: make(chan struct{}), dead: make(chan struct{})}
}

// outage is a time during which a path is cut.
type outage struct {
	over chan struct{} // closed when it is mended: what was sent arrives
	lost chan struct{} // closed when what was sent never arrives, though the path is mended
}

// cut makes requests and watches hang until mend.
func (p *path) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outage == nil {
		p.outage = &outage{over: make(chan struct{}), lost: make(chan struct{})}
	}
}

func (p *path) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outage != nil {
		close(p.outage.over)
		p.outage = nil
	}
}

// mendAnew mends a path for new connections only: what was sent into the old ones is lost, and nobody says that they are dead,
// as when the machine of the API server lost its power, or a firewall on the way its memory.
func (p *path) mendAnew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.dead)
	p.dead = make(chan struct{})
	close(p.outage.lost)
	p.outage = nil
}

// stall holds back what watches deliver, until unstall or until the watch is made anew.
func (p *path) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

func (p *path) unstall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

func (p *path) setDelay(d func() time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

func (p *path) setRefuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

func (p *path) setRival(rival bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rival = rival
}

func (p *path) loseAnswers(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.loseReads = n, true
}

// loseWrites has the answers to the next n writes be lost, whatever is read meanwhile.
func (p *path) loseWrites(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.loseReads = n, false
}

func (p *path) breakWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.broken)
	p.broken = make(chan struct{})
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// way takes as long as the path does, hangs while it is cut, and ends with ctx.
func (p *path) way(ctx context.Context) error {
	p.mu.Lock()
	d := time.Millisecond
	if p.delay != nil {
		d = p.delay()
	}
	p.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		p.mu.Lock()
		o := p.outage
		p.mu.Unlock()
		if o == nil {
			return nil
		}
		select {
		case <-o.over:
		case <-o.lost:
			if ctx.Done() == nil {
				return errors.New("lost")
			}
			<-ctx.Done()
			return ctx.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// request takes do to the API server and its answer back. A request that was given up on the way there arrives later all the
// same, as one does that waits in a socket's buffer.
func request[T any](ctx context.Context, p *path, writes bool, do func() (T, error)) (out T, err error) {
	p.mu.Lock()
	p.asked++
	p.mu.Unlock()
	if err := p.way(ctx); err != nil {
		p.api.late.Go(func() {
			if p.way(context.WithoutCancel(ctx)) == nil {
				_, _ = do()
			}
		})
		return out, err
	}
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse != nil {
		return out, refuse
	}
	out, err = do()
	p.mu.Lock()
	lost := p.lose > 0 && (writes || p.loseReads)
	if lost {
		p.lose--
	}
	p.mu.Unlock()
	if lost {
		<-ctx.Done()
		var none T
		return none, ctx.Err()
	}
	if err := p.way(ctx); err != nil {
		var none T
		return none, err
	}
	return out, err
}

// Leases makes a path a client.
func (p *path) Leases(namespace string) coordinationv1client.LeaseInterface {
	return leases{path: p, namespace: namespace}
}

type leases struct {
	coordinationv1client.LeaseInterface // what is not used panics
	path                                *path
	namespace                           string
}

func (l leases) Create(ctx context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	lease = l.path.seal(lease.DeepCopy())
	lease.Namespace = l.namespace
	return l.path.unseal(request(ctx, l.path, true, func() (*coordinationv1.Lease, error) { return l.path.api.create(lease) }))
}

func (l leases) Update(ctx context.Context, lease *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	lease = l.path.seal(lease.DeepCopy())
	l.path.mu.Lock()
	rival := l.path.rival
	l.path.mu.Unlock()
	return l.path.unseal(request(ctx, l.path, true, func() (*coordinationv1.Lease, error) {
		if rival {
			l.path.api.edit(l.namespace, lease.Name, func(o *coordinationv1.Lease) { o.Finalizers = nil })
		}
		return l.path.api.update(lease)
	}))
}

func (l leases) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	return l.path.unseal(request(ctx, l.path, false, func() (*coordinationv1.Lease, error) { return l.path.api.get(l.namespace, name) }))
}

func (l leases) match(o metav1.ListOptions) func(*coordinationv1.Lease) bool {
	selector, err := labels.Parse(o.LabelSelector)
	if err != nil {
		panic(err)
	}
	name, named := strings.CutPrefix(o.FieldSelector, "metadata.name=")
	return func(lease *coordinationv1.Lease) bool {
		return lease.Namespace == l.namespace && (!named || lease.Name == name) && selector.Matches(labels.Set(lease.Labels))
	}
}

func (l leases) List(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	if o.ResourceVersion != "" {
		panic("a list with a resourceVersion may be old")
	}
	list, err := request(ctx, l.path, false, func() (*coordinationv1.LeaseList, error) { return l.path.api.list(l.match(o)), nil })
	if list != nil {
		for i := range list.Items {
			_, _ = l.path.unseal(&list.Items[i], nil)
		}
	}
	return list, err
}

func (l leases) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	from, err := strconv.Atoi(o.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest("a watch without a resourceVersion")
	}
	if _, err := request(ctx, l.path, false, func() (struct{}, error) { return struct{}{}, nil }); err != nil {
		return nil, err
	}
	l.path.mu.Lock()
	broken, dead := l.path.broken, l.path.dead
	l.path.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	w := &stream{events: make(chan watch.Event), cancel: cancel}
	go w.run(ctx, l.path, from, l.match(o), broken, dead)
	return w, nil
}

type stream struct {
	events chan watch.Event
	cancel context.CancelFunc
}

func (s *stream) Stop()                          { s.cancel() }
func (s *stream) ResultChan() <-chan watch.Event { return s.events }

func (s *stream) run(ctx context.Context, p *path, from int, match func(*coordinationv1.Lease) bool, broken, dead chan struct{}) {
	defer close(s.events)
	send := func(e watch.Event) bool {
		if p.way(ctx) != nil {
			return false
		}
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			select {
			case <-stalled:
			case <-broken:
				return false
			case <-ctx.Done():
				return false
			}
		}
		select {
		case <-dead:
			select {
			case <-broken:
			case <-ctx.Done():
			}
			return false
		default:
		}
		select {
		case s.events <- e:
			return true
		case <-broken:
			return false
		case <-ctx.Done():
			return false
		}
	}
	for {
		p.api.mu.Lock()
		gone := from < p.api.oldest
		p.api.mu.Unlock()
		if gone {
			send(watch.Event{Type: watch.Error, Object: &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired}})
			return
		}
		changes, grown := p.api.since(from)
		for _, c := range changes {
			from = c.version
			if match(c.lease) && !send(watch.Event{Type: c.event, Object: p.revealed(c.lease)}) {
				return
			}
		}
		if len(changes) > 0 {
			continue
		}
		select {
		case <-grown:
		case <-broken:
			return
		case <-ctx.Done():
			return
		}
	}
}
