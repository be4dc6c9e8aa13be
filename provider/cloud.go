package provider

import (
	cloudprovider "k8s.io/cloud-provider"
)

// Cloud is the cloudprovider.Interface of the framework. It offers the node controllers the instances of a vendor, if there is one; Services are not
// served through it but by the [Controller].
type Cloud struct {
	// Name is what --cloud-provider says.
	Name string
	// Nodes answers for a vendor's instances; nil without a vendor, and then the node controllers switch themselves off.
	Nodes cloudprovider.InstancesV2
}

// Initialize does nothing: controllers are started by the framework, in the order it knows.
func (c *Cloud) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) {}

// LoadBalancer returns none, see [Cloud].
func (c *Cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return nil, false }

// Instances returns none: InstancesV2 replaced it.
func (c *Cloud) Instances() (cloudprovider.Instances, bool) { return nil, false }

// InstancesV2 returns the vendor's.
func (c *Cloud) InstancesV2() (cloudprovider.InstancesV2, bool) { return c.Nodes, c.Nodes != nil }

// Zones returns none: InstancesV2 replaced it.
func (c *Cloud) Zones() (cloudprovider.Zones, bool) { return nil, false }

// Clusters returns none.
func (c *Cloud) Clusters() (cloudprovider.Clusters, bool) { return nil, false }

// Routes returns none.
func (c *Cloud) Routes() (cloudprovider.Routes, bool) { return nil, false }

// ProviderName returns the name.
func (c *Cloud) ProviderName() string { return c.Name }

// HasClusterID returns true: nothing here depends on tagged clusters.
func (c *Cloud) HasClusterID() bool { return true }

var _ cloudprovider.Interface = (*Cloud)(nil)
