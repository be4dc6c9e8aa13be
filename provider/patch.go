package provider

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"daymark/annotations"
)

// target is how the fields that the CCM may write shall be. Nil means: leave it; empty means: not there.
type target struct {
	Addresses *string
	Link      *string
	Spec      *string
	Label     *string
	Finalizer bool // there or not
}

// servedTarget returns how svc shall be when it has addrs: what a user wrote stays, unless it lacks one of the addresses.
func servedTarget(svc *corev1.Service, ours marks, addrs []netip.Addr, link string) target {
	t := target{Finalizer: true}
	label := annotations.Implementation
	t.Label = &label
	written, err := annotations.ParseRequests(svc.Annotations[annotations.LoadBalancerIPs])
	if text := annotations.FormatAddresses(addrs); err != nil || !sameAddresses(written, addrs, ours.Addresses) {
		t.Addresses = &text
	}
	if first := addrs[0].String(); svc.Spec.LoadBalancerIP == "" || ours.Spec {
		t.Spec = &first
	}
	if _, has := svc.Annotations[annotations.ServiceInterface]; link != "" && !has || ours.Link {
		t.Link = &link
	}
	return t
}

// sameAddresses reports whether the annotation says addrs already; the order counts only in what the CCM wrote.
func sameAddresses(written []annotations.Request, addrs []netip.Addr, inOrder bool) bool {
	have := make([]netip.Addr, len(written))
	for i, r := range written {
		have[i] = r.Addr
	}
	if !inOrder {
		addrs = slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)
		slices.SortFunc(have, netip.Addr.Compare)
		have = slices.Compact(have)
	}
	return slices.Equal(have, addrs)
}

// clearedTarget returns how svc shall be when the CCM serves it no more: without what it wrote.
func clearedTarget(ours marks) target {
	var t target
	none := ""
	for field, written := range map[**string]bool{&t.Addresses: ours.Addresses, &t.Link: ours.Link, &t.Spec: ours.Spec, &t.Label: ours.Label} {
		if written {
			*field = &none
		}
	}
	return t
}

// apply makes svc so and reports whether anything changed.
func (t target) apply(svc *corev1.Service) bool {
	changed := false
	set := func(m *map[string]string, key string, want *string) {
		have, has := (*m)[key]
		switch {
		case want == nil || has && have == *want || !has && *want == "":
			return
		case *want == "":
			delete(*m, key)
		default:
			if *m == nil {
				*m = map[string]string{}
			}
			(*m)[key] = *want
		}
		changed = true
	}
	set(&svc.Annotations, annotations.LoadBalancerIPs, t.Addresses)
	set(&svc.Annotations, annotations.ServiceInterface, t.Link)
	set(&svc.Labels, annotations.ImplementationLabel, t.Label)
	if t.Spec != nil && svc.Spec.LoadBalancerIP != *t.Spec {
		svc.Spec.LoadBalancerIP, changed = *t.Spec, true
	}
	if has := hasFinalizer(svc); has != t.Finalizer {
		changed = true
		if has {
			svc.Finalizers = slices.DeleteFunc(slices.Clone(svc.Finalizers), func(f string) bool { return f == finalizer })
		} else {
			svc.Finalizers = append(slices.Clip(svc.Finalizers), finalizer)
		}
	}
	return changed
}

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patchOf returns the JSON patch that makes before into t, and nil when nothing changes. It begins with tests of everything the decision was
// taken from: the object itself, its type, and each field that is written. So a decision that is not about the Service as it is now
// is refused by the API server (422), whoever wrote in between, while the agents' writes of status don't disturb.
func patchOf(before *corev1.Service, t target) ([]byte, error) {
	after := before.DeepCopy()
	if !t.apply(after) {
		return nil, nil
	}
	tests := []operation{{"test", "/metadata/uid", before.UID}, {"test", "/spec/type", before.Spec.Type}}
	var changes []operation
	for _, m := range []struct {
		path          string
		before, after map[string]string
		keys          []string
	}{
		{"/metadata/annotations", before.Annotations, after.Annotations, []string{annotations.LoadBalancerIPs, annotations.ServiceInterface}},
		{"/metadata/labels", before.Labels, after.Labels, []string{annotations.ImplementationLabel}},
	} {
		t, c := mapOperations(m.path, m.before, m.after, m.keys)
		tests, changes = append(tests, t...), append(changes, c...)
	}
	tests = append(tests, operation{"test", "/spec/loadBalancerIP", orNull(before.Spec.LoadBalancerIP)})
	if was, is := before.Spec.LoadBalancerIP, after.Spec.LoadBalancerIP; was != is {
		changes = append(changes, change("/spec/loadBalancerIP", is))
	}
	if !slices.Equal(before.Finalizers, after.Finalizers) {
		var was any
		if len(before.Finalizers) > 0 {
			was = before.Finalizers
		}
		tests = append(tests, operation{"test", "/metadata/finalizers", was})
		changes = append(changes, operation{"add", "/metadata/finalizers", after.Finalizers})
	}
	return json.Marshal(append(tests, changes...))
}

// mapOperations tests each of keys as it was, and changes those that differ.
func mapOperations(path string, before, after map[string]string, keys []string) (tests, changes []operation) {
	if len(before) == 0 {
		if len(after) > 0 {
			return []operation{{"test", path, nil}}, []operation{{"add", path, after}}
		}
		return nil, nil
	}
	for _, key := range keys {
		at := path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		was, had := before[key]
		is, has := after[key]
		var test any
		if had {
			test = was
		}
		tests = append(tests, operation{"test", at, test})
		if had != has || was != is {
			changes = append(changes, change(at, is))
		}
	}
	return tests, changes
}

// change sets the text at path, or removes it when it is empty.
func change(path, text string) operation {
	if text == "" {
		return operation{Op: "remove", Path: path}
	}
	return operation{"add", path, text}
}

// orNull returns nil for the empty text, which the API omits.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// sameDecision reports whether a and b agree in all that [patchOf] tests.
func sameDecision(a, b *corev1.Service) bool {
	fields := func(svc *corev1.Service) [6]string {
		return [6]string{
			string(svc.UID), string(svc.Spec.Type), svc.Spec.LoadBalancerIP, svc.Annotations[annotations.LoadBalancerIPs],
			svc.Annotations[annotations.ServiceInterface], svc.Labels[annotations.ImplementationLabel],
		}
	}
	return fields(a) == fields(b) && slices.Equal(a.Finalizers, b.Finalizers)
}
