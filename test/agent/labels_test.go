package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// An agent is killed and stays dead: its Node loses the labels that it wrote, its successor's has them, and no Service names it any
// more, neither one that its successor holds nor one that nobody can hold. A label that is removed from a holder's Node is put back.
func TestFaultLabelsAndHostsOutliveNoAgent(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	const n = 8
	b := newBed(t, "n1", "n2")
	b.start()
	require.NoError(t, b.nodes[1].Register(t.Context(), nil))
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	agents := map[string]*netns.Command{}
	for _, node := range b.nodes {
		agents[node.Name()] = b.agent(node, "svc_enable=true", "svc_election=true", "enable_node_labeling=true", "cp_enable=true",
			"address="+b.lan.Addr(200).String())
	}
	dead := b.labelledWith(ctx, annotations.HasIPLabel)
	heir := map[string]string{"n1": "n2", "n2": "n1"}[dead]
	for i := range n {
		b.service(fmt.Sprintf("web-%d", i), b.lan.Addr(100+i), corev1.ServiceExternalTrafficPolicyCluster, "n1", "n2")
	}
	b.service("here", b.lan.Addr(120), corev1.ServiceExternalTrafficPolicyLocal, dead)
	var moves []string
	for i := range n {
		if name := fmt.Sprintf("web-%d", i); b.held(ctx, name, "n1", "n2").Annotations[annotations.VIPHost] == dead {
			moves = append(moves, name)
		}
	}
	b.held(ctx, "here", dead)
	if len(moves) == 0 {
		t.Fatalf("all Services are on %s", heir)
	}
	b.labelled(ctx, dead, 1, len(moves)+1)
	b.labelled(ctx, heir, 0, n-len(moves))

	began := time.Now()
	require.NoError(t, agents[dead].Kill())
	b.labelled(ctx, heir, 1, n)
	t.Log("the successor was labelled after", time.Since(began))
	b.labelled(ctx, dead, 0, 0)
	t.Log("the dead one's labels were gone after", time.Since(began))
	for _, name := range moves {
		b.held(ctx, name, heir)
	}
	nobody := require.Value(controlplane.Await(ctx, b.client.CoreV1().Services("default"), "here", func(s *corev1.Service) bool {
		return s.Annotations[annotations.VIPHost] == ""
	}))(t)
	t.Log("the name of the dead one was gone after", time.Since(began))
	if len(nobody.Status.LoadBalancer.Ingress) == 0 {
		t.Error("the status went with the holder")
	}

	node := require.Value(b.client.CoreV1().Nodes().Get(ctx, heir, metav1.GetOptions{}))(t)
	for key := range node.Labels {
		if key == annotations.HasIPLabel || strings.HasPrefix(key, annotations.ServiceLabelPrefix) {
			delete(node.Labels, key)
		}
	}
	require.Value(b.client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{}))(t)
	b.labelled(ctx, heir, 1, n)

	// The dead one's return.
	agents[dead] = b.agent(b.cluster.Node(dead), "svc_enable=true", "svc_election=true", "enable_node_labeling=true", "prometheus_server=")
	b.held(ctx, "here", dead)
	for name, agent := range agents {
		require.NoError(t, agent.Stop(ctx))
		b.labelled(ctx, name, 0, 0)
	}
}

// labelledWith waits for a Node that has a label, and returns its name.
func (b *bed) labelledWith(ctx context.Context, key string) (name string) {
	b.t.Helper()
	until(b.t, 30*time.Second, "a Node with "+key, func() bool {
		nodes, err := b.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: key})
		if err == nil && len(nodes.Items) > 0 {
			name = nodes.Items[0].Name
		}
		return name != ""
	})
	return name
}

// labelled waits until a Node is labelled as holder of the control plane, or not, and of so many Services.
func (b *bed) labelled(ctx context.Context, node string, controlPlane, services int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var cp, svc int
	_, err := controlplane.Await(ctx, b.client.CoreV1().Nodes(), node, func(n *corev1.Node) bool {
		cp, svc = 0, 0
		for key := range n.Labels {
			switch {
			case key == annotations.HasIPLabel:
				cp++
			case strings.HasPrefix(key, annotations.ServiceLabelPrefix):
				svc++
			}
		}
		return cp == controlPlane && svc == services
	})
	if err != nil {
		b.t.Errorf("%s has %d labels for the control plane, want %d, and %d for Services, want %d: %v", node, cp, controlPlane, svc, services, err)
	}
}
