package datapath

import (
	"errors"
	"hash/fnv"
	"maps"
	"slices"

	"daymark/internal/vip"
)

func deleteIf(ops []op, drop func(op) bool) []op { return slices.DeleteFunc(ops, drop) }

func deleteFailed(ops []op, failed map[vip.Key]error) []op {
	return deleteIf(ops, func(o op) bool { return failed[o.key] != nil })
}

// joinByKey joins the errors in the order of their keys.
func joinByKey(sets ...map[vip.Key]error) error {
	all := map[vip.Key]error{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	var errs []error
	for _, key := range slices.SortedFunc(maps.Keys(all), compareKeys) {
		errs = append(errs, &vip.AddressError{Key: key, Err: all[key]})
	}
	return errors.Join(errs...)
}

// leastMetric is far above any metric that somebody would choose.
const leastMetric = 1 << 31

// metricOf returns the metric that marks the addresses of an instance.
func metricOf(instance string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte("daymark " + instance))
	return h.Sum32() | leastMetric
}
