package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// writeTimeout bounds one request, so that a worker never hangs for longer.
const writeTimeout = 10 * time.Second

// write makes svc as t says, unless it is by now another Service than the one that was decided about. It reports whether there was anything to write.
func (c *Controller) write(ctx context.Context, svc *corev1.Service, t target) (bool, error) {
	patch, err := patchOf(svc, t)
	if patch == nil || err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if !c.mustReplace() {
		now, err := c.Client.CoreV1().Services(svc.Namespace).Patch(ctx, svc.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
		switch {
		case err == nil:
			c.noteWrite(now)
			return true, nil
		case !apierrors.IsForbidden(err):
			return false, err
		}
		return true, c.replace(ctx, svc, t, err)
	}
	return true, c.replace(ctx, svc, t, nil)
}

// replace writes by reading and updating, which kube-vip-cloud-provider's role allows where it doesn't allow to patch. refused is why a patch was, if one was.
func (c *Controller) replace(ctx context.Context, svc *corev1.Service, t target, refused error) error {
	services := c.Client.CoreV1().Services(svc.Namespace)
	now, err := services.Get(ctx, svc.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !sameDecision(svc, now) {
		return apierrors.NewConflict(schema.GroupResource{Resource: "services"}, svc.Name, fmt.Errorf("it changed since the decision"))
	}
	t.apply(now)
	if now, err = services.Update(ctx, now, metav1.UpdateOptions{FieldManager: FieldManager}); err != nil {
		return err
	}
	c.noteWrite(now)
	if refused != nil {
		c.setReplacing(refused)
	}
	return nil
}

// certain reports whether err says that the write did not happen and will not: an answer of the API server that is none of its own failures,
// or a request that was never sent.
func certain(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, ErrFenced) {
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := int(status.Status().Code)
	return code >= 400 && code < 500 && code != http.StatusRequestTimeout
}

func (c *Controller) mustReplace() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.updating
}

func (c *Controller) setReplacing(refused error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.updating {
		c.updating = true
		c.Log.Warn("patching Services is not allowed: updating them, which costs twice the requests; grant the verb patch", "err", refused)
	}
}

// OneAttempt returns a transport for the client that writes Services. A failure of the API server's own comes back without Retry-After, so that the
// client library doesn't repeat the request by itself and hide that the first may have happened.
func OneAttempt(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err == nil && response.StatusCode >= 500 && r.Method != http.MethodGet {
			response.Header.Del("Retry-After")
		}
		return response, err
	})
}
