package provider

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"daymark/ipam"
)

// Source says which addresses Services have: [Pools], or an API that sells them. The controller turns Services into the nouns of package
// ipam, asks, writes the answer with one patch, and says whether the write happened; a source neither reads nor writes Services. Owners are
// "namespace/name".
//
// Replay is called once, before anything else. After it, methods are called concurrently, for one owner never two at a time, save Observe,
// which may come at any moment. Everything may be repeated, also after a crash at any point: what a source has given but
// doesn't remember, it finds again by itself.
type Source interface {
	// Replay tells of every Service of type LoadBalancer, of all namespaces and classes, and returns when the source is ready to answer. The
	// conflicts are addresses that more Services have than may. A source that buys addresses learns here which owners are no more.
	Replay(ctx context.Context, all []ipam.Existing) ([]ipam.Conflict, error)
	// Run lives until ctx ends: watches what the source depends on and calls wake with the owners that were refused and may fare better
	// now. It starts before Replay is called. A cancelled context is not an error; any other end stops the process.
	Run(ctx context.Context, wake func(owners ...string)) error
	// Observe tells what the API server shows of one Service by now. It returns at once: the owners to try again and the conflicts found.
	Observe(e ipam.Existing) (wake []string, conflicts []ipam.Conflict)
	// Ensure reserves the addresses that the Service shall have. Asking again gives the same answer. The Service is for reading, for what a
	// vendor's API wants to know beyond the request: annotations, UID. An error with [ipam.Refusals] is an answer: the Service waits to be
	// woken, and its owner is told why. After any other error the controller asks again with back-off.
	Ensure(ctx context.Context, r ipam.Request, svc *corev1.Service) (ipam.Grant, error)
	// Commit tells that the last grant is written, so that what it dropped is free. Rollback tells that it certainly was not. Neither is
	// called when nobody knows; Ensure follows. Both return at once the owners to try again.
	Commit(owner string) (wake []string)
	Rollback(owner string) (wake []string)
	// Release gives back all that the owner has: the Service is gone, or is not ours any more. The finalizer stays on the Service
	// until it returns nil. Owners that have nothing are no error.
	Release(ctx context.Context, owner string) (wake []string, err error)
	// Link names the network interface that the addresses of a namespace go to, or "" for the agent's default.
	Link(namespace string) string
}
