package equinix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"daymark/annotations"
)

// ParseClientConfig reads what a client of the API needs from the cloud-controller-manager's file: token, project and URL. The other keys are the
// cloud-controller-manager's to judge. What is missing is "" and no error: an agent may have been told elsewhere.
func ParseClientConfig(file []byte) (ClientConfig, error) {
	values, errs := readFile(file)
	var c Config
	for _, s := range settings() {
		v := values[strings.ToLower(s.key)]
		if v == "" || !slices.Contains([]string{"apiKey", "apiKeyFile", "projectId", "base-url"}, s.key) {
			continue
		}
		if err := s.set(&c, v); err != nil {
			errs = append(errs, fmt.Errorf("key %s: %w", s.key, err))
		}
	}
	return c.Client, errors.Join(errs...)
}

// ProjectNamed returns the ID of the project of that name, of those that the token may see.
func ProjectNamed(ctx context.Context, cfg ClientConfig, name string) (string, error) {
	api, err := cfg.open()
	if err != nil {
		return "", err
	}
	var found []string
	for n := int32(1); n <= maxPages; n++ {
		got, resp, err := api.ProjectsApi.FindProjects(ctx).Name(name).Page(n).PerPage(perPage).Execute()
		if err != nil {
			return "", explain("looking for project "+name, resp, err)
		}
		for i := range got.Projects {
			if got.Projects[i].GetName() == name {
				found = append(found, got.Projects[i].GetId())
			}
		}
		if got.Meta == nil || got.Meta.GetLastPage() <= got.Meta.GetCurrentPage() {
			break
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("looking for project %q: %d projects have this name", name, len(found))
	}
	return found[0], nil
}

// ErrNoSession is when a device has no BGP session, or the API names no peers for it yet.
var ErrNoSession = errors.New("the device has no BGP session: enable BGP for the project and for the device")

// NodeBGP returns what the API says of a device's peers, in its order, as the configuration of a speaker on that device.
func NodeBGP(ctx context.Context, api interface {
	Neighbours(ctx context.Context, device string) ([]Neighbour, error)
}, device string) (annotations.NodeBGP, error) {
	neighbours, err := api.Neighbours(ctx, device)
	if err != nil {
		return annotations.NodeBGP{}, err
	}
	var set annotations.NodeBGP
	for _, n := range neighbours {
		for _, peer := range n.Peers {
			set.Peers = append(set.Peers, annotations.NodePeer{
				LocalASN: n.LocalASN, Source: n.LocalAddr, PeerASN: n.PeerASN, Peer: peer, Password: annotations.Password(n.Password), Multihop: n.Multihop,
			})
		}
	}
	if len(set.Peers) == 0 {
		return set, ErrNoSession
	}
	return set, nil
}
