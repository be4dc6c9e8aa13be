package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// Apply applies every object of a YAML stream by server-side apply with strict
// decoding: an unknown or doubled field is an error, as it is for a careful user.
// It tries all and joins the errors.
func Apply(ctx context.Context, cfg *rest.Config, manifests []byte) error {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	finder, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return err
	}
	groups, err := restmapper.GetAPIGroupResources(finder)
	if err != nil {
		return fmt.Errorf("discovering resources: %w", err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	var errs []error
	stream := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		var object unstructured.Unstructured
		err := stream.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("decoding manifests: %w", err))...)
		}
		if len(object.Object) == 0 {
			continue // an empty document
		}
		if err := applyOne(ctx, client, mapper, &object); err != nil {
			errs = append(errs, fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err))
		}
	}
}

func applyOne(ctx context.Context, client dynamic.Interface, mapper meta.RESTMapper, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := object.GetNamespace()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		resource = client.Resource(mapping.Resource).Namespace(namespace)
	}
	data, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = resource.Patch(ctx, object.GetName(), "application/apply-patch+yaml", data, metav1.PatchOptions{
		FieldManager: "bed", FieldValidation: metav1.FieldValidationStrict, Force: new(true),
	})
	return err
}
