package agent

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"daymark/annotations"
	"daymark/internal/vip"
)

// route returns what svc wants routers to be told of its addresses, as far as that is well-formed, and everything that isn't.
func route(svc *corev1.Service) (vip.Route, error) {
	var r vip.Route
	var errs []error
	take := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s", key, oneLine(err)))
		}
	}
	var err error
	r.Communities, err = annotations.ParseCommunities(svc.Annotations[annotations.BGPCommunities])
	take(annotations.BGPCommunities, err)
	r.LargeCommunities, err = annotations.ParseLargeCommunities(svc.Annotations[annotations.BGPLargeCommunities])
	take(annotations.BGPLargeCommunities, err)
	r.LocalPref, err = annotations.ParseMetric(svc.Annotations[annotations.BGPLocalPref])
	take(annotations.BGPLocalPref, err)
	r.MED, err = annotations.ParseMetric(svc.Annotations[annotations.BGPMED])
	take(annotations.BGPMED, err)
	return r, errors.Join(errs...)
}
