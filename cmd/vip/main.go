// Command vip is the agent: it runs on every node and holds the control plane's address and those of LoadBalancer
// Services. This package turns flags, environment and file into a configuration, renders manifests, and wires the rooms
// together; what the agent does is in daymark/internal/agent.
package main

func main() {}
