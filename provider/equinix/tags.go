package equinix

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
)

// The tags by which the address of a Service is found again; the Equinix CCM writes the same.
const (
	usageTag      = "usage=cloud-provider-equinix-metal-auto"
	serviceTagKey = "service="
	clusterTagKey = "cluster="
)

// serviceTag hides the name of a Service, "namespace/name", from whoever may list the project's addresses.
func serviceTag(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return serviceTagKey + base64.StdEncoding.EncodeToString(sum[:])
}

// Tags returns the tags of the address bought for a Service, "namespace/name", of the cluster with that UID (of its
// namespace kube-system).
func Tags(owner, cluster string) []string {
	return []string{usageTag, serviceTag(owner), clusterTagKey + cluster}
}

// ours reports whether the reservation was bought for a Service of the cluster.
func ours(r Reservation, cluster string) bool {
	return slices.Contains(r.Tags, usageTag) && slices.Contains(r.Tags, clusterTagKey+cluster)
}

// serviceTagOf returns the tag of the Service that a reservation was bought for, "" for none.
func serviceTagOf(r Reservation) string {
	for _, tag := range r.Tags {
		if len(tag) > len(serviceTagKey) && strings.HasPrefix(tag, serviceTagKey) {
			return tag
		}
	}
	return ""
}
