// Package provider gives Services of type LoadBalancer their addresses: it is the cloudprovider.Interface of the ccm, and the controller that
// stands in the place of the framework's service controller. Which address a Service gets is decided by a [Source]; where the address lives
// and what status says is the agents' business, never ours.
package provider
