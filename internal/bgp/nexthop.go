package bgp

import (
	"context"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"
)

// Next hops that are not the session's own address are set by a policy for each peer and family, by which paths leave.

func nextHopPolicy(s session, afi api.Family_Afi, nextHop netip.Addr) *api.Policy {
	name := "nexthop-" + s.name + "-" + afi.String()
	return &api.Policy{Name: name, Statements: []*api.Statement{{
		Name: name,
		Conditions: &api.Conditions{
			NeighborSet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: neighborSet(s).Name},
			AfiSafiIn:   []*api.Family{{Afi: afi, Safi: api.Family_SAFI_UNICAST}},
		},
		Actions: &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT, Nexthop: &api.NexthopAction{Address: nextHop.String()}},
	}}}
}

func neighborSet(s session) *api.DefinedSet {
	return &api.DefinedSet{
		DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: "peer-" + s.name,
		List: []string{netip.PrefixFrom(s.neighbor.WithZone(""), s.neighbor.BitLen()).String()},
	}
}

func nextHopPolicies(s session) []*api.Policy {
	var out []*api.Policy
	if s.ipv4.nextHop.IsValid() {
		out = append(out, nextHopPolicy(s, api.Family_AFI_IP, s.ipv4.nextHop))
	}
	if s.ipv6.nextHop.IsValid() {
		out = append(out, nextHopPolicy(s, api.Family_AFI_IP6, s.ipv6.nextHop))
	}
	return out
}

func exportAssignment(p *api.Policy) *api.PolicyAssignment {
	return &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_EXPORT, Policies: []*api.Policy{p}, DefaultAction: api.RouteAction_ROUTE_ACTION_ACCEPT,
	}
}

// addNextHops comes before the peer, so that no path leaves with another next hop.
func (r *router) addNextHops(ctx context.Context, s session) error {
	policies := nextHopPolicies(s)
	if len(policies) == 0 {
		return nil
	}
	if err := r.server.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: neighborSet(s), Replace: true}); err != nil {
		return err
	}
	for _, p := range policies {
		if err := r.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: p}); err != nil {
			return err
		}
		if err := r.server.AddPolicyAssignment(ctx, &api.AddPolicyAssignmentRequest{Assignment: exportAssignment(p)}); err != nil {
			return err
		}
	}
	return nil
}

func (r *router) removeNextHops(ctx context.Context, s session) error {
	policies := nextHopPolicies(s)
	if len(policies) == 0 {
		return nil
	}
	for _, p := range policies {
		if err := r.server.DeletePolicyAssignment(ctx, &api.DeletePolicyAssignmentRequest{Assignment: exportAssignment(p)}); err != nil {
			return err
		}
		if err := r.server.DeletePolicy(ctx, &api.DeletePolicyRequest{Policy: p, All: true}); err != nil {
			return err
		}
	}
	return r.server.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{DefinedSet: neighborSet(s), All: true})
}
