// Package provider gives Services of type LoadBalancer their addresses: it is the cloudprovider.Interface of the ccm, and the controller that
// stands in the framework's place for its service controller. Which address a Service gets is decided by a [Source]; where the address lives,
// and status.loadBalancer, are the agents' business: nothing here writes status.
//
// # One queue
//
// The framework's service controller is not run. It serves Services without a class only, so that everything it does would be here a second time for
// ours; its queue can't be told to try a waiting Service now; it hands over a Service that its own finalizer has just outdated, writes twice for
// each address and four Events beside; and it says EnsuredLoadBalancer of what waits. [Controller] takes its name, service-lb-controller, for --controllers,
// /healthz and --concurrent-service-syncs, and a second name for Services of our class: two seats, one queue, no Service by two workers at once.
//
// One patch gives a Service all it gets: finalizer, label, annotations, spec.loadBalancerIP. It is a JSON patch that begins by testing each field that
// the decision was taken from, so that it fails if a user or another leader was faster, and doesn't if an agent wrote status.
//
// # Whose value is it
//
// A user asks for an address in the same annotation, and the same field, that the CCM writes. Who wrote a value is what the API server
// keeps in managedFields: a field is ours as long as [FieldManager] is its only manager. So an edited annotation is a request from then on, the edit
// of another field is none, and a removed one is replaced. It holds across restarts, and for what kube-vip-cloud-provider wrote, which the API server booked under the same
// name. Nothing has to be added to the Service. Where managedFields are lost (a restored backup) or forged by a tenant, a value counts as asked for: it has to pass the rules for requests, and that is the stricter
// side. When a Service is served no more, what is ours is removed and what is a user's stays.
//
// # Never twice
//
// In use is what annotation, spec and status of any load balancer say, of every namespace and class; the source is told of all of them before it is asked
// for the first address, from a list that is a read of etcd's present, not of a cache's past. An address is reserved before it is written, and given back only
// after an answer that says that nothing was written. After a time-out or a failure of the API server nobody knows, so it stays reserved and
// the same address is written again. What the cache shows is not acted upon when it is older than our own last write.
//
// Of two replicas only the holder of the lease writes: [Fence] says what holds for one that was frozen and wakes. If an address has two owners all
// the same, whoever wrote that, the one with the weaker right gets another and both are told.
package provider
