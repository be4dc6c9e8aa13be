package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"daymark/annotations"
)

// settings are our own, beside the framework's. Sources, strongest first: a flag that was given, the environment, the default.
type settings struct {
	Namespace string // of the ConfigMap with the pools
	ConfigMap string
	// ClassEnabled serves Services of the class Class, beside those without a class.
	ClassEnabled bool
	Class        string
}

// The environment, as kube-vip-cloud-provider reads it.
const (
	envNamespace    = "KUBEVIP_NAMESPACE"
	envConfigMap    = "KUBEVIP_CONFIG_MAP"
	envClassEnabled = "KUBEVIP_ENABLE_LOADBALANCERCLASS"
	envClass        = "KUBEVIP_CUSTOM_LOADBALANCERCLASS_NAME"
)

func settingsFrom(getenv func(string) string) (settings, error) {
	or := func(key, fallback string) string {
		if value := getenv(key); value != "" {
			return value
		}
		return fallback
	}
	s := settings{
		Namespace: or(envNamespace, "kube-system"),
		ConfigMap: or(envConfigMap, "kubevip"),
		Class:     or(envClass, annotations.DefaultClass),
	}
	var errs []error
	enabled, err := strconv.ParseBool(or(envClassEnabled, "false"))
	if err != nil {
		errs = append(errs, fmt.Errorf("environment %s=%q: neither true nor false", envClassEnabled, getenv(envClassEnabled)))
	}
	s.ClassEnabled = enabled
	return s, errors.Join(errs...)
}

func (s *settings) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.Namespace, "pools-namespace", s.Namespace, "Namespace of the ConfigMap with the pools (environment "+envNamespace+").")
	fs.StringVar(&s.ConfigMap, "pools-config-map", s.ConfigMap, "Name of the ConfigMap with the pools (environment "+envConfigMap+").")
	fs.BoolVar(&s.ClassEnabled, "enable-load-balancer-class", s.ClassEnabled, "Serve Services of our load balancer class too (environment "+envClassEnabled+").")
	fs.StringVar(&s.Class, "load-balancer-class", s.Class, "The load balancer class that is ours (environment "+envClass+").")
}
