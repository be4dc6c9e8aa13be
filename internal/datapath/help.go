package datapath

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

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
		errs = append(errs, all[key])
	}
	return errors.Join(errs...)
}

// markFor returns the attributes that mark an address as ours on a kernel of this release, such as "6.1.0-13-amd64".
func markFor(m Mark, release string) mark {
	if m == MarkAuto {
		m = MarkProtocol
		var major, minor int
		if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n == 2 && (major < 5 || major == 5 && minor < 18) {
			m = MarkMetric
		}
	}
	if m == MarkMetric {
		return mark{metric: metric}
	}
	return mark{proto: protocol}
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
