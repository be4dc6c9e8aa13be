package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"daymark/annotations"
)

// reportsAtOnce bounds the requests in flight that tell the API server what is held.
const reportsAtOnce = 8

// vacant is how long a Service may name a node that does not hold it, before nobody else took it and it names none.
const vacant = 10 * time.Second

// patience is how long a Service may be held by nobody without a word, since its endpoints come a little later than itself.
const patience = 2 * time.Second

// ReporterConfig is what a [Reporter] works with.
type ReporterConfig struct {
	Node   string
	Client kubernetes.Interface
	// Events takes what Services' owners are told.
	Events record.EventRecorder
	// Single means that one node at a time holds a Service, so that it can be named in an annotation.
	Single bool
	// LeaveStatus means that status.loadBalancer is not written (disable_service_updates).
	LeaveStatus bool
	Metrics     *Metrics // may be nil
	Logger      *slog.Logger
}

// Reporter writes status, annotation and Events of Services, aside, so that a slow API server delays nothing that is held.
// Put and Forget return at once and may be called concurrently.
type Reporter struct {
	cfg   ReporterConfig
	queue workqueue.TypedRateLimitingInterface[Name]

	mu      sync.Mutex
	reports map[Name]Report
	written map[Name][]corev1.LoadBalancerIngress // by this run of the agent
	told    map[Name][2]Event                     // Event and Also of its report
	stale   map[Name]time.Time                    // since when the Service names a node that does not hold it
	update  bool                                  // the role allows no patch: kube-vip's allows update alone
}

// NewReporter returns a reporter that writes nothing before Run.
func NewReporter(cfg ReporterConfig) *Reporter {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[Name](50*time.Millisecond, 30*time.Second)
	return &Reporter{
		cfg: cfg, queue: workqueue.NewTypedRateLimitingQueue(limiter),
		reports: make(map[Name]Report), written: make(map[Name][]corev1.LoadBalancerIngress), told: make(map[Name][2]Event),
		stale: make(map[Name]time.Time),
	}
}

// Put replaces the report of a Service.
func (r *Reporter) Put(name Name, report Report) {
	r.mu.Lock()
	_, wrote := r.written[name]
	silent := report.Event == (Event{}) && report.Also == (Event{})
	idle := !report.Holds && silent && !(report.Cleared && wrote) && report.Stale == ""
	_, known := r.stale[name]
	if report.Stale == "" {
		delete(r.stale, name)
	} else if !known {
		r.stale[name] = time.Now()
		r.queue.AddAfter(name, vacant)
	}
	if idle {
		delete(r.reports, name)
	} else {
		r.reports[name] = report
	}
	r.mu.Unlock()
	switch {
	case idle:
	case report.Holds || report.Cleared || report.Event.Type == corev1.EventTypeWarning:
		r.queue.Add(name)
	case silent: // in its time
	default:
		r.queue.AddAfter(name, patience)
	}
}

// Forget drops everything about a Service that is gone.
func (r *Reporter) Forget(name Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.reports, name)
	delete(r.written, name)
	delete(r.told, name)
	delete(r.stale, name)
}

// Run writes until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range reportsAtOnce {
		wg.Go(func() {
			for r.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	r.queue.ShutDown()
	wg.Wait()
	return nil
}

func (r *Reporter) next(ctx context.Context) bool {
	name, stop := r.queue.Get()
	if stop {
		return false
	}
	defer r.queue.Done(name)
	err := r.write(ctx, name)
	if apierrors.IsConflict(err) && ctx.Err() == nil {
		r.queue.AddRateLimited(name) // the newer object brings a newer report
		return true
	}
	if err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("reporting failed", "service", name, "err", err)
		r.queue.AddRateLimited(name)
		return true
	}
	r.queue.Forget(name)
	return true
}

// write makes the newest report about name true.
func (r *Reporter) write(ctx context.Context, name Name) error {
	r.mu.Lock()
	report, ok := r.reports[name]
	wrote := r.written[name]
	since, stale := r.stale[name]
	r.mu.Unlock()
	if !ok {
		return nil
	}
	if left := time.Until(since.Add(vacant)); stale && left > 0 {
		report.Stale = ""
		r.queue.AddAfter(name, left)
	}
	change := r.change(report, wrote)
	r.tell(name, report, change.empty())
	if change.empty() {
		r.note(name, report)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := r.send(ctx, name, change)
	r.cfg.Metrics.reported(err)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		r.note(name, report)
	}
	return err
}

// tell sends the Events that differ from those before, but not that what was held before a restart is held still.
func (r *Reporter) tell(name Name, report Report, known bool) {
	r.mu.Lock()
	told := r.told[name]
	r.mu.Unlock()
	svc, before := report.Service, told
	for i, e := range [...]Event{report.Event, report.Also} {
		if e == (Event{}) || e == told[i] {
			continue
		}
		if !(known && e.Reason == "Held" && vipHost(svc) == r.cfg.Node) {
			ref := &corev1.ObjectReference{
				APIVersion: "v1", Kind: "Service", Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID, ResourceVersion: svc.ResourceVersion,
			}
			r.cfg.Events.Event(ref, e.Type, e.Reason, e.Text)
		}
		told[i] = e
	}
	if told == before {
		return
	}
	r.mu.Lock()
	r.told[name] = told
	r.mu.Unlock()
}

func (r *Reporter) note(name Name, report Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if report.Holds {
		r.written[name] = report.Ingress
	} else if report.Cleared {
		delete(r.written, name)
	}
}

// change is what is to be written to a Service: nil leaves a field as it is.
type change struct {
	host    *string // "" removes the annotation
	ingress *[]corev1.LoadBalancerIngress
	// version is the resourceVersion that the Service must have still, where something is taken back that another node may have
	// written meanwhile; "" for any.
	version string
}

func (c change) empty() bool { return c.host == nil && c.ingress == nil }

// change returns what differs between the report and its Service.
func (r *Reporter) change(report Report, wrote []corev1.LoadBalancerIngress) change {
	svc := report.Service
	now := svc.Status.LoadBalancer.Ingress
	var c change
	switch {
	case report.Holds:
		if !r.cfg.LeaveStatus && !sameIngress(now, report.Ingress) {
			c.ingress = &report.Ingress
		}
		if r.cfg.Single && vipHost(svc) != r.cfg.Node {
			c.host = &r.cfg.Node
		}
	case report.Cleared || report.Stale != "":
		none := ""
		c.version = svc.ResourceVersion
		if host := vipHost(svc); host != "" && (host == report.Stale || report.Cleared && host == r.cfg.Node) {
			c.host = &none
		}
		if report.Cleared && !r.cfg.LeaveStatus && len(now) > 0 && sameIngress(now, wrote) {
			c.ingress = &[]corev1.LoadBalancerIngress{}
		}
	}
	return c
}

func sameIngress(a, b []corev1.LoadBalancerIngress) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].IP != b[i].IP || a[i].Hostname != b[i].Hostname || !reflect.DeepEqual(a[i].Ports, b[i].Ports) {
			return false
		}
	}
	return true
}

// send writes c, by patches, which meet no conflict. Where the role allows no patch it reads and updates.
func (r *Reporter) send(ctx context.Context, name Name, c change) error {
	r.mu.Lock()
	update := r.update
	r.mu.Unlock()
	if update {
		return r.sendUpdate(ctx, name, c)
	}
	err := r.sendPatch(ctx, name, c)
	if apierrors.IsForbidden(err) {
		r.cfg.Logger.Info("the role allows no patch of Services; updating instead")
		r.mu.Lock()
		r.update = true
		r.mu.Unlock()
		return r.sendUpdate(ctx, name, c)
	}
	return err
}

func (r *Reporter) sendPatch(ctx context.Context, name Name, c change) error {
	type object = map[string]any
	body, metadata := object{}, object{}
	if c.version != "" {
		metadata["resourceVersion"] = c.version
	}
	if c.host != nil {
		var value any
		if *c.host != "" {
			value = *c.host
		}
		metadata["annotations"] = object{annotations.VIPHost: value}
	}
	if len(metadata) > 0 {
		body["metadata"] = metadata
	}
	if c.ingress != nil {
		var value any
		if len(*c.ingress) > 0 {
			value = *c.ingress
		}
		body["status"] = object{"loadBalancer": object{"ingress": value}}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	// The status subresource of a Service takes annotations as well: one request for both.
	if _, err = r.cfg.Client.CoreV1().Services(name.Namespace).Patch(ctx, name.Name, types.MergePatchType, data, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("patching the status: %w", err)
	}
	return nil
}

func (r *Reporter) sendUpdate(ctx context.Context, name Name, c change) error {
	api := r.cfg.Client.CoreV1().Services(name.Namespace)
	svc, err := api.Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the Service: %w", err)
	}
	if c.version != "" && svc.ResourceVersion != c.version {
		return apierrors.NewConflict(corev1.Resource("services"), name.String(), errors.New("it changed since it was decided what to take back"))
	}
	if c.ingress != nil {
		svc.Status.LoadBalancer.Ingress = *c.ingress
		if svc, err = api.UpdateStatus(ctx, svc, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("updating the status: %w", err)
		}
	}
	if c.host == nil {
		return nil
	}
	if *c.host == "" {
		delete(svc.Annotations, annotations.VIPHost)
	} else {
		metav1.SetMetaDataAnnotation(&svc.ObjectMeta, annotations.VIPHost, *c.host)
	}
	if _, err := api.Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("updating the annotation: %w", err)
	}
	return nil
}
