package controlplane

import (
	"context"
	"fmt"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// ServiceAccount is the identity of a ServiceAccount, by a token that the API server
// issues and that lasts as long as a bed. The ServiceAccount is created unless it is
// there; what it may do is up to the RBAC objects that the test applies.
func ServiceAccount(ctx context.Context, client kubernetes.Interface, namespace, name string) (Identity, error) {
	accounts := client.CoreV1().ServiceAccounts(namespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	if _, err := accounts.Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return Identity{}, fmt.Errorf("creating ServiceAccount %s/%s: %w", namespace, name, err)
	}
	seconds := int64(validity.Seconds())
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := accounts.CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return Identity{}, fmt.Errorf("requesting token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return Identity{Name: "system:serviceaccount:" + namespace + ":" + name, Token: answer.Status.Token}, nil
}
