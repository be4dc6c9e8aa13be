// Command demometal plays Daymark on Equinix Metal, or rather on a private copy of it in network namespaces: three devices that are a cluster's control plane, a
// simulated API, and two routers (FRR) that are their BGP peers at 169.254.255.1 and .2, over more than one hop and with a password. The control plane's address
// moves when its node dies, and Services get elastic addresses that every node announces. It prints a line for each step and a table at the end.
//
// The vendor's network is played by package metal: a route follows each assignment of the API at once.
package main

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"daymark/test/metal"
	"daymark/test/router"
	"daymark/test/stage"
)

func main() {
	os.Exit(stage.Main("demo-metal", func(ctx context.Context, s *stage.Stage) error {
		p := &play{Stage: s}
		return p.run(ctx)
	}, needFRR))
}

func needFRR() error {
	if !router.HaveFRR() {
		return errors.New("the vendor's routers are played by FRR, which is not installed: `make test-deps` installs it")
	}
	return nil
}

// play is one run of the demo. It belongs to one goroutine.
type play struct {
	*stage.Stage

	net     *metal.Network
	routers [2]*router.FRR
	cluster *stage.Cluster
	eip     netip.Addr
}

func (p *play) run(ctx context.Context) error {
	return p.Play(ctx,
		stage.Step{Name: "the vendor's side: an API, two routers, an elastic address for the control plane", Play: p.vendor},
		stage.Step{Name: "first device: agent as a static pod, then etcd and the API server", Play: p.firstNode},
		stage.Step{Name: "the control plane through the elastic address", Play: p.readThrough},
		stage.Step{Name: "two more devices join", Play: p.otherNodes},
		stage.Step{Name: "the holder's agent stops (SIGTERM)", Play: p.stopHolder},
		stage.Step{Name: "agents for Services wait for their Node's annotations, one for the API", Play: p.serviceAgents},
		stage.Step{Name: "the cloud-controller-manager: Nodes are devices, and learn their BGP peers", Play: p.startCCM},
		stage.Step{Name: "Services get elastic addresses, announced over BGP", Play: p.services},
		stage.Step{Name: "a Service is deleted", Play: p.deleteService},
		stage.Step{Name: "the device that holds the control plane's address dies", Play: p.holderDies},
	)
}
