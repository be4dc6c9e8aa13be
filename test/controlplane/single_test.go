package controlplane_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/test/controlplane"
	"daymark/test/require"
)

func TestSingle(t *testing.T) {
	began := time.Now()
	s := controlplane.StartSingle(t)
	t.Logf("ready after %s", time.Since(began).Round(time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	maps := s.Client.CoreV1().ConfigMaps("default")

	t.Run("await", func(t *testing.T) {
		later := time.AfterFunc(100*time.Millisecond, func() {
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
			cm, err := maps.Create(ctx, cm, metav1.CreateOptions{})
			if err == nil {
				cm.Data = map[string]string{"k": "v"}
				_, err = maps.Update(ctx, cm, metav1.UpdateOptions{})
			}
			if err != nil {
				t.Error(err)
			}
		})
		defer later.Stop()
		got := require.Value(controlplane.Await(ctx, maps, "a", func(cm *corev1.ConfigMap) bool { return cm.Data["k"] != "" }))(t)
		if got.Data["k"] != "v" {
			t.Errorf("data %q", got.Data)
		}
		require.NoError(t, maps.Delete(ctx, "a", metav1.DeleteOptions{}))
		require.NoError(t, controlplane.AwaitGone(ctx, maps, "a"))
	})

	t.Run("RBAC", func(t *testing.T) {
		nobody := require.Value(s.User("nobody"))(t)
		client := require.Value(kubernetes.NewForConfig(nobody))(t)
		if _, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("nobody lists nodes: %v", err)
		}
	})

	t.Run("restart", func(t *testing.T) {
		require.NoError(t, s.APIServer.Kill())
		require.NoError(t, s.StartAPIServer(ctx))
		if _, err := s.Client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
}
