package provider

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/ipam"
)

// View is what a ccm that starts now would know, for reading.
type View struct {
	Allocator *ipam.Allocator
	// Problems are the wrong values of the ConfigMap.
	Problems []ipam.Problem
	// Conflicts are the addresses that more Services have than may.
	Conflicts []ipam.Conflict
	// Without are the Services of type LoadBalancer that have no address: "namespace/name", sorted.
	Without []string
}

// Look reads pools, Services and exclusions once, with whatever rights client has: what may not be read of Nodes and ServiceCIDRs is left out.
func Look(ctx context.Context, client kubernetes.Interface, namespace, name string) (View, error) {
	configMap, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return View{}, fmt.Errorf("reading the pools: %w", err)
	}
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return View{}, fmt.Errorf("reading Services: %w", err)
	}
	exclusions, err := lookAtExclusions(ctx, client)
	if err != nil {
		return View{}, err
	}
	v := View{Allocator: ipam.New()}
	v.Allocator.SetExclusions(exclusions)
	config, problems := ipam.Parse(configMap.Data)
	v.Problems = problems
	v.Allocator.SetConfig(config)
	var all []ipam.Existing
	for i := range services.Items {
		svc := &services.Items[i]
		if !isLoadBalancer(svc) {
			continue
		}
		e := existingOf(svc, writtenByUs(svc, []string{FieldManager}), !served(svc))
		if all = append(all, e); len(e.Addrs)+len(e.Shown) == 0 {
			v.Without = append(v.Without, e.Owner)
		}
	}
	v.Conflicts = v.Allocator.Replay(all)
	slices.Sort(v.Without)
	return v, nil
}

func lookAtExclusions(ctx context.Context, client kubernetes.Interface) ([]ipam.Exclusion, error) {
	var out []ipam.Exclusion
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("reading Nodes: %w", err)
	}
	if err == nil {
		for i := range nodes.Items {
			out = append(out, NodeExclusions(&nodes.Items[i])...)
		}
	}
	cidrs, err := client.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading ServiceCIDRs: %w", err)
	}
	if err == nil {
		for i := range cidrs.Items {
			out = append(out, ServiceCIDRExclusions(&cidrs.Items[i])...)
		}
	}
	controlPlane, err := ControlPlaneExclusions(ctx, client)
	return append(out, controlPlane...), err
}
